# SPDX-License-Identifier: Apache-2.0
"""Figures of model inversion: what an attacker recovers. Those with real records are private."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from tfartgen import figure_style as style
from tfartgen import sweep_figures
from tfartgen.figure_style import Look, Row
from tfartgen.inversion_tables import TARGET_NAMES
from tfartgen.packed_arrays import unpacked

#: Targets look like methods; the baseline and the control are grey.
TARGET_LOOKS = {
    "real": Look(TARGET_NAMES["real"], "#000000", "o"),
    "artificial": Look(TARGET_NAMES["artificial"], "#0072B2", "s"),
    "dp_sgd": Look(TARGET_NAMES["dp_sgd"], "#D55E00", "^"),
    "shuffled": Look(TARGET_NAMES["shuffled"], "#666666", "v"),
    "untrained": Look(TARGET_NAMES["untrained"], "#aaaaaa", "d"),
    "given": Look(TARGET_NAMES["given"], "#CC79A7", "D"),
}
#: Of sweeps: lines of targets without an epsilon, and where targets with one are put that diverged.
_LINES, _LANES = {"real": "--", "shuffled": ":"}, {"artificial": -9, "dp_sgd": -17}
_CHANCE: dict[str, Any] = {"color": "#999999", "ls": "-.", "lw": 1.0, "zorder": 1}
_NO_RATE = {"low": math.nan, "rate": math.nan, "high": math.nan}

_SMALL: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "bottom"}
_GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
_WARNING = "#b00020"
#: What is behind pictures: of real records, and where there are none.
_TINT: dict[str, Any] = {"fc": "#fbdfe2", "ec": _WARNING, "lw": 1, "zorder": -1}
_EMPTY: dict[str, Any] = {"fc": "#f4f4f4", "ec": "#cccccc", "hatch": "///", "lw": 0.6}

#: Most classes side by side, and most blocks of them one below the other.
_MOST_COLUMNS, _MOST_BLOCKS = 20, 2
#: Pixels: of labels, between pictures, of a line, a character, a picture, and the titles.
_LABELS, _GAP, _LINE, _CHARACTER, _LARGEST, _TITLES = 200, 6, 15, 6.5, 110, 80
#: Characters.
_LONGEST_NAME, _LONGEST_LINE = 14, 28


class _Strip(NamedTuple):
    """A label, uint8 `[classes, height, width, channels]`, and whether these are real records."""

    lines: Sequence[str]
    images: Optional[np.ndarray]
    private: bool = False

    @classmethod
    def of(cls, lines: Sequence[str], images: Optional[np.ndarray]) -> _Strip:
        """Breaks lines that are too long."""
        return cls(sum([textwrap.wrap(line, _LONGEST_LINE) for line in lines], []), images)


class _Sheet:
    """Strips with a column for each class; many classes are wrapped. Lengths are in pixels."""

    def __init__(self, names: Sequence[str], strips: Sequence[_Strip], top: int):
        """Plans; the first strip has images."""
        self._names = [style.plain(name, _LONGEST_NAME) for name in names]
        self._strips, self._top = strips, top
        columns = min(_MOST_COLUMNS, len(names))
        height, width = np.asarray(strips[0].images).shape[1:3]
        room = (style.WIDTH * style.DPI - _LABELS) / columns - _GAP
        scale = min(room / width, _LARGEST / max(height, width))
        # Pixels of a picture are equally large, unless there are more than there is room for.
        self._interpolation = "nearest" if scale >= 1 else "antialiased"
        scale = math.floor(scale) if scale >= 1 else scale
        self._width, self._height = max(1, round(scale * width)), max(1, round(scale * height))
        self._pitch = min(room, 1.35 * self._width) + _GAP
        longest = _CHARACTER * max(map(len, self._names))
        self._turned = longest > self._pitch
        self._head = round(longest if self._turned else _LINE) + _GAP
        self._rows = [max(self._height, _LINE * len(s.lines)) + _GAP for s in strips]
        self._starts = range(0, len(self._names), _MOST_COLUMNS)
        self.height = top + len(self._starts) * (self._head + sum(self._rows) + 2 * _GAP)

    def draw(self, figure: Figure) -> None:
        """Draws on a figure of this height."""
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, style.WIDTH * style.DPI), ylim=(self.height, 0))
        axes.set_axis_off()
        top = self._top
        for start in self._starts:
            columns = range(start, min(start + _MOST_COLUMNS, len(self._names)))
            top += self._head
            for i, label in enumerate(columns):
                x = _LABELS + i * self._pitch + self._width / 2
                axes.text(x, top - 3, self._names[label], rotation=90 * self._turned, **_SMALL)
            for strip, height in zip(self._strips, self._rows):
                self._strip(axes, strip, columns, top, height)
                top += height
            top += 2 * _GAP

    def _strip(self, axes: Axes, strip: _Strip, columns: range, top: int, height: int) -> None:
        width = (len(columns) - 1) * self._pitch + self._width
        middle, colour = top + height / 2, _WARNING if strip.private else "black"
        axes.text(8, middle, "\n".join(strip.lines), fontsize=7, va="center", color=colour)
        if strip.private:
            axes.add_patch(Rectangle((3, top), _LABELS + width, height, **_TINT))
        if strip.images is None:
            axes.add_patch(Rectangle((_LABELS, top + 3), width, height - _GAP, **_EMPTY))
            return
        upper = round(middle - self._height / 2)
        for i, label in enumerate(columns):
            left = round(_LABELS + i * self._pitch)
            extent = (left, left + self._width, upper + self._height, upper)
            image, look = strip.images[label], {**_GREY, "interpolation": self._interpolation}
            image = image[..., 0] if image.shape[-1] == 1 else image
            axes.imshow(image, extent=extent, aspect="auto", **look)


def _shown(document: Mapping[str, Any], classes: Sequence[int], most: int) -> tuple[list[str], str]:
    """Names of the first classes, and a note if these are not all."""
    names = [document["dataset"]["class_names"][label] for label in classes[:most]]
    return names, f"the first {most} of {len(classes)} classes" if len(classes) > most else ""


def _records(images: np.ndarray) -> _Strip:
    return _Strip(["real record", "of the training data", "PRIVATE"], images, private=True)


def _facts(row: Row) -> list[str]:
    """What is said of a target beside its name."""
    mean, half = row["accuracy"]["mean"], row["accuracy"]["half_width"]
    # Spaces at which no line is broken.
    spread = f"\u00a0±\u00a0{100 * half:.1f}%" if half is not None else "%"
    lines = [f"accuracy {100 * mean:.1f}{spread}"]
    if "top1" not in row:
        return [*lines, "diverged"]
    lines.append(f"identified {row['top1']['successes']} of {row['top1']['trials']}")
    return lines + ([style.divergence_note(row)] if row.get("diverged") else [])


def _attack(rows: Sequence[Row], architecture: str, attack: str) -> str:
    return f"{style.architecture_looks(rows)[architecture].label}, {style.plain(attack)} attack"


def _warn(figure: Figure, top: int, height: int) -> None:
    text = "PRIVATE: the first row shows real records"
    look: dict[str, Any] = {"color": _WARNING, "fontsize": 10, "weight": "bold"}
    figure.text(0.5, 1 - top / height, text, ha="center", va="top", **look)


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
    settings, strips = document["settings"], [_records(real)]
    for row in document["rows"]:
        if row["attack"] == attack and row["architecture"] in (architecture, "given"):
            own = pictures.get((row["target"], row["architecture"], attack))
            budget = row.get("epsilon")
            privacy = f", ε = {style.number(budget)}" if budget is not None else ""
            lost = ["no picture: seed 0 diverged"] if own is None and "top1" in row else []
            strips.append(
                _Strip.of([TARGET_NAMES[row["target"]] + privacy, *_facts(row), *lost], own)
            )
    names, note = _shown(document, settings["classes"], _MOST_BLOCKS * _MOST_COLUMNS)
    sheet = _Sheet(names, strips, _TITLES)
    figure = style.new_figure(sheet.height / style.DPI)
    figure.set_layout_engine("none")
    sheet.draw(figure)
    seeds = "pictures of the first seed" if settings.get("seeds", 1) > 1 else ""
    shown = "; ".join(filter(None, [_attack(document["rows"], architecture, attack), seeds, note]))
    title = f"{style.dataset_name(document)}: recovered from classifiers trained on …"
    figure.suptitle(f"{title}\n{shown}", fontsize=11, y=1 - 8 / sheet.height)
    _warn(figure, 54, sheet.height)
    return figure


def _percent(rows: Sequence[Row], key: str = "top1") -> tuple[np.ndarray, np.ndarray]:
    """Rates in percent `[n]` and lengths of their error bars `[2, n]`; NaN where there is none."""
    found = [row.get(key, _NO_RATE) for row in rows]
    low, rate, high = (100 * np.array([each[end] for each in found], float) for end in _NO_RATE)
    return rate, np.maximum([rate - low, high - rate], 0)


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
    style.legend_below(figure, [*handles, Line2D([], [], **_CHANCE, label="chance")], columns=4)
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
    axes.axhline(100 * chance, **_CHANCE)
    axes.set(xlim=(-1, place - 1), ylim=(-4, 116), yticks=range(0, 101, 20))
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_ylabel("identified (%)")
    style.tidy(axes, "y")


def _point(axes: Axes, x: float, row: Row) -> None:
    colour, marker = TARGET_LOOKS[row["target"]].colour, TARGET_LOOKS[row["target"]].marker
    accuracy = f"{100 * row['accuracy']['mean']:.1f}"
    if "top1" not in row:
        axes.plot(x, 0, "x", color=colour, ms=9, mew=2, label="diverged")
        axes.text(x, 6, f"diverged\n{accuracy}", **_SMALL)
        return
    y, errors = _percent([row])
    axes.errorbar(x, y, errors, color=colour, marker=marker, ms=5, capsize=3, label=row["target"])
    if "recognisable" in row:
        axes.add_line(_ring([x], _percent([row], "recognisable")[0], colour, "recognisable"))
    axes.text(x, y[0] + max(errors[1, 0], 4) + 2, accuracy, **_SMALL)


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
    names, note = _shown(document, found["classes"], _MOST_COLUMNS)
    sheet = _Sheet(names, _sweep_strips(document, points, pair), plots + 64)
    figure = style.new_figure(sheet.height / style.DPI)
    halves: Any = figure.subfigures(2, 1, height_ratios=[plots, sheet.height - plots])
    panels = halves[0].subplots(lines, columns, squeeze=False).ravel()
    for axes, each in zip(panels, pairs):
        _curves(axes, points, found, each)
        sweep_figures.privacy_axis(axes, points, end)
        axes.set_title(_attack(rows, *each), fontsize=10)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    name = style.dataset_name(document)
    halves[0].suptitle(f"{name}: what privacy keeps from an attacker (PRIVATE)", fontsize=11)
    style.legend_below(halves[0], _sweep_handles(rows, points))
    sheet.draw(figure)
    shown = ["recovered from classifiers trained on …", _attack(rows, *pair)]
    text, y = "; ".join(filter(None, [*shown, note])), 1 - (plots + 10) / sheet.height
    figure.text(0.5, y, text, fontsize=10, ha="center", va="top")
    _warn(figure, plots + 32, sheet.height)
    return figure


def _found(rows: Sequence[Row], target: str, pair: tuple[str, str]) -> Row:
    """The row of a target, architecture and attack, empty if there is none."""
    own = [r for r in rows if (r["target"], r["architecture"], r["attack"]) == (target, *pair)]
    return own[0] if own else {}


def _sweep_strips(
    document: Mapping[str, Any], points: Sequence[Mapping[str, Any]], pair: tuple[str, str]
) -> list[_Strip]:
    found, parameter = document["inversion"], document["parameter"]
    strips = [_records(unpacked(found["records"]))]
    real = _found(found["real"], "real", pair)
    strips += [_row_strip([TARGET_NAMES["real"]], real)] if real else []
    for target in _LANES:
        for point in points:
            row, epsilon = _found(point["inversion"], target, pair), point["epsilon"]
            budget = "no noise" if epsilon is None else f"ε = {style.number(epsilon)}"
            name = [f"{TARGET_NAMES[target]}, {budget}"]
            if parameter != "epsilon":
                symbol = sweep_figures.PARAMETERS[parameter][1]
                name.append(f"{symbol} = {style.number(point['value'])}")
            if row:
                strips.append(_row_strip(name, row))
            elif target == "artificial" and point["status"] == "diverged":
                strips.append(_Strip.of([*name, "the generator diverged"], None))
    return strips


def _row_strip(name: Sequence[str], row: Row) -> _Strip:
    accuracy, *others = _facts(row)
    second = ", ".join([*name[1:], accuracy])
    images = unpacked(row["images"]) if row.get("images") else None
    return _Strip.of([name[0], second, *others], images)


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
        (y,), _ = _percent([_found(found["real"], target, pair)])
        if not math.isnan(y):
            axes.axhline(y, color=TARGET_LOOKS[target].colour, ls=line, lw=1.4, label=target)
    axes.axhline(100 * found["chance"], **_CHANCE)
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
    y, errors = _percent([_found(point["inversion"], target, pair) for point in points])
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
    handles.append(Line2D([], [], **_CHANCE, label="chance"))
    if any(_diverged(points, target) for target in _LANES):
        handles.append(Line2D([], [], color="black", marker="x", ls="", label="diverged"))
    return handles
