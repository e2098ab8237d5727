# SPDX-License-Identifier: Apache-2.0
"""Where images are compared: pixels, principal components of them, or those of a classifier's features.

A space is made from artificial images alone, so that it favours no real record, trained on or not.
"""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np
from sklearn.decomposition import PCA

from tfartgen import _validate

NAMES = ("pixels", "pca", "student")


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSpace:
    """A map of images to points.

    Attributes:
      name: one of `NAMES`.
      dimensions: of a point.
      embed: takes uint8 [n, height, width, channels], returns float64 [n, dimensions].
      facts: what else to say about it, JSON-able.
    """

    name: str
    dimensions: int
    embed: Callable[[np.ndarray], np.ndarray]
    facts: dict[str, float]


def make(
    name: str, dimensions: int, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> FeatureSpace:
    """Makes a space from artificial images.

    Args:
      name: one of `NAMES`: `student` trains a convolutional classifier on the images.
      dimensions: principal components, of pixels or of features; `pixels` takes all.
      images: uint8 [n, height, width, channels].
      labels: whole numbers [n]; used by `student` alone.
      num_classes: how many classes there are.

    Raises:
      ValueError: another name, or more dimensions than there are.
    """
    _validate.one_of("--space", name, NAMES)
    _validate.positive_int("--dimensions", dimensions)
    if name == "pixels":
        return FeatureSpace(name, int(np.prod(images.shape[1:])), _pixels, {})
    embed = _pixels if name == "pca" else _student(images, labels, num_classes)
    features = embed(images)
    most = min(features.shape)
    if dimensions > most:
        raise ValueError(
            f"--dimensions={dimensions} exceeds the {most} that --space={name} has here; lower it"
        )
    # Its random solver, where it takes that, is to give the same space every time.
    components = PCA(dimensions, random_state=0).fit(features)
    facts = {"explained_variance": float(np.nan_to_num(components.explained_variance_ratio_).sum())}
    return FeatureSpace(
        name,
        dimensions,
        lambda some: components.transform(embed(some)).astype(np.float64),
        facts,
    )


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255.0


def _student(
    images: np.ndarray, labels: np.ndarray, num_classes: int
) -> Callable[[np.ndarray], np.ndarray]:
    from tfartgen import students  # imports TensorFlow, which the other spaces do without

    config = students.StudentConfig(architecture="feature_cnn")
    network = students.train_student(images, labels, num_classes, config)
    return lambda some: students.features(network, some)
