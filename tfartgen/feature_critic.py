# SPDX-License-Identifier: Apache-2.0
"""A critic with a fixed eye: it sees an image through features that no data set had a part in.

Few weights are trained, so that little noise falls on each, and the gradient of each example is written down
in closed form instead of differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Optional

import tensorflow as tf

from tfartgen.embedding import Embedding
from tfartgen.networks import Initializers

_LEAK = 0.2

#: Brings projected features, of length one, to a root mean square of about one a coordinate.
_GAIN = 20.0


class FeatureCritic(tf.keras.Model):
    """Scores labelled images: `C(x, y)`, high for real.

    Projected scattering coefficients (`Embedding.projected`), one hidden layer of leaky rectifiers, and one score per
    class, of which the label picks its own.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        width: int = 32,
        seed: Optional[int] = None,
        name: str = "feature_critic",
    ):
        """Creates the critic.

        Args:
          image_shape: `(height, width, channels)`.
          num_classes: number of labels.
          width: of the hidden layer.
          seed: of the initial weights; None for a fresh one.
          name: Keras name.
        """
        super().__init__(name=name)
        self._embedding = Embedding(image_shape, fourier_features=0)
        self.image_shape, self.num_classes = self._embedding.image_shape, num_classes
        initializers = Initializers(seed)
        dense = tf.keras.layers.Dense
        self._hidden = dense(width, kernel_initializer=initializers.next())
        self._class_scores = dense(num_classes, kernel_initializer=initializers.next())

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] and labels `[batch]` to scores `[batch]`."""
        image, label = inputs
        return self._forward(self._features(image), self._one_hot(label))[-1]

    def example_gradients(
        self, image: tf.Tensor, label: tf.Tensor, loss: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of a loss of each example's score, by the trainable variables, in closed form.

        Args:
          image: as in `call`.
          label: as in `call`.
          loss: maps scores `[batch]` to losses `[batch]`, one by one.

        Returns:
          One tensor `[batch, ...]` for each of `trainable_variables`, in their order, and the losses `[batch]`.
        """
        features, one_hot = self._features(image), self._one_hot(label)
        before, hidden, score = self._forward(features, one_hot)
        with tf.GradientTape() as tape:
            tape.watch(score)
            losses = loss(score)
        by_score = one_hot * tape.gradient(losses, score)[:, None]
        by_hidden = tf.matmul(by_score, self._class_scores.kernel, transpose_b=True)
        by_before = by_hidden * tf.where(before > 0.0, 1.0, _LEAK)
        gradients = [
            features[:, :, None] * by_before[:, None, :],
            by_before,
            hidden[:, :, None] * by_score[:, None, :],
            by_score,
        ]
        return gradients, losses

    def _forward(
        self, features: tf.Tensor, one_hot: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The hidden layer before and after its rectifiers, and the scores."""
        before = self._hidden(features)
        hidden = tf.nn.leaky_relu(before, _LEAK)
        return before, hidden, tf.reduce_sum(self._class_scores(hidden) * one_hot, axis=1)

    def _features(self, image: tf.Tensor) -> tf.Tensor:
        return _GAIN * self._embedding.projected(image)

    def _one_hot(self, label: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(label, self.num_classes)
