# SPDX-License-Identifier: Apache-2.0
"""Reads a folder with one sub-folder of images per class.

The classes are the names of the sub-folders, sorted. A folder with exactly the two sub-folders `train` and
`test`, each with such class folders, keeps that split. Hidden files and folders are skipped.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional, TypeVar

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tfartgen import record_digests
from tfartgen.image_size import crop_and_resize, resize_note, side_to_resize_to

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
LAYOUT = "the folder must have one sub-folder of images per class"

_GREY_MODES = ("1", "L", "LA", "La")
_GREY_16_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_EXIF_ORIENTATION = 0x0112

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Listing:
    """The image files of a folder and the class of each.

    Attributes:
      paths: the files.
      labels: int32 `[len(paths)]`.
      class_names: sorted.
      skipped: files that are no images by their names.
    """

    paths: tuple[pathlib.Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True)
class _Header:
    """What the first bytes of an image file say: `size` is (height, width) as people see it."""

    size: tuple[int, int]
    grey: bool
    alpha: bool


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Turns any file of a checked folder into one uint8 array of `image_shape`.

    Attributes:
      image_shape: `(height, width, channels)` of every result.
      side: images are cropped and resized to this; None leaves them as they are.
      notes: lines for people.
    """

    image_shape: tuple[int, int, int]
    side: Optional[int]
    notes: tuple[str, ...]

    def decode_all(self, paths: Sequence[pathlib.Path]) -> tuple[np.ndarray, np.ndarray]:
        """Decodes files.

        Returns:
          Images, uint8 `[len(paths), height, width, channels]`, and the digests of what they were before any resizing,
          uint8 `[len(paths), 16]`.

        Raises:
          ValueError: a file is no readable image (names it).
        """
        images = np.empty((len(paths), *self.image_shape), np.uint8)

        def decode(index: int) -> bytes:
            pixels = _read_image(paths[index], lambda image: _pixels(image, self.image_shape[-1]))
            identity = record_digests.digest(pixels)
            if self.side is not None:
                with tf.device("CPU"):
                    pixels = _crop_and_resize(pixels, self.side).numpy()
            images[index] = pixels
            return identity

        return images, record_digests.stacked(_in_threads(decode, range(len(paths))))


# One trace serves every size; more would make TensorFlow warn.
_crop_and_resize = tf.function(
    crop_and_resize,
    input_signature=[tf.TensorSpec([None, None, None], tf.uint8), tf.TensorSpec([], tf.int32)],
)


def has_split(folder: pathlib.Path) -> bool:
    """Whether `folder` has exactly the sub-folders `train` and `test`, and these have sub-folders."""
    folders = _folders(folder)
    names = [path.name for path in folders]
    return names == ["test", "train"] and all(_folders(path) for path in folders)


def list_images(folder: pathlib.Path) -> Listing:
    """Lists the images below the class folders of `folder`, sorted by class and name.

    Raises:
      ValueError: fewer than two classes, or one without images.
    """
    class_folders = _folders(folder)
    if not class_folders:
        found = "no sub-folders" if any(_visible(folder)) else "nothing"
        raise ValueError(f"{folder} has {found} in it; {LAYOUT}")
    if len(class_folders) == 1:
        raise ValueError(
            f"{folder} has one class only ({class_folders[0].name}); at least two sub-folders of images are needed"
        )
    paths: list[pathlib.Path] = []
    skipped: list[pathlib.Path] = [path for path in _visible(folder) if not path.is_dir()]
    labels: list[int] = []
    for label, class_folder in enumerate(class_folders):
        files = [path for path in _visible(class_folder) if path.is_file()]
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not images:
            raise ValueError(
                f"{class_folder} has no image in it ({', '.join(SUFFIXES)}); {LAYOUT}, so add images or remove it"
            )
        paths += images
        labels += [label] * len(images)
        skipped += [path for path in files if path.suffix.lower() not in SUFFIXES]
    return Listing(
        paths=tuple(paths),
        labels=np.array(labels, np.int32),
        class_names=tuple(path.name for path in class_folders),
        skipped=tuple(skipped),
    )


def check_images(
    folder: pathlib.Path, paths: Sequence[pathlib.Path], image_size: Optional[int]
) -> Decoder:
    """Reads the header of every file and settles channels and size.

    Args:
      folder: what the message is about.
      paths: the files.
      image_size: side asked for; without it all images must have one size.

    Raises:
      ValueError: an unreadable file, grey and colour images together, images of mixed sizes.
    """
    headers = _in_threads(lambda path: _read_image(path, _header), paths)
    channels = _common_channels(folder, paths, headers)
    sizes = {header.size for header in headers}
    height, width = headers[0].size
    if image_size is None and len(sizes) > 1:
        other = next(i for i, header in enumerate(headers) if header.size != (height, width))
        raise ValueError(
            f"{folder} has images of mixed sizes: {paths[0]} is {width} x {height}, {paths[other]} is "
            f"{headers[other].size[1]} x {headers[other].size[0]}; give --image_size to crop and resize all"
        )
    one_size = len(sizes) == 1
    side = side_to_resize_to(str(folder), height, width, image_size) if one_size else image_size
    notes = []
    if side is not None:
        notes.append(resize_note((height, width) if one_size else None, side))
    if any(header.alpha for header in headers):
        notes.append("transparency ignored")
    shape = (height, width, channels) if side is None else (side, side, channels)
    return Decoder(shape, side, tuple(notes))


def _common_channels(
    folder: pathlib.Path, paths: Sequence[pathlib.Path], headers: Sequence[_Header]
) -> int:
    grey = [header.grey for header in headers]
    if any(grey) and not all(grey):
        raise ValueError(
            f"{folder} mixes greyscale ({paths[grey.index(True)]}) and colour ({paths[grey.index(False)]}) images; "
            "convert them to one of the two"
        )
    return 1 if grey[0] else 3


def _header(image: Image.Image) -> _Header:
    if image.mode in ("I", "F") and not _is_16_bit(image):
        raise ValueError(f"pixels of mode {image.mode} have more than 16 bits; save it with 8 bits")
    width, height = image.size
    sideways = image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS
    return _Header(
        size=(width, height) if sideways else (height, width),
        grey=image.mode in _GREY_MODES or _is_16_bit(image),
        alpha=image.mode in _ALPHA_MODES or "transparency" in image.info,
    )


def _is_16_bit(image: Image.Image) -> bool:
    # Older versions of Pillow open a PNG of 16 bits as mode I.
    return image.mode in _GREY_16_MODES or (image.mode == "I" and image.format == "PNG")


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Upright uint8 pixels `[height, width, channels]`; 16 bits are scaled to 8."""
    wide = _is_16_bit(image)
    image = ImageOps.exif_transpose(image)
    if wide:
        values = np.asarray(image).astype(np.float64)
        return np.round(values / 257).astype(np.uint8)[..., np.newaxis]
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _read_image(path: pathlib.Path, use: Callable[[Image.Image], _Result]) -> _Result:
    try:
        with Image.open(path) as image:
            return use(image)
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise ValueError(
            f"{path} cannot be read as an image ({error}); repair or remove it"
        ) from error


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _in_threads(function: Callable[[Any], _Result], items: Sequence[Any]) -> list[_Result]:
    """`map` in a few threads: decoding releases the interpreter's lock."""
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(function, items))
