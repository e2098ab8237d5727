# SPDX-License-Identifier: Apache-2.0
"""Students: classifiers trained on artificial images only and tested on real ones.

Training gets labelled `uint8` arrays and never a real test set, so nothing is chosen by looking at it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfartgen import _validate
from tfartgen.data import to_float
from tfartgen.networks import Student


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """How a student trains.

    Attributes:
      steps: gradient steps, the same whatever the number of images, so that students compare.
      batch_size: images of a step.
      learning_rate: of Adam, at the start; it falls to zero along a cosine.
      seed: fixes weights, dropout and the order of the images.
    """

    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        _validate.positive_int("steps", self.steps)
        _validate.positive_int("batch_size", self.batch_size)
        _validate.positive("learning_rate", self.learning_rate)


def train_student(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    config: StudentConfig = StudentConfig(),
) -> tf.keras.Model:
    """Trains a small CNN.

    Args:
      images: uint8 `[n, height, width, channels]`.
      labels: integers `[n]` in 0..num_classes-1.
      num_classes: number of labels.
      config: how to train.

    Returns:
      A compiled Keras model of float images in [-1, 1] to logits.

    Raises:
      ValueError: no images, or as many labels as images are not there.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"a student needs as many labels as images and at least one, got {len(images)} images, {len(labels)} labels"
        )
    student = Student(num_classes, seed=config.seed)
    rate = tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    student.compile(
        optimizer=tf.keras.optimizers.legacy.Adam(rate),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = (
        tf.data.Dataset.from_tensor_slices((images, labels))
        .shuffle(len(images), seed=config.seed)
        .repeat()
        .batch(config.batch_size, drop_remainder=True)
        .map(lambda image, label: (to_float(image), label))
        .prefetch(tf.data.AUTOTUNE)
    )
    student.fit(batches, steps_per_epoch=config.steps, epochs=1, verbose=0)
    return student


def accuracy(student: tf.keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose most likely class is their label, in [0, 1].

    Args:
      student: maps float images in [-1, 1] to logits.
      images: uint8 `[n, height, width, channels]`.
      labels: integers `[n]`.
    """
    batches = tf.data.Dataset.from_tensor_slices(images).batch(500).map(to_float)
    predicted = np.argmax(student.predict(batches, verbose=0), axis=1)
    return float(np.mean(predicted == labels))
