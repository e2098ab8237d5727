# SPDX-License-Identifier: Apache-2.0
"""Figures of model inversion: what an attacker recovers. Those with real records are private."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfartgen import figure_style as style
from tfartgen import picture_sheet
from tfartgen.figure_style import Look, Row
from tfartgen.inversion_tables import TARGET_NAMES
from tfartgen.picture_sheet import MOST_COLUMNS, SMALL, Sheet, Strip
from tfartgen.rounding import upwards_with_commas

#: Targets look like methods; the baseline and the control are grey.
TARGET_LOOKS = {
    "real": Look(TARGET_NAMES["real"], "#000000", "o"),
    "artificial": Look(TARGET_NAMES["artificial"], "#0072B2", "s"),
    "dp_sgd": Look(TARGET_NAMES["dp_sgd"], "#D55E00", "^"),
    "shuffled": Look(TARGET_NAMES["shuffled"], "#666666", "v"),
    "untrained": Look(TARGET_NAMES["untrained"], "#aaaaaa", "d"),
    "given": Look(TARGET_NAMES["given"], "#CC79A7", "D"),
}
#: The line of what chance identifies.
CHANCE: dict[str, Any] = {"color": "#999999", "ls": "-.", "lw": 1.0, "zorder": 1}

_NO_RATE = {"low": math.nan, "rate": math.nan, "high": math.nan}
#: Most blocks of classes, one below the other.
_MOST_BLOCKS = 2
#: Pixels of the titles.
_TITLES = 80


def reconstructions(
    document: Mapping[str, Any],
    real: np.ndarray,
    pictures: Mapping[tuple[str, str, str], np.ndarray],
    attack: str,
    architecture: str,
) -> Figure:
    """Pictures of each class: a real record, and what was recovered from each target. Private.

    Args:
      document: of `InversionStudy.run`.
      real: uint8 `[classes, height, width, channels]`, a training record of each attacked class.
      pictures: of `InversionStudy.pictures`; without them, a target's row is empty.
      attack: which one is shown.
      architecture: of the targets; a given target is shown with any.
    """
    settings, strips = document["settings"], [picture_sheet.records(real)]
    for row in document["rows"]:
        if row["attack"] == attack and row["architecture"] in (architecture, "given"):
            own = pictures.get((row["target"], row["architecture"], attack))
            budget = row.get("epsilon")
            privacy = f", ε = {upwards_with_commas(budget, 3)}" if budget is not None else ""
            lost = ["no picture: seed 0 diverged"] if own is None and "top1" in row else []
            strips.append(
                Strip.of([TARGET_NAMES[row["target"]] + privacy, *facts(row), *lost], own)
            )
    names, note = shown_classes(document, settings["classes"], _MOST_BLOCKS * MOST_COLUMNS)
    sheet = Sheet(names, strips, _TITLES)
    figure = style.new_figure(sheet.height / style.DPI)
    figure.set_layout_engine("none")
    sheet.draw(figure)
    seeds = "pictures of the first seed" if settings.get("seeds", 1) > 1 else ""
    shown = "; ".join(
        filter(None, [attack_name(document["rows"], architecture, attack), seeds, note])
    )
    title = f"{style.dataset_name(document)}: recovered from classifiers trained on …"
    figure.suptitle(f"{title}\n{shown}", fontsize=11, y=1 - 8 / sheet.height)
    picture_sheet.warn(figure, 54, sheet.height)
    return figure


def shown_classes(
    document: Mapping[str, Any], classes: Sequence[int], most: int
) -> tuple[list[str], str]:
    """Names of the first classes, and a note if these are not all."""
    names = [document["dataset"]["class_names"][label] for label in classes[:most]]
    return names, f"the first {most} of {len(classes)} classes" if len(classes) > most else ""


def facts(row: Row) -> list[str]:
    """What is said of a target beside its name: accuracy, how many are identified, what diverged."""
    mean, half = row["accuracy"]["mean"], row["accuracy"]["half_width"]
    # Spaces at which no line is broken.
    spread = f"\u00a0±\u00a0{100 * half:.1f}%" if half is not None else "%"
    lines = [f"accuracy {100 * mean:.1f}{spread}"]
    if "top1" not in row:
        return [*lines, "diverged"]
    lines.append(f"identified {row['top1']['successes']} of {row['top1']['trials']}")
    return lines + ([style.divergence_note(row)] if row.get("diverged") else [])


def attack_name(rows: Sequence[Row], architecture: str, attack: str) -> str:
    """Architecture and attack, for people."""
    return f"{style.architecture_looks(rows)[architecture].label}, {style.plain(attack)} attack"


def rates(document: Mapping[str, Any]) -> Figure:
    """How much is identified from each target, from a document of `InversionStudy.run`."""
    rows = document["rows"]
    attacks = style.distinct(rows, "attack")
    figure = style.new_figure(1.3 + 2.9 * len(attacks))
    panels = figure.subplots(len(attacks), 1, squeeze=False)[:, 0]
    for axes, attack in zip(panels, attacks):
        _panel(axes, document["chance"], [row for row in rows if row["attack"] == attack])
        axes.set_title(f"{style.plain(attack)} attack", fontsize=10)
    name = style.dataset_name(document)
    note = "95% Wilson intervals; small numbers: accuracy of the target (%)"
    figure.suptitle(f"{name}: who is identified from reconstructions?\n{note}", fontsize=11)
    handles = [TARGET_LOOKS[target].handle() for target in style.distinct(rows, "target")]
    if any("recognisable" in row for row in rows):
        handles.append(_ring([], [], "#666666", "identified, and a face is found"))
    style.legend_below(figure, [*handles, Line2D([], [], **CHANCE, label="chance")], columns=4)
    return figure


def _ring(x: Any, y: Any, colour: str, label: str) -> Line2D:
    return Line2D(x, y, marker="o", ms=10, mfc="none", mec=colour, ls="", label=label)


def _panel(axes: Axes, chance: float, rows: Sequence[Row]) -> None:
    """Targets of an architecture are side by side, in the order of the document."""
    place, ticks = 0, {}
    for architecture, look in style.architecture_looks(rows).items():
        own = [row for row in rows if row["architecture"] == architecture]
        for i, row in enumerate(own):
            _point(axes, place + i, row)
        ticks[place + (len(own) - 1) / 2] = look.label
        place += len(own) + 1
    axes.axhline(100 * chance, **CHANCE)
    axes.set(xlim=(-1, place - 1), ylim=(-4, 116), yticks=range(0, 101, 20))
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_ylabel("identified (%)")
    style.tidy(axes, "y")


def _point(axes: Axes, x: float, row: Row) -> None:
    colour, marker = TARGET_LOOKS[row["target"]].colour, TARGET_LOOKS[row["target"]].marker
    accuracy = f"{100 * row['accuracy']['mean']:.1f}"
    if "top1" not in row:
        axes.plot(x, 0, "x", color=colour, ms=9, mew=2, label="diverged")
        axes.text(x, 6, f"diverged\n{accuracy}", **SMALL)
        return
    y, errors = percent_rates([row])
    axes.errorbar(x, y, errors, color=colour, marker=marker, ms=5, capsize=3, label=row["target"])
    if "recognisable" in row:
        axes.add_line(_ring([x], percent_rates([row], "recognisable")[0], colour, "recognisable"))
    axes.text(x, y[0] + max(errors[1, 0], 4) + 2, accuracy, **SMALL)


def percent_rates(rows: Sequence[Row], key: str = "top1") -> tuple[np.ndarray, np.ndarray]:
    """Rates in percent `[n]` and lengths of their error bars `[2, n]`; NaN where there is none."""
    found = [row.get(key, _NO_RATE) for row in rows]
    low, rate, high = (100 * np.array([each[end] for each in found], float) for end in _NO_RATE)
    return rate, np.maximum([rate - low, high - rate], 0)
