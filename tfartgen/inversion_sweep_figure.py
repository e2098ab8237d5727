# SPDX-License-Identifier: Apache-2.0
"""The figure of a sweep of model inversion: what an attacker recovers at each level of privacy. It is private."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfartgen import figure_style as style
from tfartgen import inversion_figures, picture_sheet, sweep_figures
from tfartgen.figure_style import Row
from tfartgen.inversion_figures import CHANCE, TARGET_LOOKS
from tfartgen.inversion_tables import TARGET_NAMES
from tfartgen.packed_arrays import unpacked
from tfartgen.picture_sheet import MOST_COLUMNS, Sheet, Strip
from tfartgen.rounding import upwards_with_commas

#: Lines of targets without an epsilon, and where targets with one are put that diverged.
_LINES, _LANES = {"real": "--", "shuffled": ":"}, {"artificial": -9, "dp_sgd": -17}


def sweep(document: Mapping[str, Any]) -> Figure:
    """What is recovered at each level of privacy: rates, and pictures with real records. Private.

    Pictures are of the architecture and attack that identify most from the target of real data.

    Args:
      document: of the schema tfartgen.sweep/1, with `inversion` in it and in each point.
    """
    found, (points, end) = document["inversion"], sweep_figures.placed(document["points"])
    rows = [*found["real"], *(row for point in points for row in point["inversion"])]
    pairs = list(dict.fromkeys((row["architecture"], row["attack"]) for row in rows))
    real = [row for row in found["real"] if row["target"] == "real" and "top1" in row]
    best = max(real, key=lambda row: row["top1"]["rate"], default=rows[0])
    pair = best["architecture"], best["attack"]
    columns = min(2, len(pairs))
    lines = math.ceil(len(pairs) / columns)
    plots = 120 + lines * (340 if columns == 1 else 300)
    names, note = inversion_figures.shown_classes(document, found["classes"], MOST_COLUMNS)
    sheet = Sheet(names, _sweep_strips(document, points, pair), plots + 64)
    figure = style.new_figure(sheet.height / style.DPI)
    halves: Any = figure.subfigures(2, 1, height_ratios=[plots, sheet.height - plots])
    panels = halves[0].subplots(lines, columns, squeeze=False).ravel()
    for axes, each in zip(panels, pairs):
        _curves(axes, points, found, each)
        sweep_figures.privacy_axis(axes, points, end)
        axes.set_title(inversion_figures.attack_name(rows, *each), fontsize=10)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    name = style.dataset_name(document)
    halves[0].suptitle(f"{name}: what privacy keeps from an attacker (PRIVATE)", fontsize=11)
    style.legend_below(halves[0], _sweep_handles(rows, points))
    sheet.draw(figure)
    shown = ["recovered from classifiers trained on …", inversion_figures.attack_name(rows, *pair)]
    text, y = "; ".join(filter(None, [*shown, note])), 1 - (plots + 10) / sheet.height
    figure.text(0.5, y, text, fontsize=10, ha="center", va="top")
    picture_sheet.warn(figure, plots + 32, sheet.height)
    return figure


def _found(rows: Sequence[Row], target: str, pair: tuple[str, str]) -> Row:
    """The row of a target, architecture and attack, empty if there is none."""
    own = [r for r in rows if (r["target"], r["architecture"], r["attack"]) == (target, *pair)]
    return own[0] if own else {}


def _sweep_strips(
    document: Mapping[str, Any], points: Sequence[Mapping[str, Any]], pair: tuple[str, str]
) -> list[Strip]:
    found, parameter = document["inversion"], document["parameter"]
    strips = [picture_sheet.records(unpacked(found["records"]))]
    real = _found(found["real"], "real", pair)
    strips += [_row_strip([TARGET_NAMES["real"]], real)] if real else []
    for target in _LANES:
        for point in points:
            row, epsilon = _found(point["inversion"], target, pair), point["epsilon"]
            budget = "no epsilon" if epsilon is None else f"ε = {upwards_with_commas(epsilon, 3)}"
            name = [f"{TARGET_NAMES[target]}, {budget}"]
            if parameter != "epsilon":
                symbol = sweep_figures.PARAMETERS[parameter][1]
                name.append(f"{symbol} = {style.number(point['value'])}")
            if row:
                strips.append(_row_strip(name, row))
            elif target == "artificial" and point["status"] == "diverged":
                strips.append(Strip.of([*name, "the generator diverged"], None))
    return strips


def _row_strip(name: Sequence[str], row: Row) -> Strip:
    accuracy, *others = inversion_figures.facts(row)
    second = ", ".join([*name[1:], accuracy])
    images = unpacked(row["images"]) if row.get("images") else None
    return Strip.of([name[0], second, *others], images)


def _diverged(points: Sequence[Mapping[str, Any]], target: str, pair: Any = None) -> list[float]:
    """Places where a generator diverged, or a target, of an architecture and attack if given."""
    found = []
    for point in points:
        lost = [row for row in point["inversion"] if row["target"] == target and "top1" not in row]
        own = any(pair in (None, (row["architecture"], row["attack"])) for row in lost)
        if own or (target == "artificial" and point["status"] == "diverged"):
            found.append(point["place"])
    return found


def _curves(
    axes: Axes, points: Sequence[Mapping[str, Any]], found: Mapping[str, Any], pair: tuple[str, str]
) -> None:
    axes.set_xscale("log")
    for target, line in _LINES.items():
        (y,), _ = inversion_figures.percent_rates([_found(found["real"], target, pair)])
        if not math.isnan(y):
            axes.axhline(y, color=TARGET_LOOKS[target].colour, ls=line, lw=1.4, label=target)
    axes.axhline(100 * found["chance"], **CHANCE)
    for target, lane in _LANES.items():
        _curve(axes, [p for p in points if p["epsilon"] is not None], target, pair)
        _curve(axes, [p for p in points if p["epsilon"] is None], target, pair)
        for x in _diverged(points, target, pair):
            colour = TARGET_LOOKS[target].colour
            axes.plot(x, lane, "x", color=colour, ms=7, mew=2, label="diverged")
    lowest = min([-4, *(lane - 6 for t, lane in _LANES.items() if _diverged(points, t, pair))])
    axes.set(ylim=(lowest, 104), yticks=range(0, 101, 20), ylabel="identified (%)")
    style.tidy(axes)


def _curve(
    axes: Axes, points: Sequence[Mapping[str, Any]], target: str, pair: tuple[str, str]
) -> None:
    y, errors = inversion_figures.percent_rates(
        [_found(point["inversion"], target, pair) for point in points]
    )
    if not np.isnan(y).all():
        x, look = [point["place"] for point in points], TARGET_LOOKS[target]
        axes.errorbar(x, y, errors, color=look.colour, marker=look.marker, capsize=3, label=target)


def _sweep_handles(rows: Sequence[Row], points: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    there = style.distinct(rows, "target")
    handles = [TARGET_LOOKS[target].handle(line="-") for target in _LANES if target in there]
    for target, line in _LINES.items():
        if target in there:
            look = TARGET_LOOKS[target]
            handles.append(Line2D([], [], color=look.colour, ls=line, label=look.label))
    handles.append(Line2D([], [], **CHANCE, label="chance"))
    if any(_diverged(points, target) for target in _LANES):
        handles.append(Line2D([], [], color="black", marker="x", ls="", label="diverged"))
    return handles
