# SPDX-License-Identifier: Apache-2.0
"""Matching fakes to a released mean embedding: a loss that no private record has a part in.

How far fakes are off is taken from a moving average over earlier batches, which no fake of the batch at hand
is in. The expected gradient is then that of `||E e(fake) - mean||^2`, as with two independent half-batches,
at the variance of many batches. (With one batch's own mean, fakes are also paid for being alike.)
"""

from __future__ import annotations

import tensorflow as tf

from tfartgen import _validate
from tfartgen.embedding import Embedding, MeanEmbedding


class Matching(tf.Module):
    """A released embedding, and where the fakes' own stands.

    Formal guarantee: post-processing of the release.

    Attributes:
      embedding: the features.
      num_classes: rows of the release.
      means: `[classes, dim]`, the release; part of a checkpoint.
      released: whether `means` holds it yet.
    """

    def __init__(self, embedding: Embedding, num_classes: int, memory: float = 0.98):
        """Holds nothing yet.

        Args:
          embedding: the features.
          num_classes: number of labels.
          memory: decay of the fakes' moving average, per batch.
        """
        super().__init__(name="matching")
        self.embedding, self.num_classes = embedding, num_classes
        self._memory = _validate.probability("memory", memory)
        zeros = tf.zeros([num_classes, embedding.dim])
        self.means = tf.Variable(zeros, trainable=False, name="means")
        self.released = tf.Variable(False, trainable=False, name="released")
        over_replicas = {"trainable": False, "aggregation": tf.VariableAggregation.MEAN}
        self._sum = tf.Variable(zeros, name="fake_sum", **over_replicas)
        self._weight = tf.Variable(0.0, name="fake_weight", **over_replicas)

    def receive(self, release: MeanEmbedding) -> None:
        """Takes what is to be matched."""
        self.means.assign(release.means)
        self.released.assign(True)

    def labels(self, batch_size: int) -> tf.Tensor:
        """Labels of a batch of about that many fakes: at least two of each class, in order, `[classes * n]`."""
        return tf.repeat(tf.range(self.num_classes), max(2, batch_size // self.num_classes))

    def loss(self, fakes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A loss whose gradient brings the fakes' means to the released ones.

        Args:
          fakes: images in [-1, 1] of `labels`, `[classes * n, height, width, channels]`; they enter the moving
            average.

        Returns:
          The loss, and the squared distance of the moving average from the release, averaged over classes.
        """
        vectors = self.embedding(fakes)
        means = tf.reduce_mean(
            tf.reshape(vectors, [self.num_classes, -1, self.embedding.dim]), axis=1
        )
        earlier = tf.math.divide_no_nan(self._sum.read_value(), self._weight.read_value())
        residual = tf.stop_gradient(earlier - self.means)
        loss = tf.reduce_sum(residual * means)
        self._sum.assign(self._memory * self._sum + (1.0 - self._memory) * tf.stop_gradient(means))
        self._weight.assign(self._memory * self._weight + (1.0 - self._memory))
        return loss, tf.reduce_mean(tf.reduce_sum(tf.square(residual), axis=1))
