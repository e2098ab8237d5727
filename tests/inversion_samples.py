# SPDX-License-Identifier: Apache-2.0
"""Images whose class is a shape, which the judge of inversions tells apart at any brightness."""

from __future__ import annotations

from typing import Any

import evaluation_samples
import numpy as np

from tfartgen import data, evaluation_data
from tfartgen.released_data import ReleasedData

SIDE = 12
CLASS_NAMES = ("across", "down", "falling", "rising", "frame", "spot")


def masks() -> np.ndarray:
    """Of each class, bool `[6, 12, 12]`."""
    y, x = np.mgrid[:SIDE, :SIDE]
    edge = np.minimum(np.minimum(y, x), SIDE - 1 - np.maximum(y, x))
    away = np.hypot(y - 5.5, x - 5.5)
    return np.stack(
        [
            abs(y - 5.5) < 2,
            abs(x - 5.5) < 2,
            abs(y - x) < 2,
            abs(y + x - SIDE + 1) < 2,
            edge < 2,
            away < 3.5,
        ]
    )


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright shapes before dark noise, every class in turn: uint8 `[count, 12, 12, 1]` and int32 `[count]`."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % len(CLASS_NAMES)).astype(np.int32)
    bright = rng.integers(100, 180, size=(count, 1, 1))
    images = masks()[labels] * bright + rng.integers(70, size=(count, SIDE, SIDE))
    return images[..., None].astype(np.uint8), labels


def real(train: int = 180, held_out: int = 60) -> evaluation_data.EvaluationData:
    splits = (
        data.Split.from_arrays(*shapes(train, 0)),
        data.Split.from_arrays(*shapes(held_out, 1)),
    )
    private = data.PrivateData("shapes", (SIDE, SIDE, 1), CLASS_NAMES, *splits)
    return evaluation_data.prepare(private)


def release(**changes: Any) -> ReleasedData:
    images, labels = shapes(150, 2)
    fields = {"images": images, "labels": labels, "class_names": CLASS_NAMES, **changes}
    return evaluation_samples.release(**fields)
