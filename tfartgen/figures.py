# SPDX-License-Identifier: Apache-2.0
"""Figures of an evaluation and of a sweep, from their documents."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from tfartgen import (
    class_figures,
    evaluation_figures,
    figure_style,
    inversion_sweep_figure,
    sweep_figures,
)

#: Figures of an evaluation: the study that each is made from, and what draws it.
EVALUATION_FIGURES = {
    "accuracy": ("table", evaluation_figures.accuracy),
    "curve": ("curve", evaluation_figures.curve),
    "confusion": ("table", class_figures.confusion),
    "calibration": ("table", evaluation_figures.calibration),
    "validation": ("validation", evaluation_figures.validation),
    "fidelity": ("fidelity", class_figures.fidelity),
}


def draw_evaluation(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Draws the studies that a document of `bin/evaluate` holds.

    Args:
      document: what `evaluation.Evaluation.run` returns.
      folder: to write to; it is made if it does not exist.

    Returns:
      The PNG files, those of `EVALUATION_FIGURES` whose study there is.

    Raises:
      OSError: no space, or no permission.
    """
    return [
        _draw(draw(document), folder / f"{name}.png")
        for name, (study, draw) in EVALUATION_FIGURES.items()
        if document.get(study)
    ]


def draw_sweep(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Draws a sweep over privacy, and what an attack recovers along it if that was asked.

    Arguments, result and errors are those of `draw_evaluation`.
    """
    drawn = {"sweep": sweep_figures.sweep}
    if "inversion" in document:
        drawn["sweep_inversion"] = inversion_sweep_figure.sweep
    return [_draw(draw(document), folder / f"{name}.png") for name, draw in drawn.items()]


def _draw(figure: Any, path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_style.write_png(figure, path)
    return path
