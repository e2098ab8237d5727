# SPDX-License-Identifier: Apache-2.0
"""Private data sets under one description: embedded, TFDS by name, class folders, npz.

Images stay uint8 until they are batched. Whatever happens to an image here depends on that image alone:
the same record gives the same tensor whatever else is in the data.

Where a source brings no held-out split, one record in five is held out, class by class: those whose names
(paths within the folder, or positions) come first by their hash. No seed reaches it. The records that are
not held out are the private data that a privacy statement speaks of.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from tfartgen import image_folders, npz_files
from tfartgen.image_size import (
    check_image_size,
    crop_and_resize,
    resize_note,
    side_to_resize_to,
)

#: Names that need no path; any other TFDS data set of labelled images works as well.
KNOWN_NAMES = ("digits", "mnist", "fashion_mnist", "svhn_cropped", "celeb_a")

HELD_OUT_FRACTION = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Some of the records of a data set.

    Attributes:
      num_examples: number of records.
      open_stream: makes a `tf.data.Dataset` of the records, in a fixed order.
      in_memory: the records where they are in memory already.
    """

    num_examples: int
    open_stream: Callable[[], tf.data.Dataset]
    in_memory: Optional[tuple[np.ndarray, np.ndarray]] = None

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray) -> Split:
        """A split in memory: uint8 `[n, height, width, channels]` and integers `[n]`."""
        labels = np.asarray(labels, np.int32)

        def open_stream() -> tf.data.Dataset:
            with tf.device("CPU"):
                return tf.data.Dataset.from_tensor_slices((images, labels))

        return cls(len(labels), open_stream, (images, labels))

    def resized(self, side: int) -> Split:
        """The same records, each cropped and resized to `side` x `side` pixels when it is read."""

        def resize(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            resized = crop_and_resize(image, side)
            return tf.ensure_shape(resized, [side, side, image.shape[-1]]), label

        def open_stream() -> tf.data.Dataset:
            return self.stream().map(
                resize, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
            )

        return Split(self.num_examples, open_stream)

    def stream(self) -> tf.data.Dataset:
        """Single records in a fixed order: uint8 `[height, width, channels]`, int32 `[]`."""
        return self.open_stream()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All records: uint8 `[n, height, width, channels]`, int32 `[n]`; read once, then kept.

        Raises:
          ValueError: there are more or fewer records than the data set says; the sampling rate needs the number.
        """
        return self.in_memory or self._collected

    def checksum(self) -> int:
        """CRC-32 of all records, which tells data sets apart; errors as in `arrays`."""
        images, labels = self.arrays()
        return zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes()))

    @functools.cached_property
    def _collected(self) -> tuple[np.ndarray, np.ndarray]:
        stream = self.open_stream()
        images = np.empty((self.num_examples, *stream.element_spec[0].shape), np.uint8)
        labels = np.empty(self.num_examples, np.int32)
        count = 0
        for some_images, some_labels in stream.batch(256).prefetch(2).as_numpy_iterator():
            end = count + len(some_labels)
            if end <= self.num_examples:
                images[count:end], labels[count:end] = some_images, some_labels
            count = end
        if count != self.num_examples:
            raise ValueError(
                f"the data set says it has {self.num_examples} records, but {count} could be read; prepare it afresh"
            )
        return images, labels


@dataclasses.dataclass(frozen=True, eq=False)
class PrivateData:
    """A labelled set of images, whatever it came from.

    Attributes:
      name: fit for a file name.
      image_shape: `(height, width, channels)`.
      class_names: name of each label, in the order of the labels.
      train: the private records.
      held_out: records that training never reads.
      notes: lines for people on what loading did.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train: Split
    held_out: Split
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 to one less."""
        return len(self.class_names)

    def require_memory(self, otherwise: str = "") -> None:
        """Refuses to hold the training records in memory where they would take over half of it.

        Args:
          otherwise: what else a person could do, after "give a smaller --image_size".

        Raises:
          ValueError: they would.
        """
        needed = self.train.num_examples * math.prod(self.image_shape)
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if self.train.in_memory is None and needed > available / 2:
            raise ValueError(
                f"{self.name} takes {needed / 2**30:.1f} GiB, more than half of this machine's memory; give a smaller "
                f"--image_size{otherwise}"
            )


def load(
    dataset: Union[str, os.PathLike[str]] = "digits",
    data_dir: Optional[str] = None,
    image_size: Optional[int] = None,
    attribute: str = "Smiling",
) -> PrivateData:
    """Finds a data set by name or path, checks it and describes it.

    A known name is that data set even if a file of the same name exists (write `./mnist` for the file);
    any other name is a path if it exists, and a TFDS name if not.

    Args:
      dataset: `digits`, a TFDS name, a folder with one sub-folder of images per class (or with such folders
        in `train` and `test`), or an `.npz` with `images` and `labels`.
      data_dir: folder of TFDS; None for its own default.
      image_size: crops every image to its central square and resizes it to this side, in pixels. None
        leaves images of 8 to 64 pixels a side as they are, and resizes larger ones to 64.
      attribute: the attribute that is the label of `celeb_a`.

    Returns:
      The data set.

    Raises:
      ValueError: there is no such data set, or something is wrong in it.
      OSError: a file may not be read.
    """
    dataset = os.fspath(dataset)
    check_image_size(image_size)
    if dataset == "digits":
        return _load_digits(image_size)
    path = pathlib.Path(dataset).expanduser()
    if dataset not in KNOWN_NAMES and dataset.strip():
        if path.is_dir():
            return _load_folder(path, image_size)
        if path.suffix == ".npz":
            return _load_npz(path, image_size)
        if path.exists():
            raise ValueError(f"--dataset={dataset} is a file, but no .npz; {_forms()}")
    from tfartgen import tfds_images  # imports TFDS, which few runs need

    if not tfds_images.is_name(dataset):
        raise ValueError(
            f"--dataset={dataset} is neither a known data set nor an existing path; {_forms()}"
        )
    return _load_tfds(dataset, data_dir, image_size, attribute)


def to_float(images: tf.Tensor) -> tf.Tensor:
    """Scales uint8 pixels to float32 in [-1, 1]; the scale depends on no data."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(images: tf.Tensor) -> tf.Tensor:
    """Inverse of `to_float`: rounds to uint8 pixels, clipping what is outside [-1, 1]."""
    return tf.cast(tf.round(tf.clip_by_value((images + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)


def split_by_class(labels: np.ndarray, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Holds out a fifth of every class, the same records every time.

    Args:
      labels: integers `[n]`.
      keys: a name for each record; its hash decides.

    Returns:
      Positions of the records to train on, and of those held out, each in the order of the hashes.

    Raises:
      ValueError: a class has one record only (its label is in the message).
    """
    hashes = [hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest() for key in keys]
    order = np.array(sorted(range(len(keys)), key=hashes.__getitem__), np.int64)
    held_out = np.zeros(len(order), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        if len(members) < 2:
            raise ValueError(
                f"label {label} has one record only; each class needs one to train on and one to hold out"
            )
        held_out[members[: max(1, round(HELD_OUT_FRACTION * len(members)))]] = True
    return order[~held_out], order[held_out]


def _load_digits(image_size: Optional[int]) -> PrivateData:
    from sklearn import datasets  # slow to import

    digits = datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    train, held_out = split_by_class(labels, [str(i) for i in range(len(labels))])
    names = tuple(str(name) for name in digits.target_names)
    return _from_arrays(
        "digits",
        names,
        (images[train], labels[train]),
        (images[held_out], labels[held_out]),
        image_size,
    )


def _load_npz(path: pathlib.Path, image_size: Optional[int]) -> PrivateData:
    file = npz_files.read(path)
    records, held_out = file.records, file.test_records
    if held_out is None:
        images, labels = records
        keys = [str(i) for i in range(len(labels))]
        train, test = _split(str(path), labels, keys, file.class_names)
        records, held_out = (images[train], labels[train]), (images[test], labels[test])
    return _from_arrays(_name_of(path.stem), file.class_names, records, held_out, image_size)


def _load_folder(folder: pathlib.Path, image_size: Optional[int]) -> PrivateData:
    if image_folders.has_split(folder):
        train, held_out = (image_folders.list_images(folder / name) for name in ("train", "test"))
        for name in sorted(set(train.class_names) ^ set(held_out.class_names)):
            raise ValueError(f"{folder}: class {name} is in only one of train and test")
        listings = [(x.paths, x.labels) for x in (train, held_out)]
        skipped = train.skipped + held_out.skipped
    else:
        train = image_folders.list_images(folder)
        parts = _split(str(folder), train.labels, train.keys, train.class_names)
        listings = [(tuple(train.paths[i] for i in part), train.labels[part]) for part in parts]
        skipped = train.skipped
    decoder = image_folders.check_images(folder, sum((x[0] for x in listings), ()), image_size)
    notes = decoder.notes
    if skipped:
        notes += (
            f"skipped what is no image by its name: {len(skipped)} file(s), {skipped[0]} first",
        )
    train_split, held_out_split = (
        Split.from_arrays(decoder.decode_all(paths), labels) for paths, labels in listings
    )
    name = _name_of(folder.resolve().name)
    return PrivateData(
        name, decoder.image_shape, train.class_names, train_split, held_out_split, notes
    )


def _load_tfds(
    name: str, data_dir: Optional[str], image_size: Optional[int], attribute: str
) -> PrivateData:
    from tfartgen import tfds_images

    source = tfds_images.prepare(name, data_dir, attribute, _forms())
    if source.size is None and image_size is None:
        raise ValueError(
            f"--dataset={name} has images of mixed sizes; give --image_size to crop and resize all"
        )
    # Images of mixed sizes are all resized, so no size stands for them.
    size = source.size or (0, 0)
    side = side_to_resize_to(f"--dataset={name}", *size, image_size)
    train, held_out = (
        split if side is None else split.resized(side)
        for split in (Split(*source.train), Split(*source.held_out))
    )
    return PrivateData(
        _name_of(name.split(":")[0]),
        (side or size[0], side or size[1], source.channels),
        source.class_names,
        train,
        held_out,
        () if side is None else (resize_note(source.size, side),),
    )


def _from_arrays(
    name: str,
    class_names: tuple[str, ...],
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    image_size: Optional[int],
) -> PrivateData:
    height, width, channels = train[0].shape[1:]
    side = side_to_resize_to(name, height, width, image_size)
    train_split, held_out_split = (
        split if side is None else split.resized(side)
        for split in (Split.from_arrays(*train), Split.from_arrays(*held_out))
    )
    return PrivateData(
        name,
        (side or height, side or width, channels),
        class_names,
        train_split,
        held_out_split,
        () if side is None else (resize_note((height, width), side),),
    )


def _split(
    source: str, labels: np.ndarray, keys: Sequence[str], class_names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(labels, minlength=len(class_names))
    for label in np.flatnonzero(counts == 1):
        raise ValueError(
            f"{source}: class {class_names[label]} has one record only; it needs one to train on and one to hold out"
        )
    return split_by_class(labels, keys)


def _name_of(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._-") or "images"


def _forms() -> str:
    return (
        f"give one of {', '.join(KNOWN_NAMES)}, another TFDS data set of labelled images, a folder with one "
        "sub-folder of images per class, or an .npz with images and labels"
    )
