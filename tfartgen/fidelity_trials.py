# SPDX-License-Identifier: Apache-2.0
"""Fidelity of a release in the feature space of a classifier that was trained on real records: one trial."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Optional

import numpy as np

from tfartgen import fidelity, students
from tfartgen.evaluation_data import EvaluationData, Records
from tfartgen.released_data import ReleasedData
from tfartgen.students import StudentConfig
from tfartgen.trials import Trial

#: The classifier whose features are the space; its seed is stated beside every number.
FEATURES = StudentConfig(architecture="feature_cnn")


def num_examples(data: EvaluationData, release: ReleasedData, asked: Optional[int] = None) -> int:
    """Examples of each side: what all sides have, or fewer if asked for.

    Raises:
      ValueError: more are asked for than there are, or there are too few for neighbours.
    """
    available = min(len(data.test[1]), len(data.train[1]), len(release.labels))
    if min(available, asked or available) <= fidelity.NEIGHBOURS:
        raise ValueError(
            f"fidelity needs more than {fidelity.NEIGHBOURS} examples of each side, and would have "
            f"{min(available, asked or available)}; add test images or artificial ones, or leave fidelity out of --studies"
        )
    if asked is not None and asked > available:
        raise ValueError(
            f"--fidelity_examples={asked} exceeds the {available} that test set, training split and release all have; "
            "lower it"
        )
    return asked or available


def fidelity_trial(data: EvaluationData, release: ReleasedData, count: int) -> Trial:
    """Compares a release, and real training records as the yardstick, with the real test images.

    Args:
      data: the real data.
      release: the artificial data.
      count: examples of each side, see `num_examples`.

    Returns:
      A trial whose result holds `artificial` and `real`, each with `frechet_distance`, `precision`, `recall`, `density`,
      `coverage`, `class_diversity` and `class_coverage` (by class, None where it cannot be told); and the `features`:
      seed and accuracy of the classifier.
    """
    settings = {
        "data": data.digest,
        "releases": [release.digest],
        "num_examples": count,
        "features": dataclasses.asdict(FEATURES),
    }

    def compute() -> dict[str, Any]:
        network = students.train_student(*data.train, data.num_classes, FEATURES)
        test = _features(network, data.test, count)
        sides = {
            "artificial": _features(network, (release.images, release.labels), count),
            "real": _features(network, data.train, count),
        }
        return {
            "num_examples": count,
            "features": {
                **dataclasses.asdict(FEATURES),
                "dimensions": test[0].shape[1],
                "accuracy": students.accuracy(network, *data.test),
            },
            **{name: _compared(test, side, data.num_classes) for name, side in sides.items()},
        }

    return Trial("fidelity", settings, compute)


def _features(network: Any, records: Records, count: int) -> Records:
    """Of `count` records spread over all, since some data sets are sorted by class."""
    images, labels = records
    chosen = np.linspace(0, len(labels) - 1, count).round().astype(int)
    return students.features(network, images[chosen]), labels[chosen]


def _compared(test: Records, side: Records, num_classes: int) -> dict[str, Any]:
    (real, real_labels), (other, labels) = test, side
    by_class = (real, real_labels, other, labels, num_classes)
    return {
        "frechet_distance": fidelity.frechet_distance(real, other),
        **dataclasses.asdict(fidelity.neighbourhood_metrics(real, other)),
        "class_diversity": _listed(fidelity.class_diversity(*by_class)),
        "class_coverage": _listed(fidelity.class_coverage(*by_class)),
    }


def _listed(values: np.ndarray) -> list[Optional[float]]:
    return [float(value) if math.isfinite(value) else None for value in values]
