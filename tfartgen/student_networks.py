# SPDX-License-Identifier: Apache-2.0
"""Student networks: classifiers of the kinds that others train on a release.

To add one, write a Keras model with a `body`, the layers below the logits, and put it in `ARCHITECTURES`:
every study runs over that table. No layer may mix examples, since DP-SGD trains the same networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf

from tfartgen.networks import Initializers

layers = tf.keras.layers


class Classifier(tf.keras.Model):
    """A body of layers, then one dense layer that gives the logits."""

    def __init__(
        self,
        body: Sequence[tf.keras.layers.Layer],
        num_classes: int,
        initializers: Initializers,
        name: str,
    ):
        """Creates the classifier.

        Args:
          body: from images to one vector per image.
          num_classes: number of labels.
          initializers: of the weights.
          name: Keras name.
        """
        super().__init__(name=name)
        self._body = list(body)
        self._logits = layers.Dense(num_classes, kernel_initializer=initializers.next())

    def features(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] to what the logits are linear in, `[batch, d]`."""
        hidden = inputs
        for layer in self._body:
            hidden = layer(hidden, training=training)
        return hidden

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] to logits `[batch, num_classes]`."""
        return self._logits(self.features(inputs, training))


def logistic_regression(num_classes: int, seed: Optional[int] = None) -> Classifier:
    """Softmax regression on pixels."""
    return Classifier([layers.Flatten()], num_classes, Initializers(seed), "logistic_regression")


def multi_layer_perceptron(num_classes: int, seed: Optional[int] = None) -> Classifier:
    """One hidden layer of 256 rectifiers with dropout."""
    initializers = Initializers(seed)
    body = [
        layers.Flatten(),
        layers.Dense(256, activation="relu", kernel_initializer=initializers.next()),
        layers.Dropout(0.5, seed=seed),
    ]
    return Classifier(body, num_classes, initializers, "mlp")


def small_cnn(num_classes: int, seed: Optional[int] = None) -> Classifier:
    """Two convolutions of 32 and 64 channels with pooling, then dropout."""
    initializers = Initializers(seed)
    body = [*_convolutions(initializers), layers.Flatten(), layers.Dropout(0.5, seed=seed)]
    return Classifier(body, num_classes, initializers, "cnn")


def feature_cnn(num_classes: int, seed: Optional[int] = None) -> Classifier:
    """The convolutions of `small_cnn` and 64 rectifiers, whose values are the feature space of `fidelity`.

    Low-dimensional, so that covariances can be estimated from some thousands of images. Not a student.
    """
    initializers = Initializers(seed)
    body = [
        *_convolutions(initializers),
        layers.Flatten(),
        layers.Dropout(0.5, seed=seed),
        layers.Dense(64, activation="relu", kernel_initializer=initializers.next()),
    ]
    return Classifier(body, num_classes, initializers, "feature_cnn")


def _convolutions(initializers: Initializers) -> list[tf.keras.layers.Layer]:
    blocks: list[tf.keras.layers.Layer] = []
    for channels in (32, 64):
        kernel = initializers.next()
        convolution = layers.Conv2D(
            channels, 3, padding="same", activation="relu", kernel_initializer=kernel
        )
        blocks += [convolution, layers.MaxPool2D()]
    return blocks


#: Makes a student's network from the number of classes and a seed of weights and dropout (None for a fresh one).
ARCHITECTURES: dict[str, Callable[[int, Optional[int]], Classifier]] = {
    "logistic_regression": logistic_regression,
    "mlp": multi_layer_perceptron,
    "cnn": small_cnn,
}

#: The same, with the network of the feature space.
NETWORKS = {**ARCHITECTURES, "feature_cnn": feature_cnn}
