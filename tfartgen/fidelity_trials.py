# SPDX-License-Identifier: Apache-2.0
"""Fidelity of releases in the feature space of a classifier that was trained on real records: a trial each."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Optional

import numpy as np
import tensorflow as tf

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


class FeatureSpace:
    """The features of a classifier of the real training records, which is trained when the first trial needs it."""

    def __init__(self, data: EvaluationData):
        """Takes the real data; nothing is trained yet."""
        self._data = data

    def trial(self, release: ReleasedData, count: int) -> Trial:
        """Compares a release, and real training records as the yardstick, with the real test images.

        Args:
          release: the artificial data.
          count: examples of each side, see `num_examples`.

        Returns:
          A trial whose result holds `artificial` and `real`, each with `frechet_distance`, `precision`, `recall`,
          `density`, `coverage`, `class_diversity` and `class_coverage` (by class, None where it cannot be told); and
          the `features`: seed and accuracy of the classifier.
        """
        settings = {
            "data": self._data.digest,
            "releases": [release.digest],
            "num_examples": count,
            "features": dataclasses.asdict(FEATURES),
        }
        return Trial("fidelity", settings, lambda: self._compared(release, count))

    def _compared(self, release: ReleasedData, count: int) -> dict[str, Any]:
        data = self._data
        test = _features(self._network, data.test, count)
        sides = {"artificial": (release.images, release.labels), "real": data.train}
        return {
            "num_examples": count,
            "features": {
                **dataclasses.asdict(FEATURES),
                "dimensions": test[0].shape[1],
                "accuracy": students.accuracy(self._network, *data.test),
            },
            **{
                name: _measures(test, _features(self._network, side, count), data.num_classes)
                for name, side in sides.items()
            },
        }

    @functools.cached_property
    def _network(self) -> tf.keras.Model:
        return students.train_student(*self._data.train, self._data.num_classes, FEATURES)


def _features(network: tf.keras.Model, records: Records, count: int) -> Records:
    """Of `count` records spread over all, since some data sets are sorted by class."""
    images, labels = records
    chosen = np.linspace(0, len(labels) - 1, count).round().astype(int)
    return students.features(network, images[chosen]), labels[chosen]


def _measures(test: Records, side: Records, num_classes: int) -> dict[str, Any]:
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
