# SPDX-License-Identifier: Apache-2.0
"""Small images, and files of them, for the tests of the data modules."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfartgen import data

SIDE = 8

#: Of so many different pictures `make_folder` and `make_npz` have 20 or more that are held out.
ENOUGH = 140


def picture(seed: int, height: int = SIDE, width: int = SIDE, channels: int = 1) -> np.ndarray:
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, channels))
    return pixels.astype(np.uint8)


def bright_or_dark(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is their brightness."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=count).astype(np.int32)
    noise = rng.integers(100, size=(count, 8, 8, 1))
    return (noise + 120 * labels[:, None, None, None]).astype(np.uint8), labels


def save(path: pathlib.Path, pixels: np.ndarray, **options) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **options)
    return path


def make_folder(root: pathlib.Path, per_class: int = ENOUGH // 2, classes=("cat", "dog"), **size):
    """A folder of class folders, `0.png` and so on in each; no two pictures are the same."""
    for label, name in enumerate(classes):
        for i in range(per_class):
            save(root / name / f"{i}.png", picture(1000 * label + i, **size))
    return root


def make_npz(path: pathlib.Path, count: int = 10, **changes) -> pathlib.Path:
    """An .npz of so many different pictures, where no others are given."""
    arrays = {
        "images": np.stack([picture(i) for i in range(count)]),
        "labels": np.arange(count) % 2,
        **changes,
    }
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def refused(match: str, dataset, **options) -> str:
    """The message, one line, of the ValueError that loading must raise."""
    with pytest.raises(ValueError, match=match) as caught:
        data.load(dataset, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_description(private: data.PrivateData) -> None:
    """What holds for every source: arrays and stream agree with the description, and with each other."""
    for split in (private.train, private.held_out):
        images, labels = split.arrays()
        assert images.shape == (split.num_examples, *private.image_shape)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert labels.shape == (split.num_examples,)
        assert set(labels) <= set(range(private.num_classes))
        assert split.stream().element_spec == (
            tf.TensorSpec(private.image_shape, tf.uint8),
            tf.TensorSpec([], tf.int32),
        )
        streamed = list(split.stream().as_numpy_iterator())
        np.testing.assert_array_equal(np.stack([image for image, _ in streamed]), images)
        np.testing.assert_array_equal([label for _, label in streamed], labels)


def records(split: data.Split) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(*split.arrays())}
