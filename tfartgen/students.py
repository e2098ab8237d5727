# SPDX-License-Identifier: Apache-2.0
"""Students: classifiers trained on labelled images, artificial or real, and tested on real ones.

Training gets labelled `uint8` arrays and never a real test set, so nothing is chosen by looking at it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfartgen import _validate
from tfartgen.data import to_float
from tfartgen.student_networks import NETWORKS

_PREDICTED_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """How a student trains.

    Attributes:
      architecture: one of `student_networks.NETWORKS`.
      steps: gradient steps, the same whatever the number of images, so that students compare.
      batch_size: images of a step.
      learning_rate: of Adam, at the start; it falls to zero along a cosine.
      seed: fixes weights, dropout and the order of the images.
    """

    architecture: str = "cnn"
    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        _validate.one_of("architecture", self.architecture, NETWORKS)
        _validate.positive_int("steps", self.steps)
        _validate.positive_int("batch_size", self.batch_size)
        _validate.positive("learning_rate", self.learning_rate)


def train_student(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    config: StudentConfig = StudentConfig(),
) -> tf.keras.Model:
    """Trains a classifier.

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
    student = new_student(num_classes, config)
    fit(student, images, labels, config)
    return student


def new_student(num_classes: int, config: StudentConfig) -> tf.keras.Model:
    """A student that has not been trained, compiled."""
    student = NETWORKS[config.architecture](num_classes, config.seed)
    rate = tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    student.compile(
        optimizer=tf.keras.optimizers.legacy.Adam(rate),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return student


def fit(
    student: tf.keras.Model, images: np.ndarray, labels: np.ndarray, config: StudentConfig
) -> None:
    """Trains a compiled student; arguments and errors as in `train_student`."""
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"a student needs as many labels as images and at least one, got {len(images)} images, {len(labels)} labels"
        )
    with tf.device("CPU"):  # the host shuffles, whatever the device that trains
        examples = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = (
        examples.shuffle(len(images), seed=config.seed)
        .repeat()
        .batch(config.batch_size, drop_remainder=True)
        .map(lambda image, label: (to_float(image), label))
        .prefetch(tf.data.AUTOTUNE)
    )
    student.fit(batches, steps_per_epoch=config.steps, epochs=1, verbose=0)


def logits(student: tf.keras.Model, images: np.ndarray) -> np.ndarray:
    """Logits of every image.

    Args:
      student: maps float images in [-1, 1] to logits.
      images: uint8 `[n, height, width, channels]`.

    Returns:
      float32 `[n, num_classes]`.
    """
    return student.predict(_batches(images), verbose=0)


def features(student: tf.keras.Model, images: np.ndarray) -> np.ndarray:
    """What the logits of a `student_networks.Classifier` are linear in, float32 `[n, d]`; images as in `logits`."""
    return np.concatenate([student.features(batch).numpy() for batch in _batches(images)])


def _batches(images: np.ndarray) -> tf.data.Dataset:
    with tf.device("CPU"):
        return tf.data.Dataset.from_tensor_slices(images).batch(_PREDICTED_AT_ONCE).map(to_float)


def accuracy(student: tf.keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose most likely class is their label, in [0, 1].

    Args:
      student: maps float images in [-1, 1] to logits.
      images: uint8 `[n, height, width, channels]`.
      labels: integers `[n]`.
    """
    return float(np.mean(np.argmax(logits(student, images), axis=1) == labels))
