# SPDX-License-Identifier: Apache-2.0
"""Generated images for the logs of a run: the same latents every time, and many images in one."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfartgen.data import to_uint8
from tfartgen.networks import Generator

#: Images of one call of the generator.
_AT_ONCE = 256


def generated_images(generator: Generator, labels: np.ndarray, seed: int) -> np.ndarray:
    """Images of given labels; those of one seed have the same latents every time.

    Args:
      generator: draws them.
      labels: integers `[n]`.
      seed: of the latents.

    Returns:
      uint8 `[n, height, width, channels]`.
    """
    latents = tf.random.stateless_normal([len(labels), generator.latent_dim], [0, seed])
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(labels), _AT_ONCE)]
    drawn = [to_uint8(generator((latents[rows], labels[rows]))).numpy() for rows in parts]
    return np.concatenate(drawn)


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """Images side by side, row after row; what is left of the last row is black.

    Args:
      images: uint8 `[n, height, width, channels]`.
      columns: images of a row.

    Returns:
      uint8 `[rows * height, columns * width, channels]`.
    """
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    cells = np.zeros([rows * columns, height, width, channels], np.uint8)
    cells[:count] = images
    grid = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)
