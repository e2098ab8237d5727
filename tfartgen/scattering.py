# SPDX-License-Identifier: Apache-2.0
"""Fixed features of images: a scattering transform of two orders, which no data set has any part in.

Moduli of Gabor (Morlet) wavelets, averaged over squares of `2**levels` pixels, as in Bruna and Mallat 2013
(arXiv 1203.1513), section 2, and Tramer and Boneh 2021 (arXiv 2011.11660). The wavelets of coarser scales are
those of the finest one on the image averaged down, which is what makes the transform cheap enough to
differentiate at every generator step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfartgen.networks import check_image_shape

ORIENTATIONS = 8

#: Pixels of a filter's side. Across its crests the wavelet has died away there; along them it is cut off.
_FILTER_SIDE = 7

#: Averages, first-order and second-order moduli are brought to comparable sizes.
_ORDER_SCALES = (1.0, 2.0, 4.0)

#: Pixels of the coarsest grid, about: 28 -> 7, 32 -> 8, 64 -> 8.
_GRID_SIDE = 7


def morlet(side: int, orientation: int) -> np.ndarray:
    """The wavelet of the finest scale: a Gabor function less the multiple of its envelope that makes its mean zero.

    Envelope 0.8 pixels across and 1.6 along the wave's crests, 3 pi / 4 radians a pixel, as in Kymatio
    (Andreux et al. 2020, arXiv 1812.11214).

    Args:
      side: of the grid that it is sampled on, in pixels, odd.
      orientation: 0 to `ORIENTATIONS - 1`, in steps of pi / `ORIENTATIONS`.

    Returns:
      complex `[side, side]`, the sum of whose moduli is one.
    """
    angle = math.pi * orientation / ORIENTATIONS
    offsets = np.arange(side) - side // 2
    down, right = np.meshgrid(offsets, offsets, indexing="ij")
    across = down * math.cos(angle) + right * math.sin(angle)
    along = right * math.cos(angle) - down * math.sin(angle)
    envelope = np.exp(-(across**2 + (0.5 * along) ** 2) / (2 * 0.8**2))
    wave = envelope * np.exp(0.75j * math.pi * across)
    wave -= envelope * wave.sum() / envelope.sum()
    return wave / np.abs(wave).sum()


class Scattering:
    """Maps images to their scattering coefficients.

    Attributes:
      image_shape: `(height, width, channels)`.
      levels: halvings from the image to the grid of the coefficients.
      dim: number of coefficients of an image.
    """

    def __init__(self, image_shape: Sequence[int]):
        """Lays out the paths.

        Args:
          image_shape: `(height, width, channels)`.

        Raises:
          ValueError: as `networks.check_image_shape`.
        """
        self.image_shape = check_image_shape(image_shape)
        height, width, channels = self.image_shape
        self.levels = max(1, round(math.log2(min(height, width) / _GRID_SIDE)))
        filters = np.stack([morlet(_FILTER_SIDE, turn) for turn in range(ORIENTATIONS)], -1)
        self._filters = np.concatenate([filters.real, filters.imag], -1)[:, :, None, :].astype(
            np.float32
        )
        grid = 1
        for side in (height, width):
            for _ in range(self.levels):
                side = math.ceil(side / 2)
            grid *= side
        pairs = self.levels * (self.levels - 1) // 2
        paths = 1 + self.levels * ORIENTATIONS + pairs * ORIENTATIONS**2
        self.dim = grid * paths * channels

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] to coefficients `[batch, dim]`, row by row."""
        height, width, channels = self.image_shape
        planes = tf.transpose((images + 1.0) / 2.0, [0, 3, 1, 2])
        averages = [tf.reshape(planes, [-1, height, width, 1])]
        for _ in range(self.levels):
            averages.append(_halved(averages[-1]))
        orders: list[list[tf.Tensor]] = [[averages[-1]], [], []]
        for first in range(self.levels):
            last = first == self.levels - 1
            moduli = self._moduli(averages[first], stride=1 if last else 2)
            orders[1].append(_halved(moduli, 1 if last else self.levels - first - 1))
            for second in range(first + 1, self.levels):
                coarser = _halved(moduli, second - first - 1)
                again = self._moduli_of_each(coarser)
                orders[2].append(_halved(again, self.levels - second - 1))
        scaled = [scale * part for scale, parts in zip(_ORDER_SCALES, orders) for part in parts]
        return tf.reshape(tf.concat(scaled, -1), [-1, self.dim])

    def _moduli(self, planes: tf.Tensor, stride: int) -> tf.Tensor:
        """`[n, h, w, 1]` -> `[n, h / stride, w / stride, ORIENTATIONS]`; differentiable at zero too."""
        waves = tf.nn.conv2d(planes, self._filters, stride, "SAME")
        real, imaginary = tf.split(waves, 2, axis=-1)
        return tf.sqrt(tf.square(real) + tf.square(imaginary) + 1e-6)

    def _moduli_of_each(self, moduli: tf.Tensor) -> tf.Tensor:
        """`[n, h, w, ORIENTATIONS]` -> `[n, h / 2, w / 2, ORIENTATIONS**2]`."""
        height, width = moduli.shape[1:3]
        planes = tf.reshape(tf.transpose(moduli, [0, 3, 1, 2]), [-1, height, width, 1])
        again = self._moduli(planes, stride=2)
        height, width = again.shape[1:3]
        split = tf.reshape(again, [-1, ORIENTATIONS, height, width, ORIENTATIONS])
        paths = tf.transpose(split, [0, 2, 3, 1, 4])
        return tf.reshape(paths, [-1, height, width, ORIENTATIONS**2])


def _halved(planes: tf.Tensor, times: int = 1) -> tf.Tensor:
    """Averages over squares of two pixels a side, so many times."""
    for _ in range(times):
        planes = tf.nn.avg_pool2d(planes, 2, 2, "SAME")
    return planes
