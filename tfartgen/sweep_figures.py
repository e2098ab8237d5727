# SPDX-License-Identifier: Apache-2.0
"""The figure of a sweep: what privacy costs in accuracy, from a document with a point for each level of privacy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from tfartgen import figure_style as style
from tfartgen.figure_style import Look, Row

#: Names and symbols of what is swept.
PARAMETERS = {"noise_multiplier": ("noise multiplier σ", "σ"), "epsilon": ("ε asked for", "ε")}

#: Least distance of two labels, as a share of the axis.
_LABEL_DISTANCE = 0.07

#: Height of the lane of generators that diverged, as a share of the axis of accuracy.
_LANE = 0.13


#: Ratio of the places of neighbours that have no epsilon.
_APART = 1.6


def sweep(document: Mapping[str, Any]) -> Figure:
    """Accuracy against epsilon, from a document of the schema tfartgen.sweep/1.

    What has no epsilon (null) is drawn right of all others. A generator that diverged has a cross in a lane of its
    own, and lines have a gap there.
    """
    real = document.get("real", [])
    points, end = placed(document["points"])
    rows = [row for point in points for key in ("artificial", "dp_sgd") for row in point[key]]
    looks = style.architecture_looks([*rows, *real])
    figure = style.new_figure(5.8)
    axes = figure.subplots()
    axes.set_xscale("log")
    for name, look in looks.items():
        for kind in ("artificial", "dp_sgd"):
            _lines(axes, [p for p in points if p["epsilon"] is not None], kind, name, look)
            _lines(axes, [p for p in points if p["epsilon"] is None], kind, name, look)
        style.real_line(axes, real, name, look)
    start = style.accuracy_axis(axes.set_ylim, axes.set_ylabel, [*rows, *real])
    _diverged_lane(axes, start, points, PARAMETERS[document["parameter"]][1])
    privacy_axis(axes, points, end)
    _parameter_axis(axes, points, document["parameter"])
    style.tidy(axes)
    axes.spines["top"].set_visible(True)
    title = f"{style.dataset_name(document)}: what privacy costs"
    axes.set_title(f"{title}\n{style.seeds_note(rows)}", fontsize=11)
    handles = [look.handle() for look in looks.values()] + _kinds(points, real)
    style.legend_below(figure, handles + style.diverged_handles(rows))
    return figure


def placed(points: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], float]:
    """Gives each point its `place` on the axis, in order, and says where those without an epsilon begin.

    They stand side by side, less noise further right.
    """
    finite = [point for point in points if point["epsilon"] is not None]
    spent = [point["epsilon"] for point in finite]
    end = max(spent) * max(3, (max(spent) / min(spent)) ** 0.2) if spent else 1.0
    unbounded = sorted(
        (point for point in points if point["epsilon"] is None), key=lambda point: -point["value"]
    )
    return [
        *({**point, "place": point["epsilon"]} for point in sorted(finite, key=_epsilon)),
        *({**point, "place": end * _APART**i} for i, point in enumerate(unbounded)),
    ], end


def _epsilon(point: Mapping[str, Any]) -> float:
    return point["epsilon"]


def _lines(
    axes: Axes, points: Sequence[Mapping[str, Any]], kind: str, architecture: str, look: Look
) -> None:
    """Draws the students of a kind."""
    found: list[tuple[float, Optional[Row]]] = []
    for point in points:
        own = [row for row in point[kind] if row["architecture"] == architecture]
        # A line would go over a generator that diverged as if it had not.
        gap = [None] if kind == "artificial" and not own else []
        found += [(point["place"], row) for row in [*own, *gap]]
    if not any(row for _, row in found):
        return
    nothing = {"mean": math.nan, "half_width": None}
    x = [place for place, _ in found]
    y, errors = style.percent([row["accuracy"] if row else nothing for _, row in found])
    axes.errorbar(
        x,
        y,
        errors,
        color=look.colour,
        marker=look.marker,
        mfc=look.colour if kind == "artificial" else "white",
        ls="-" if kind == "artificial" else ":",
        capsize=3,
        label=f"{kind} {architecture}",
    )
    style.mark_diverged(axes, [row or {} for _, row in found], x, y)


def _diverged_lane(
    axes: Axes, start: float, points: Sequence[Mapping[str, Any]], symbol: str
) -> None:
    """Makes room below the accuracies, and puts the generators that diverged there."""
    diverged = [point for point in points if point["status"] == "diverged"]
    if not diverged:
        return
    bottom, middle = start - _LANE * (100 - start), start - 0.65 * _LANE * (100 - start)
    ticks = {tick: f"{tick:g}" for tick in axes.get_yticks() if start <= tick <= 100}
    axes.set_yticks([middle, *ticks], ["diverged", *ticks.values()])
    axes.set_ylim(bottom, style.accuracy_end(start))
    axes.axhspan(bottom, start, color="#eeeeee", lw=0)
    for point in diverged:
        x, value = point["place"], style.number(point["value"])
        axes.plot(x, middle, "x", color="black", ms=9, mew=2, label="diverged")
        text, height = f"{symbol} = {value}", start + 0.12 * (bottom - start)
        axes.text(x, height, text, fontsize=8, ha="center", va="top")


def privacy_axis(axes: Axes, points: Sequence[Mapping[str, Any]], end: float) -> None:
    """Makes the horizontal axis one of epsilon, for what `placed` returned."""
    finite = [point["epsilon"] for point in points if point["epsilon"] is not None]
    unbounded = [point["place"] for point in points if point["epsilon"] is None]
    lowest, highest = min([*finite, end]), max([*finite, *unbounded])
    margin = max(1.3, (highest / lowest) ** 0.06)
    axes.set_xlim(lowest / margin, highest * margin)
    ticks = {place: style.number(place) for place in (_ticks(finite) if finite else [])}
    if unbounded:
        ticks[math.sqrt(unbounded[0] * unbounded[-1])] = "no epsilon"
    if unbounded and finite:
        axes.axvline(math.sqrt(end * max(finite)), color="#999999", lw=1, ls="-.")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    deltas = {point["delta"] for point in points}
    at = f" at δ = {deltas.pop():g}" if len(deltas) == 1 else ""
    axes.set_xlabel(f"ε{at} (log scale): less is more private")


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around the values, few enough for their labels."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = {1: (1, 2, 5), 2: (1, 2, 5), 3: (1, 3)}.get(high - low, (1,))
    every = math.ceil((high - low) / 8) or 1
    ticks = [step * 10.0**power for power in range(low, high + 1, every) for step in steps]
    return [tick for tick in ticks if min(values) / 1.3 <= tick <= max(values) * 1.3]


def _parameter_axis(axes: Axes, points: Sequence[Mapping[str, Any]], parameter: str) -> None:
    """Tells the parameter of each point at the top, where there is room."""
    places = [point["place"] for point in points]
    width = float(np.ptp(np.log10(axes.get_xlim())))
    kept = style.uncrowded(np.log10(places), _LABEL_DISTANCE * width)
    top = axes.secondary_xaxis("top")
    labels = [style.number(points[position]["value"]) for position in kept]
    top.set_xticks([places[position] for position in kept], labels)
    top.xaxis.set_minor_locator(NullLocator())
    top.set_xlabel(PARAMETERS[parameter][0])


def _kinds(points: Sequence[Mapping[str, Any]], real: Sequence[Row]) -> list[Line2D]:
    """Entries of a legend for what lines are."""
    kinds = [("-", "#666666", "artificial data", any(point["artificial"] for point in points))]
    kinds += [(":", "white", "real data, DP-SGD", any(point["dp_sgd"] for point in points))]
    handles = [
        Line2D([], [], color="#666666", ls=line, marker="o", mfc=fill, label=label)
        for line, fill, label, there in kinds
        if there
    ]
    if real:
        label = "real data, no privacy"
        handles.append(Line2D([], [], color="#666666", ls="--", label=label))
    return handles
