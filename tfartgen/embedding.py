# SPDX-License-Identifier: Apache-2.0
"""A private release of what each class looks like on average, in fixed features.

The kernel mean embedding of every class, released once with exact discrete Gaussian noise (Harder et al. 2021,
"DP-MERF", arXiv 2002.11603, section 3, with a Gaussian mechanism), in better features than pixels': scattering coefficients, and random
Fourier features of them (Rahimi and Recht 2007), whose kernel tells any two distributions apart. What is
computed from the release costs nothing more, however often it is used.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfartgen import _validate, noise
from tfartgen.data import Split, to_float
from tfartgen.ledger import MEAN_EMBEDDING, Stretch
from tfartgen.scattering import Scattering

#: The most that one record adds to the sums, all classes together, in L2 norm.
SENSITIVITY = 1.0

#: Length of the coordinate that counts the records of a class.
_COUNT_LENGTH = 0.2

#: Dimensions in which distances between scattering coefficients are taken for the kernel.
_PROJECTED = 400

#: Fixes the random features, which are part of the method: the same for every run and data set.
_SEED = 20_201_130

_ROWS_AT_ONCE = 500

#: Records whose features are computed side by side, each by itself.
_IN_PARALLEL = 8


class Embedding:
    """Maps images to vectors of length one: scattering coefficients, Fourier features, and a constant.

    `e(x) = (s, w r, c) / sqrt(1 + w^2 + c^2)`: s are the scattering coefficients scaled to length one, r the
    random Fourier features of the Gaussian kernel `exp(-||s - s'||^2 / (2 bandwidth^2))` scaled likewise, c a
    constant. The distance is that of a random projection of s, which keeps distances up to some percent.

    Attributes:
      image_shape: `(height, width, channels)`.
      dim: length of a vector without its constant.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        fourier_features: int = 4000,
        bandwidth: float = 0.35,
        fourier_weight: float = 1.0,
    ):
        """Draws the random features, the same ones every time.

        Args:
          image_shape: `(height, width, channels)`.
          fourier_features: how many; 0 for none.
          bandwidth: of the kernel, in lengths of s.
          fourier_weight: w.

        Raises:
          ValueError: an argument is out of range.
        """
        self._scattering = Scattering(image_shape)
        self.image_shape = self._scattering.image_shape
        _validate.positive("bandwidth", bandwidth)
        self._weight = _validate.positive("fourier_weight", fourier_weight)
        if fourier_features != 0:
            _validate.positive_int("fourier_features", fourier_features)
        self._features = fourier_features
        self.dim = self._scattering.dim + fourier_features
        generator = np.random.default_rng(_SEED)
        projection = generator.normal(size=(self._scattering.dim, _PROJECTED))
        frequencies = generator.normal(size=(_PROJECTED, fourier_features))
        self._projection = (projection / math.sqrt(_PROJECTED)).astype(np.float32)
        self._frequencies = (frequencies / bandwidth).astype(np.float32)
        self._phases = generator.uniform(0, 2 * np.pi, fourier_features).astype(np.float32)
        weight = self._weight if fourier_features else 0.0
        self._length = math.sqrt(1.0 + weight**2 + _COUNT_LENGTH**2)

    @property
    def constant(self) -> float:
        """The last coordinate of every vector, which `__call__` leaves out."""
        return _COUNT_LENGTH / self._length

    def projected(self, images: tf.Tensor) -> tf.Tensor:
        """A random projection of s: images as in `__call__` -> `[batch, 400]`, row by row."""
        return tf.matmul(_unit(self._scattering(images)), self._projection)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] to vectors `[batch, dim]`, row by row."""
        coefficients = _unit(self._scattering(images))
        if not self._features:
            return coefficients / self._length
        arguments = tf.matmul(tf.matmul(coefficients, self._projection), self._frequencies)
        waves = self._weight * _unit(tf.cos(arguments + self._phases))
        return tf.concat([coefficients, waves], 1) / self._length


def _unit(rows: tf.Tensor) -> tf.Tensor:
    """Each row scaled to length one; a row of zeros stays one."""
    squares = tf.reduce_sum(tf.square(rows), axis=1, keepdims=True)
    return rows * tf.math.rsqrt(tf.maximum(squares, 1e-12))


@dataclasses.dataclass(frozen=True)
class MeanEmbedding:
    """What was released.

    Attributes:
      means: float32 `[classes, dim]`, of the vectors of each class's records.
      counts: float64 `[classes]`, records of each class; estimates, above zero.
    """

    means: np.ndarray
    counts: np.ndarray


def coordinates(embedding: Embedding, num_classes: int) -> int:
    """Numbers that a release adds noise to: the sums of every class, and its count."""
    return num_classes * (embedding.dim + 1)


def stretch(noise_multiplier: float, noised: int) -> Stretch:
    """What a release of so many `coordinates` costs: one exact mechanism on all records."""
    return Stretch.of_sums(noise_multiplier, SENSITIVITY, noised, stage=MEAN_EMBEDDING)


def release(
    embedding: Embedding, split: Split, num_classes: int, noise_multiplier: float
) -> MeanEmbedding:
    """Releases the mean embedding of every class.

    Formal guarantee: adding, removing or zeroing out one record changes `class_sums` by at most one in L2 norm,
    all classes together, exactly; discrete Gaussian noise of standard deviation `noise_multiplier` is added to every
    coordinate of it, once, exactly; means and counts are post-processing. The number of records is treated as public.

    Args:
      embedding: the features.
      split: the private records.
      num_classes: number of labels.
      noise_multiplier: standard deviation of the noise.

    Returns:
      Means and counts.

    Raises:
      ValueError: OpenDP cannot be imported, or the noise is not a positive number.
    """
    sums = class_sums(embedding, split, num_classes)
    noised = noise.with_exact_noise(sums, noise_multiplier, SENSITIVITY)
    return _means(noised, embedding.constant, noise_multiplier, split.num_examples / num_classes)


def _means(
    noised: np.ndarray, constant: float, noise_multiplier: float, average: float
) -> MeanEmbedding:
    """Means and counts of noised sums; `average` is the public number of records of a class."""
    noisy_counts = noised[:, -1] / constant
    counts = _estimated_counts(noisy_counts, noise_multiplier / constant, average)
    return MeanEmbedding((noised[:, :-1] / counts[:, None]).astype(np.float32), counts)


def class_sums(
    embedding: Embedding, split: Split, num_classes: int, batch_size: int = _ROWS_AT_ONCE
) -> np.ndarray:
    """The sums over each class that are noised, in whole steps of the grid: int64 `[classes, dim + 1]`, the constant last.

    Formal guarantee: each record adds a vector of at most `GRID` steps in length to one row (`noise.on_grid`), and that
    vector is a function of the record alone: features are computed one record at a time, so that the last bits of a vector cannot
    depend on its place in a batch. One whose features are not finite, or whose label is no class, adds nothing.
    Sums are of whole numbers: exact, in any order.

    Args:
      embedding: the features.
      split: the private records, fewer than 2^32.
      num_classes: number of labels.
      batch_size: records that are held at once; the result does not depend on it.
    """

    @tf.function
    def vectors_of(images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda image: embedding(to_float(image[None]))[0],
            images,
            fn_output_signature=tf.TensorSpec([embedding.dim], tf.float32),
            parallel_iterations=_IN_PARALLEL,
        )

    sums = np.zeros((num_classes, embedding.dim + 1), np.int64)
    for images, labels in split.stream().batch(batch_size).prefetch(2):
        rows, labels = vectors_of(images).numpy(), labels.numpy()
        rows = np.pad(rows, [(0, 0), (0, 1)], constant_values=embedding.constant)
        steps = noise.on_grid(rows)
        for label in np.unique(labels[(labels >= 0) & (labels < num_classes)]):
            sums[label] += steps[labels == label].sum(axis=0)
    return sums


def _estimated_counts(noisy: np.ndarray, noise: float, average: float) -> np.ndarray:
    """Counts from noisy ones: drawn to the average class as far as the noise is large, at least a tenth of it.

    The posterior mean for a prior of the average class's size and standard deviation.
    """
    trust = average**2 / (average**2 + noise**2)
    return np.maximum(average + trust * (noisy - average), 0.1 * average)
