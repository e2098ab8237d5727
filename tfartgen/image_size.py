# SPDX-License-Identifier: Apache-2.0
"""The size of the images: what the networks take, and how larger or mixed images get there.

Each image is cropped and resized by itself; nothing is computed over a data set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import tensorflow as tf

MIN_SIDE = 8
MAX_SIDE = 64


def sides(shape: Iterable[int]) -> str:
    """A shape for people: 28 x 28 x 1."""
    return " x ".join(map(str, shape))


def check_image_size(image_size: Any) -> Optional[int]:
    """Returns `image_size` if it is None or a whole number that the networks take.

    Raises:
      ValueError: it is anything else.
    """
    if image_size is None:
        return None
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not (whole and MIN_SIDE <= image_size <= MAX_SIDE):
        raise ValueError(
            f"--image_size must be a whole number from {MIN_SIDE} to {MAX_SIDE}, got {image_size!r}"
        )
    return int(image_size)


def side_to_resize_to(
    source: str, height: int, width: int, image_size: Optional[int]
) -> Optional[int]:
    """Side of the square that images of `height` x `width` are cropped and resized to.

    Args:
      source: what the images come from, for the message.
      height: of the stored images, in pixels.
      width: of the stored images, in pixels.
      image_size: the side asked for; None leaves images of 8 to 64 pixels a side as they are.

    Returns:
      The side; None if the images stay as they are.

    Raises:
      ValueError: the images are too small and no size was asked for.
    """
    if image_size is not None:
        return None if height == width == image_size else image_size
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"{source}: images of {width} x {height} pixels are too small; at least {MIN_SIDE} a side, "
            f"or give --image_size={MIN_SIDE} or more to enlarge them"
        )
    return None if max(height, width) <= MAX_SIDE else min(MAX_SIDE, height, width)


def crop_and_resize(image: tf.Tensor, side: int) -> tf.Tensor:
    """Cuts the central square out of one image and resizes it, with antialiasing.

    Args:
      image: uint8 `[height, width, channels]`.
      side: of the result, in pixels.

    Returns:
      uint8 `[side, side, channels]`.
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    short = tf.minimum(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = image[top : top + short, left : left + short]
    resized = tf.image.resize(square, [side, side], antialias=True)
    return tf.cast(tf.round(resized), tf.uint8)


def resize_note(size: Optional[tuple[int, int]], side: int) -> str:
    """The line for people that says what `crop_and_resize` did; `size` is (height, width), None if mixed."""
    stored = "mixed sizes" if size is None else f"{size[1]} x {size[0]}"
    return f"images cropped to the central square and resized from {stored} to {side} x {side}"
