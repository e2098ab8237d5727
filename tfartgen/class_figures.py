# SPDX-License-Identifier: Apache-2.0
"""Figures by class, from a document of `bin/evaluate`: confusion and recall, diversity and coverage."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from tfartgen import figure_style as style
from tfartgen.figure_style import Look, Row

#: Most classes whose cells carry numbers, and whose names fit on an axis.
_MOST_NUMBERS, _MOST_NAMES = 12, 20

_REAL = Look("real training data, the yardstick", "#000000", "o")
_ARTIFICIAL = Look("artificial data", "#0072B2", "s")


def confusion(document: Mapping[str, Any]) -> Figure:
    """Confusion and recall of the table's last architecture; needs `table`."""
    (architecture, name), names = style.strongest(document), style.class_names(document)
    rows = style.rows_of(document, architecture)
    columns = 2 if len(names) <= _MOST_NAMES else 3
    lines = math.ceil(len(rows) / columns)
    heights = [lines * 8.7 / columns, 3.8]
    figure = style.new_figure(sum(heights))
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = halves
    _matrices(above, above.subplots(lines, columns, squeeze=False), rows, names)
    title = f"{style.dataset_name(document)}, {name}: which classes are taken for which"
    above.suptitle(title, fontsize=11)
    axes = below.subplots()
    recalls = [(look, np.array(row["recalls"], float)) for look, row in rows]  # NaN: not tested
    _by_class(axes, recalls, names, 100)
    axes.set(ylabel="recall (%)", ylim=(-3, 103))
    axes.set_title("share of each class that was found", fontsize=10)
    style.legend_below(below, [look.handle() for look, _ in rows], columns=2)
    return figure


def _matrices(
    figure: Any, panels: np.ndarray, rows: Sequence[tuple[Look, Row]], names: Sequence[str]
) -> None:
    images = [_matrix(axes, row, look, names) for axes, (look, row) in zip(panels.flat, rows)]
    _label_grid(panels, len(rows), names)
    bar = figure.colorbar(images[0], ax=panels, shrink=0.6, aspect=40, pad=0.02)
    bar.set_label("share of the true class (%)")
    bar.set_ticks([0, 1, 5, 20, 50, 100])


def _matrix(axes: Axes, row: Row, look: Look, names: Sequence[str]) -> AxesImage:
    counts = np.array(row["outcome"]["confusion"], float)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Errors are a small share of a class, and would be invisible on a linear scale. The aspect is left to the layout,
    # which makes no room for the titles of axes of a fixed one.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), aspect="auto")
    result = f"accuracy {100 * row['accuracy']['mean']:.1f}%"
    result = ", ".join(filter(None, [result, style.divergence_note(row)]))
    width = 54 if len(names) <= _MOST_NAMES else 36
    parts = [look.label] if len(look.label) <= width else look.label.split(", ", 1)
    title = [textwrap.fill(part, width) for part in [*parts, result]]
    axes.set_title("\n".join(title), fontsize=8)
    if len(names) <= _MOST_NUMBERS:
        for i, j in np.argwhere(shares >= 0.5):
            colour = "white" if shares[i, j] > 40 else "black"
            text = f"{shares[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    return image


def _label_grid(panels: np.ndarray, count: int, names: Sequence[str]) -> None:
    """Names the classes at the left and at the bottom of the first `count` panels, and hides the others."""
    columns = panels.shape[1]
    for position, axes in enumerate(panels.flat):
        axes.set(xticks=[], yticks=[], visible=position < count)
        if position % columns == 0:
            axes.set_ylabel("true class")
            if len(names) <= _MOST_NAMES:
                axes.set_yticks(range(len(names)), names, fontsize=8)
        if position + columns >= count:
            axes.set_xlabel("taken for")
            if len(names) <= _MOST_NAMES:
                _name_axis(axes, names)


def _name_axis(axes: Axes, names: Sequence[str]) -> None:
    turned = sum(map(len, names)) > 40
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90 if turned else 0)


def fidelity(document: Mapping[str, Any]) -> Figure:
    """Diversity and coverage of each class and release, beside those of real data; needs `fidelity`."""
    studies, names = document["fidelity"], style.class_names(document)
    figure = style.new_figure(0.8 + 3.4 * len(studies))
    panels = figure.subplots(len(studies), 2, squeeze=False)
    for study, (diversity, coverage) in zip(studies, panels):
        for axes, key in ((diversity, "class_diversity"), (coverage, "class_coverage")):
            sides = [(_REAL, study["real"][key]), (_ARTIFICIAL, study["artificial"][key])]
            _by_class(axes, sides, names)
        known = [study[side]["class_diversity"] for side in ("real", "artificial")]
        highest = max([1, *(value for side in known for value in side if value is not None)])
        diversity.set(ylabel="diversity (1: as test images)", ylim=(0, 1.1 * highest))
        diversity.axhline(1, color="#666666", ls=":", lw=1)
        coverage.set(ylabel="coverage", ylim=(-0.03, 1.05))
        diversity.set_title(
            _distances(study, style.release_names(document)), fontsize=9, loc="left"
        )
        coverage.set_title(_space(study), fontsize=9, loc="left")
    title = f"{style.dataset_name(document)}: like real test images, class by class?"
    figure.suptitle(title, fontsize=11)
    style.legend_below(figure, [_REAL.handle(), _ARTIFICIAL.handle()])
    return figure


def _distances(study: Mapping[str, Any], names: Mapping[str, str]) -> str:
    artificial, real = (study[side]["frechet_distance"] for side in ("artificial", "real"))
    return (
        f"{names[study['release']]}, {study['num_examples']:,} images a side\n"
        f"Fréchet distance {artificial:.3g} (real data {real:.3g})"
    )


def _space(study: Mapping[str, Any]) -> str:
    features = study["features"]
    return (
        f"feature space: {style.plain(features['architecture'])} of seed {features['seed']}\n"
        f"trained on real data, accuracy {100 * features['accuracy']:.1f}%"
    )


def _by_class(
    axes: Axes, sides: Sequence[tuple[Look, Sequence[Any]]], names: Sequence[str], scale: float = 1
) -> None:
    """Draws values of classes, None where there is none; of many classes, sorted for each side."""
    named, missing, notes = len(names) <= _MOST_NAMES, [], []
    for position, (look, values) in enumerate(sides):
        y = scale * np.array(values, float)
        missing += [f"{look.label.split()[0]} {np.isnan(y).sum()}"] if np.isnan(y).any() else []
        if named:
            x = np.arange(len(y)) + 0.7 * ((position + 0.5) / len(sides) - 0.5)
            axes.plot(x, y, look.marker, color=look.colour, ms=4.5, label=look.label)
        else:
            y = np.sort(y[~np.isnan(y)])
            x = np.arange(1, len(y) + 1)
            axes.plot(x, y, color=look.colour, marker=look.marker, ms=3, lw=1, label=look.label)
    style.tidy(axes, "y")
    if named:
        _name_axis(axes, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        for edge in range(len(names) - 1):
            axes.axvline(edge + 0.5, color="#eeeeee", lw=0.6, zorder=0)
    else:
        axes.set_xlim(0, len(names) + 1)
        notes.append(f"{len(names)} classes, sorted for each line by itself")
    notes += [f"classes without a value: {', '.join(missing)}"] if missing else []
    axes.set_xlabel("\n".join(notes), fontsize=8)
