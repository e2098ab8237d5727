# SPDX-License-Identifier: Apache-2.0
"""What `bin/invert` leaves behind: JSON, figures, and the reconstructions as arrays."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfartgen import figure_style, inversion_figures
from tfartgen.evaluation_data import EvaluationData
from tfartgen.whole_files import write_atomically, write_json

Pictures = Mapping[tuple[str, str, str], np.ndarray]


def write(
    document: Mapping[str, Any], pictures: Pictures, data: EvaluationData, folder: pathlib.Path
) -> list[pathlib.Path]:
    """Writes all files of an attack.

    Returns:
      What was written; the JSON comes last, so that it speaks of what is there.

    Raises:
      OSError: no space, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("inversion_*.png"):  # of an attack that was there before
        old.unlink()
    real = first_records(data, document["settings"]["classes"])
    paths = []
    for architecture, attack in dict.fromkeys((a, k) for _, a, k in pictures):
        paths.append(folder / f"inversion_{architecture}_{attack}.png")
        drawn = inversion_figures.reconstructions(document, real, pictures, attack, architecture)
        figure_style.write_png(drawn, paths[-1])
    paths.append(folder / "inversion_rates.png")
    figure_style.write_png(inversion_figures.rates(document), paths[-1])
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **{"/".join(key): images for key, images in pictures.items()})
    paths.append(folder / "reconstructions.npz")
    write_atomically(paths[-1], arrays.getvalue())
    return [*paths, write_json(document, folder / "inversion.json")]


def first_records(data: EvaluationData, classes: Sequence[int]) -> np.ndarray:
    """The first training record of each class, uint8 `[classes, height, width, channels]`."""
    images, labels = data.train
    return np.stack([images[np.flatnonzero(labels == label)[0]] for label in classes])
