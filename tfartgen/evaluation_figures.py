# SPDX-License-Identifier: Apache-2.0
"""Figures of students, from a document of `bin/evaluate`: accuracy, learning curve, calibration, choice of a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from tfartgen import figure_style as style
from tfartgen.figure_style import Look, Row

#: Least distance of two ticks on a logarithmic axis, as a share of it.
_TICK_DISTANCE = 0.08


def accuracy(document: Mapping[str, Any]) -> Figure:
    """Accuracy of each method, by architecture; needs `table`."""
    rows, looks = document["table"], style.method_looks(document)
    figure = style.new_figure(1.4 + 0.22 * (len(rows) + len(looks) / 3))
    axes = figure.subplots()
    _groups(axes, document)
    style.accuracy_axis(axes.set_xlim, axes.set_xlabel, rows)
    _chance(axes, rows[0])
    style.tidy(axes, "x")
    count = document["dataset"]["num_test"]
    title = f"{style.dataset_name(document)}: students tested on {count:,} real images"
    axes.set_title(f"{title}\n{style.seeds_note(rows)}", fontsize=11)
    style.legend_below(figure, [look.handle() for look in looks.values()], columns=2)
    return figure


def _groups(axes: Axes, document: Mapping[str, Any]) -> None:
    place, ticks = 0, {}
    for architecture, look in style.architecture_looks(document["table"]).items():
        first = place
        for method, row in style.rows_of(document, architecture):
            _dot(axes, place, row, method)
            place += 1
        ticks[look.label] = (first + place - 1) / 2
        axes.axhline(place, color="#dddddd", lw=0.6)
        place += 1
    axes.set_yticks(list(ticks.values()), list(ticks), fontsize=10)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place - 1, -1)


def _dot(axes: Axes, place: float, row: Row, look: Look) -> None:
    mean, errors = style.percent([row["accuracy"]])
    axes.errorbar(
        mean, [place], xerr=errors, color=look.colour, fmt=look.marker, capsize=3, label=look.label
    )
    half = row["accuracy"]["half_width"]
    text = f"{mean[0]:.1f}%" + ("" if half is None else f" ± {100 * half:.1f}")
    text = ", ".join(filter(None, [text, style.divergence_note(row)]))
    axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)


def _chance(axes: Axes, row: Row) -> None:
    """Marks what a student reaches that always names the commonest class, where the axis reaches there."""
    of_class = np.array(row["outcome"]["confusion"]).sum(axis=1)
    chance = 100 * of_class.max() / of_class.sum()
    if chance > axes.get_xlim()[0]:
        axes.axvline(chance, color="#666666", ls=":", lw=1.2)
        axes.text(
            chance + 0.7,
            0.01,
            f"commonest class: {chance:.1f}%",
            transform=axes.get_xaxis_transform(),
            rotation=90,
            fontsize=8,
            color="#666666",
        )


def curve(document: Mapping[str, Any]) -> Figure:
    """Accuracy against the number of artificial examples; needs `curve`, and takes real data from `table`."""
    rows = document["curve"]
    real = [row for row in document.get("table", []) if row["method"] == "real"]
    looks, figure = style.architecture_looks([*rows, *real]), style.new_figure(5)
    axes = figure.subplots()
    handles = [look.handle(line="-") for look in looks.values()]
    if real:
        label = f"same student of real data ({max(r['num_examples'] for r in real):,} records)"
        handles.append(Line2D([], [], color="#666666", ls="--", label=label))
    for name, look in looks.items():
        _growth(axes, [row for row in rows if row["architecture"] == name], look)
        style.real_line(axes, real, name, look)
    _count_axis(axes, style.distinct(rows, "num_examples"))
    style.accuracy_axis(axes.set_ylim, axes.set_ylabel, [*rows, *real])
    style.tidy(axes)
    release = style.release_names(document)[rows[0]["release"]]
    title = f"{style.dataset_name(document)}: more and more artificial examples of {release}"
    axes.set_title(f"{title}\n{style.seeds_note(rows)}", fontsize=11)
    style.legend_below(figure, handles + style.diverged_handles(rows))
    return figure


def _growth(axes: Axes, rows: Sequence[Row], look: Look) -> None:
    rows = sorted(rows, key=lambda row: row["num_examples"])
    counts = [row["num_examples"] for row in rows]
    mean, errors = style.percent([row["accuracy"] for row in rows])
    axes.errorbar(
        counts, mean, errors, color=look.colour, marker=look.marker, capsize=3, label=look.label
    )
    style.mark_diverged(axes, rows, counts, mean)


def _count_axis(axes: Axes, counts: Sequence[int]) -> None:
    axes.set_xscale("log")
    places = np.log10(counts)
    kept = [counts[i] for i in style.uncrowded(places, _TICK_DISTANCE * np.ptp(places))]
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(kept, [f"{count:,}" for count in kept])
    axes.set_xlabel("artificial examples to train on (log scale)")


def calibration(document: Mapping[str, Any]) -> Figure:
    """Reliability diagram of the table's last architecture; needs `table`.

    A point is a bin of confidence (Guo et al. 2017, arXiv 1706.04599), its area the share of predictions in it.
    """
    architecture, name = style.strongest(document)
    figure = style.new_figure(7.2)
    axes, handles = figure.subplots(), []
    axes.plot([0, 100], [0, 100], color="#666666", ls="--", lw=1, label="calibrated")
    for look, row in style.rows_of(document, architecture):
        _reliability(axes, row["outcome"], look)
        error = 100 * row["calibration_error"]["mean"]
        handles.append(look.handle(f"{look.label}: ECE {error:.1f}%", "-"))
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    axes.set_xlabel("confidence (%)")
    axes.set_ylabel("accuracy at that confidence (%)")
    style.tidy(axes)
    title = f"{style.dataset_name(document)}, {name}: is confidence earned?"
    note = "area of a point: share of the predictions; ECE: expected calibration error"
    axes.set_title(f"{title}\n{note}", fontsize=11)
    style.legend_below(figure, [*handles, axes.lines[0]], columns=2)
    return figure


def _reliability(axes: Axes, outcome: Mapping[str, Any], look: Look) -> None:
    count, confidence, correct = (
        np.array(outcome[key], float) for key in ("count", "confidence", "correct")
    )
    full = count > 0
    x, y = 100 * confidence[full] / count[full], 100 * correct[full] / count[full]
    axes.plot(x, y, color=look.colour, lw=1, alpha=0.4, label=look.label)
    area = 12 + 150 * count[full] / count.sum()
    axes.scatter(x, y, area, color=look.colour, marker=look.marker, alpha=0.8, lw=0)


def validation(document: Mapping[str, Any]) -> Figure:
    """Real accuracy of student configurations against that on artificial data; needs `validation`.

    The right panel shows the better ones at large.
    """
    study = document["validation"]
    rows, release = study["configurations"], style.release_names(document)[study["release"]]
    looks, figure = style.architecture_looks(rows), style.new_figure(5.6)
    axes = figure.subplots(1, 2)
    for each in axes:
        _configurations(each, rows, looks)
        for radius, name in ((170, "chosen"), (330, "best")):
            _ring(each, rows[study[name]], radius, name)
        each.axline((0, 0), slope=1, color="#666666", ls=":", lw=1)
        each.set_xlabel(f"accuracy on artificial {release} (%)")
        style.tidy(each)
    axes[0].set(xlim=(0, 105), ylim=(0, 105), ylabel="accuracy on real test images (%)")
    axes[0].set_title("all configurations", fontsize=10)
    _zoom(axes[1], rows)
    handles = [look.handle() for look in looks.values()]
    handles += [
        _ring_handle(11, "chosen by artificial data"),
        _ring_handle(16, "best on real data"),
        Line2D([], [], color="#666666", ls=":", label="same accuracy on both"),
    ]
    style.legend_below(figure, handles + style.diverged_handles(rows))
    figure.suptitle(f"{style.dataset_name(document)}: {_ranking(study)}", fontsize=11)
    return figure


def _configurations(axes: Axes, rows: Sequence[Row], looks: Mapping[str, Look]) -> None:
    for name, look in looks.items():
        own = [row for row in rows if row["architecture"] == name]
        x, x_errors = style.percent([row["artificial_accuracy"] for row in own])
        y, y_errors = style.percent([row["accuracy"] for row in own])
        axes.errorbar(
            x,
            y,
            y_errors,
            x_errors,
            color=look.colour,
            fmt=look.marker,
            ms=5,
            elinewidth=0.6,
            label=name,
        )
    x, _ = style.percent([row["artificial_accuracy"] for row in rows])
    y, _ = style.percent([row["accuracy"] for row in rows])
    style.mark_diverged(axes, rows, x, y)


def _ring(axes: Axes, row: Row, area: float, label: str) -> None:
    x, y = (100 * row[key]["mean"] for key in ("artificial_accuracy", "accuracy"))
    axes.scatter(x, y, area, facecolor="none", edgecolor="black", lw=1.4, label=label, zorder=4)


def _ring_handle(size: float, label: str) -> Line2D:
    return Line2D([], [], color="black", marker="o", mfc="none", ms=size, ls="", label=label)


def _zoom(axes: Axes, rows: Sequence[Row]) -> None:
    """Shows what is at least middling on both sides."""
    sides = [
        style.percent([row[key] for row in rows]) for key in ("artificial_accuracy", "accuracy")
    ]
    set_both: list[Any] = [axes.set_xlim, axes.set_ylim]
    better = np.all([mean >= np.median(mean) for mean, _ in sides], axis=0)
    for (mean, errors), set_limits in zip(sides, set_both):
        below, above = np.nan_to_num(errors)
        low, high = (mean - below)[better].min(initial=mean.max()), (mean + above).max()
        margin = max(0.12 * (high - low), 0.5)
        set_limits(low - margin, high + margin)
    axes.set_title("the better half, enlarged", fontsize=10)


def _ranking(study: Mapping[str, Any]) -> str:
    rho, low, high = (study.get(f"spearman{end}") for end in ("", "_low", "_high"))
    text = "no rank correlation" if rho is None else f"Spearman's ρ = {rho:.2f}"
    if low is not None and high is not None:
        text += f" ({low:.2f} to {high:.2f})"
    lost = 100 * study["accuracy_lost"]
    count = len(study["configurations"])
    return f"{count} configurations, {text}\nthe choice loses {lost:.1f} points of accuracy"
