# SPDX-License-Identifier: Apache-2.0
"""Private data sets under one description: embedded, TFDS by name, class folders, npz.

Images stay uint8 until they are batched. Whatever happens to an image here depends on that image alone:
the same record gives the same tensor whatever else is in the data.

Where a source brings no held-out split, about one record in five is held out: those whose pixels' hash falls below a fixed
threshold (`record_digests`). No seed reaches it, and one record more or less moves no other. The records that are not held out
are the private data that a privacy statement speaks of.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import pathlib
import re
import zlib
from collections.abc import Callable
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from tfartgen import image_folders, npz_files, record_digests
from tfartgen.image_size import (
    check_image_size,
    crop_and_resize,
    resize_note,
    side_to_resize_to,
)

#: Names that need no path; any other TFDS data set of labelled images works as well.
KNOWN_NAMES = ("digits", "mnist", "fashion_mnist", "svhn_cropped", "celeb_a")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Some of the records of a data set.

    Attributes:
      num_examples: number of records.
      open_stream: makes a `tf.data.Dataset` of the records, in a fixed order.
      in_memory: the records where they are in memory already.
      known_digests: what `digests` gives, where it is known already.
      before: the records before they were resized; None where they never were.
    """

    num_examples: int
    open_stream: Callable[[], tf.data.Dataset]
    in_memory: Optional[tuple[np.ndarray, np.ndarray]] = None
    known_digests: Optional[np.ndarray] = None
    before: Optional[Split] = None

    @classmethod
    def from_arrays(
        cls, images: np.ndarray, labels: np.ndarray, digests: Optional[np.ndarray] = None
    ) -> Split:
        """A split in memory: uint8 `[n, height, width, channels]` and integers `[n]`; digests where they are known."""
        labels = np.asarray(labels, np.int32)

        def open_stream() -> tf.data.Dataset:
            with tf.device("CPU"):
                return tf.data.Dataset.from_tensor_slices((images, labels))

        return cls(len(labels), open_stream, (images, labels), digests)

    def resized(self, side: int) -> Split:
        """The same records, each cropped and resized to `side` x `side` pixels when it is read."""

        def resize(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            resized = crop_and_resize(image, side)
            return tf.ensure_shape(resized, [side, side, image.shape[-1]]), label

        def open_stream() -> tf.data.Dataset:
            return self.stream().map(
                resize, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
            )

        return Split(self.num_examples, open_stream, before=self)

    def stream(self) -> tf.data.Dataset:
        """Single records in a fixed order: uint8 `[height, width, channels]`, int32 `[]`."""
        return self.open_stream()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All records: uint8 `[n, height, width, channels]`, int32 `[n]`; read once, then kept.

        Raises:
          ValueError: there are more or fewer records than the data set says; the sampling rate needs the number.
        """
        return self.in_memory or self._collected

    def digests(self) -> np.ndarray:
        """What identifies each record, by its pixels before any resizing: uint8 `[n, 16]`; read once, then kept.

        Raises:
          ValueError: there are more or fewer records than the data set says; the sampling rate needs the number.
        """
        return self._identified[0]

    def class_counts(self, num_classes: int) -> np.ndarray:
        """Number of records of each class, `[num_classes]`; what is not in memory is read as for `digests`, once for both."""
        labels = self._identified[1] if self._held is None else self._held[1]
        return np.bincount(labels, minlength=num_classes)

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
        self._check_count(count)
        return images, labels

    @functools.cached_property
    def _identified(self) -> tuple[np.ndarray, np.ndarray]:
        """Digests and labels."""
        if self.before is not None:
            found = self.before._identified
        elif self._held is None:
            found = self._read_through()
        else:
            images, labels = self._held
            known = self.known_digests
            found = record_digests.digests(images) if known is None else known, labels
        self._check_count(len(found[0]))
        return found

    @property
    def _held(self) -> Optional[tuple[np.ndarray, np.ndarray]]:
        """The records, if they are in memory by now."""
        return self.in_memory or self.__dict__.get("_collected")

    def _read_through(self) -> tuple[np.ndarray, np.ndarray]:
        """`_identified` by a pass; many records at a time are read where images have one size, which is faster."""
        stream = self.stream()
        size = 256 if stream.element_spec[0].shape.is_fully_defined() else 1
        digests: list[np.ndarray] = [record_digests.digests([])]
        labels: list[np.ndarray] = [np.empty(0, np.int32)]
        for some, their_labels in stream.batch(size).prefetch(16).as_numpy_iterator():
            digests.append(record_digests.digests(some))
            labels.append(their_labels)
        return np.concatenate(digests), np.concatenate(labels)

    def _check_count(self, count: int) -> None:
        if count != self.num_examples:
            raise ValueError(
                f"the data set says it has {self.num_examples} records, but {count} could be read; prepare it afresh"
            )


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
    *,
    whole: bool = False,
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
      whole: the caller takes both sides of the split together, so that it does not matter how few are on one.

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
            return _load_folder(path, image_size, whole)
        if path.suffix == ".npz":
            return _load_npz(path, image_size, whole)
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


def _load_digits(image_size: Optional[int]) -> PrivateData:
    from sklearn import datasets  # slow to import

    digits = datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    names = tuple(str(name) for name in digits.target_names)
    return _from_arrays("digits", "digits", names, (images, digits.target), None, image_size)


def _load_npz(path: pathlib.Path, image_size: Optional[int], whole: bool) -> PrivateData:
    file = npz_files.read(path)
    return _from_arrays(
        _name_of(path.stem),
        str(path),
        file.class_names,
        file.records,
        file.test_records,
        image_size,
        whole,
    )


def _load_folder(folder: pathlib.Path, image_size: Optional[int], whole: bool) -> PrivateData:
    apart = image_folders.has_split(folder)
    if apart:
        listings = [image_folders.list_images(folder / name) for name in ("train", "test")]
        names, others = (listing.class_names for listing in listings)
        for name in sorted(set(names) ^ set(others)):
            raise ValueError(f"{folder}: class {name} is in only one of train and test")
    else:
        listings = [image_folders.list_images(folder)]
        names = listings[0].class_names
    skipped = sum((listing.skipped for listing in listings), ())
    decoder = image_folders.check_images(
        folder, sum((listing.paths for listing in listings), ()), image_size
    )
    notes = decoder.notes
    if skipped:
        notes += (
            f"skipped what is no image by its name: {len(skipped)} file(s), {skipped[0]} first",
        )
    decoded = [(*decoder.decode_all(listing.paths), listing.labels) for listing in listings]
    if apart:
        train, held_out = (Split.from_arrays(x, y, known) for x, known, y in decoded)
    else:
        [(images, digests, labels)] = decoded
        sides = _split(str(folder), labels, digests, names, whole)
        notes += sides.notes
        train, held_out = (
            Split.from_arrays(images[part], labels[part], known) for part, known in sides.parts
        )
    name = _name_of(folder.resolve().name)
    return PrivateData(name, decoder.image_shape, names, train, held_out, notes)


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
    source: str,
    class_names: tuple[str, ...],
    records: tuple[np.ndarray, np.ndarray],
    test_records: Optional[tuple[np.ndarray, np.ndarray]],
    image_size: Optional[int],
    whole: bool = False,
) -> PrivateData:
    """What is in memory: split where it brings no test records; resized, where asked for or needed, when it is read."""
    images, labels = records
    height, width, channels = images.shape[1:]
    side = side_to_resize_to(name, height, width, image_size)
    notes: tuple[str, ...] = ()
    if test_records is not None:
        train, held_out = Split.from_arrays(*records), Split.from_arrays(*test_records)
    else:
        sides = _split(source, labels, record_digests.digests(images), class_names, whole)
        notes = sides.notes
        train, held_out = (
            Split.from_arrays(images[part], labels[part], known) for part, known in sides.parts
        )
    if side is not None:
        train, held_out = train.resized(side), held_out.resized(side)
        notes = (resize_note((height, width), side), *notes)
    shape = (side or height, side or width, channels)
    return PrivateData(name, shape, class_names, train, held_out, notes)


@dataclasses.dataclass(frozen=True)
class _Sides:
    """Positions and digests of the records to train on, and of those held out; and what people should know of it."""

    parts: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    notes: tuple[str, ...]


def _split(
    source: str,
    labels: np.ndarray,
    digests: np.ndarray,
    class_names: tuple[str, ...],
    whole: bool = False,
) -> _Sides:
    """The two sides of a source without a test split; each record's is a function of its own pixels.

    Raises:
      ValueError: too few are held out to test anything on, or all of a class; not of a `whole` source.
    """
    away = record_digests.held_out(digests)
    train, held_out = np.flatnonzero(~away), np.flatnonzero(away)
    parts = (train, digests[train]), (held_out, digests[held_out])
    if whole:
        return _Sides(parts, ())
    if away.sum() < record_digests.FEWEST_HELD_OUT:
        raise ValueError(
            f"{source}: {away.sum()} of {len(away)} records are held out, and fewer than {record_digests.FEWEST_HELD_OUT} test "
            "nothing; add records, or give a test split of its own (folders train and test; test_images and test_labels "
            "in an .npz)"
        )
    trained, tested = (
        np.bincount(labels[side], minlength=len(class_names)) for side in (~away, away)
    )
    for label in np.flatnonzero((trained == 0) & (tested > 0)):
        raise ValueError(
            f"{source}: all {tested[label]} record(s) of class {class_names[label]} are held out, so there is nothing to train "
            "on; add records or remove it"
        )
    untested = [class_names[label] for label in np.flatnonzero(tested == 0)]
    notes: tuple[str, ...] = ()
    if untested:
        notes = (
            f"nothing is held out of {len(untested)} class(es), {untested[0]} first: no test says anything of them",
        )
    return _Sides(parts, notes)


def _name_of(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._-") or "images"


def _forms() -> str:
    return (
        f"give one of {', '.join(KNOWN_NAMES)}, another TFDS data set of labelled images, a folder with one "
        "sub-folder of images per class, or an .npz with images and labels"
    )
