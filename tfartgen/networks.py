# SPDX-License-Identifier: Apache-2.0
"""Generator and critic networks: convolutional Keras models for images of 8 to 64 pixels a side.

Neither the generator nor the critic has a layer that mixes examples. In the critic it would let one record
change another record's gradient. In the generator it would do the same by way of the fakes, whose labels in
a critic step are those of private records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from tfartgen.image_size import MAX_SIDE, MIN_SIDE

#: Sides at which a network stops halving: 28 -> 14 -> 7, 32 -> 16 -> 8 -> 4, 64 -> ... -> 4.
_SMALLEST_SIDE = 7

#: Keras layers whose output for one example depends on the others in its batch.
MIXING_LAYERS = (
    tf.keras.layers.BatchNormalization,
    tf.keras.layers.experimental.SyncBatchNormalization,
)


def check_image_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns `(height, width, channels)` as integers.

    Raises:
      ValueError: a side is outside 8 to 64, or the channels are neither one nor three.
    """
    height, width, channels = (int(n) for n in image_shape)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)) or channels not in (1, 3):
        raise ValueError(
            f"image_shape must be {MIN_SIDE} to {MAX_SIDE} pixels a side with 1 or 3 channels, "
            f"got {height} x {width} x {channels}"
        )
    return height, width, channels


def num_weights(network: tf.keras.Model) -> int:
    """Numbers that a built network trains."""
    return sum(variable.shape.num_elements() for variable in network.trainable_variables)


def refuse_mixing_layers(network: tf.keras.Model, role: str) -> None:
    """Checks that no layer of `network` is of a kind that mixes examples.

    Raises:
      ValueError: a layer is; the message names it.
    """
    for module in network.submodules:
        if isinstance(module, MIXING_LAYERS):
            raise ValueError(
                f"{role} has layer {module.name!r} ({type(module).__name__}), which mixes the examples of a "
                "batch, so that one record would change another's gradient; use one that does not, or none"
            )


def refuse_mixing(network: tf.keras.Model, inputs: tuple[tf.Tensor, tf.Tensor], role: str) -> None:
    """Checks by measurement that the first output of `network` does not depend on the other rows.

    Args:
      network: built, maps `inputs` to one output per row.
      inputs: floats `[batch, ...]` to differentiate by, not all alike, and labels `[batch]`.
      role: what to call the network.

    Raises:
      ValueError: an output depends on another row.
    """
    floats, label = inputs
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(floats)
            first = network((floats, label), training=training)[0]
        gradient = tape.gradient(first, floats)
        if gradient is not None and np.any(gradient.numpy()[1:] != 0.0):
            raise ValueError(
                f"{role} {network.name!r} mixes the examples of a batch: the output of one depends on the others, so "
                "that one record would change another's gradient; remove what mixes them"
            )


def _halvings(image_shape: Sequence[int]) -> int:
    return max(1, math.ceil(math.log2(min(image_shape[:2]) / _SMALLEST_SIDE)))


class PixelNormalization(tf.keras.layers.Layer):
    """Scales the channels of every pixel to a root mean square of one (Karras et al. 2018, arXiv 1710.10196)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[batch, ..., channels]` to the same shape; each example and pixel by itself."""
        mean_square = tf.reduce_mean(tf.square(inputs), axis=-1, keepdims=True)
        return inputs * tf.math.rsqrt(mean_square + 1e-8)


class Generator(tf.keras.Model):
    """Draws labelled images: `G(z, y)`.

    A dense layer, then transposed convolutions that double the sides, each with pixel normalisation and a
    rectifier; hyperbolic tangent at the end. The class enters as a one-hot vector beside the latent.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        latent_dim: int = 64,
        width: int = 32,
        seed: Optional[int] = None,
        name: str = "generator",
    ):
        """Creates the generator.

        Args:
          image_shape: `(height, width, channels)`.
          num_classes: number of labels.
          latent_dim: length of the latent.
          width: channels before the last layer; each earlier block has twice as many.
          seed: seed of the initial weights; None for a fresh one.
          name: Keras name.
        """
        super().__init__(name=name)
        self.image_shape = check_image_shape(image_shape)
        self.num_classes, self.latent_dim, self.width = num_classes, latent_dim, width
        doublings = _halvings(self.image_shape)
        base = [math.ceil(side / 2**doublings) for side in self.image_shape[:2]]
        widths = [width * 2**i for i in reversed(range(doublings))]
        initializers = Initializers(seed)
        layers = tf.keras.layers
        self._blocks = [
            layers.Dense(base[0] * base[1] * widths[0], kernel_initializer=initializers.next()),
            layers.Reshape((*base, widths[0])),
        ]
        for channels in widths[1:]:
            self._blocks += self._normalised() + [
                layers.Conv2DTranspose(
                    channels, 5, 2, "same", kernel_initializer=initializers.next()
                )
            ]
        self._blocks += self._normalised() + [
            layers.Conv2DTranspose(width, 5, 2, "same", kernel_initializer=initializers.next())
        ]
        self._blocks += self._normalised() + [
            layers.Conv2D(
                self.image_shape[-1],
                3,
                padding="same",
                activation="tanh",
                kernel_initializer=initializers.next(),
            )
        ]

    def get_config(self) -> dict[str, Any]:
        """Arguments that make another generator of the same shape, with fresh weights."""
        return {
            "image_shape": self.image_shape,
            "num_classes": self.num_classes,
            "latent_dim": self.latent_dim,
            "width": self.width,
        }

    @staticmethod
    def _normalised() -> list[tf.keras.layers.Layer]:
        return [PixelNormalization(), tf.keras.layers.ReLU()]

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Maps a latent `[batch, latent_dim]` and a label `[batch]` to images.

        Returns:
          float32 `[batch, height, width, channels]` in [-1, 1]. Row i depends on row i of the inputs only.
        """
        latent, label = inputs
        hidden = tf.concat([latent, tf.one_hot(label, self.num_classes)], axis=1)
        for block in self._blocks:
            hidden = block(hidden)
        height, width, _ = self.image_shape
        return hidden[:, :height, :width, :]


class Critic(tf.keras.Model):
    """Scores labelled images: `C(x, y)`, high for real.

    Strided convolutions with leaky rectifiers and no normalisation, then a score and one score per class, of
    which the label picks its own (the projection of Miyato and Koyama 2018, arXiv 1802.05637).
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        width: int = 32,
        seed: Optional[int] = None,
        name: str = "critic",
    ):
        """Creates the critic.

        Args:
          image_shape: `(height, width, channels)`.
          num_classes: number of labels.
          width: channels after the first convolution; each later one has twice as many.
          seed: seed of the initial weights; None for a fresh one.
          name: Keras name.
        """
        super().__init__(name=name)
        self.image_shape = check_image_shape(image_shape)
        self.num_classes = num_classes
        initializers = Initializers(seed)
        layers = tf.keras.layers
        halvings = _halvings(self.image_shape)
        strides = [2] * halvings if halvings > 1 else [1, 2]
        self._convolutions = [
            layers.Conv2D(
                width * 2**i,
                5 if halvings > 1 else 3,
                stride,
                "same",
                activation=tf.nn.leaky_relu,
                kernel_initializer=initializers.next(),
            )
            for i, stride in enumerate(strides)
        ]
        self._to_vector = layers.Flatten()
        self._score = layers.Dense(1, kernel_initializer=initializers.next())
        self._class_scores = layers.Dense(num_classes, kernel_initializer=initializers.next())

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] and labels `[batch]` to scores `[batch]`."""
        hidden, label = inputs
        for convolution in self._convolutions:
            hidden = convolution(hidden)
        hidden = self._to_vector(hidden)
        picked = self._class_scores(hidden) * tf.one_hot(label, self.num_classes)
        return self._score(hidden)[:, 0] + tf.reduce_sum(picked, axis=1)


class Initializers:
    """Glorot initialisers for the layers of one network, each with a seed of its own drawn from one seed."""

    def __init__(self, seed: Optional[int]):
        draws = None if seed is None else np.random.default_rng(seed).integers(2**31, size=64)
        self._seeds = None if draws is None else iter(draws.tolist())

    def next(self) -> tf.keras.initializers.Initializer:
        """The initialiser of the next layer."""
        seed = None if self._seeds is None else next(self._seeds)
        return tf.keras.initializers.GlorotUniform(seed=seed)
