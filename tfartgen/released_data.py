# SPDX-License-Identifier: Apache-2.0
"""Reads an artificial data set back from its files, as strangers do: in batches, or whole."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
from PIL import Image

from tfartgen import papers, statement

#: Images `[n, height, width, channels]`, labels `[n]`, and what to call each example.
Batch = tuple[np.ndarray, np.ndarray, list[str]]

_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class ReleasedData:
    """An artificial data set in memory.

    Attributes:
      name: as in its statement.
      folder: as the person gave it.
      images: uint8 `[n, height, width, channels]`.
      labels: int32 `[n]`.
      class_names: name of every label.
      statement: its privacy statement.
      digest: SHA-256 of the statement, which holds those of the files: identifies the release.
    """

    name: str
    folder: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    statement: Mapping[str, Any]
    digest: str


def read(folder: str | os.PathLike[str]) -> ReleasedData:
    """Reads a whole data set, and checks that its files are those that its statement speaks of.

    Raises:
      ValueError: the folder is no artificial data set, or a damaged or altered one.
    """
    path = pathlib.Path(folder).expanduser()
    stated = _statement_of(path)
    _check_files(path, stated["files"])
    try:
        images, labels = _collected(path, stated["data_set"])
    except Exception as error:  # of three libraries, whatever the damage is
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise _unreadable(path, f"its data cannot be read ({reason[:200]})") from error
    return ReleasedData(
        name=stated["data_set"]["name"],
        folder=os.fspath(folder),
        images=images,
        labels=labels,
        class_names=tuple(stated["data_set"]["class_names"]),
        statement=stated,
        digest=papers.sha256(path / papers.STATEMENT_FILE),
    )


def _check_files(path: pathlib.Path, files: Mapping[str, str]) -> None:
    for name, digest in files.items():
        if not (path / name).is_file():
            raise _unreadable(path, f"{name} is missing")
        if papers.sha256(path / name) != digest:
            raise _unreadable(path, f"{name} was altered: its SHA-256 is not the one in its papers")
    for name in sorted({*papers.files_of(path)} - {*files, *papers.UNDIGESTED}):
        raise _unreadable(path, f"{name} is not listed in its papers")


def _collected(path: pathlib.Path, data_set: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels, held to the description."""
    shape, classes = tuple(data_set["image_shape"]), len(data_set["class_names"])
    all_images, all_labels = [], []
    for images, labels, names in batches(path, data_set):
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(f"{names[0]} has {images.dtype} {images.shape[1:]}, not uint8 {shape}")
        if labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < classes)).all():
            raise ValueError(
                f"a label at or after {names[0]} is not a number of 0 to {classes - 1}"
            )
        all_images.append(images)
        all_labels.append(labels.astype(np.int32))
    count = sum(map(len, all_labels))
    if count != data_set["num_examples"]:
        raise ValueError(f"{count} examples, its papers say {data_set['num_examples']}")
    return np.concatenate(all_images), np.concatenate(all_labels)


def _statement_of(path: pathlib.Path) -> dict[str, Any]:
    file = path / papers.STATEMENT_FILE
    if not file.is_file():
        raise _unreadable(path, f"it has no {papers.STATEMENT_FILE}")
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"its {papers.STATEMENT_FILE} is no JSON ({error})") from None
    problems = statement.validate_statement(stated)
    if problems or stated["released"] != statement.DATA_SET:
        reason = problems[0] if problems else "it speaks of a generator; draw from it first"
        raise _unreadable(path, f"its {papers.STATEMENT_FILE} is not a data set's ({reason})")
    return stated


def _unreadable(path: pathlib.Path, reason: str) -> ValueError:
    return ValueError(f"--artificial={path}: {reason}; give a folder that bin/generate wrote")


def batches(folder: pathlib.Path, data_set: Mapping[str, Any]) -> Iterator[Batch]:
    """All examples, in the order of the files.

    Args:
      folder: of the data set.
      data_set: its description in the privacy statement.

    Yields:
      Batches, of the shapes and types that are in the files, whatever the description says of them.

    Raises:
      Exception: of whatever reads the files, where they are damaged.
      ValueError: the files say other things than the description, such as class names.
    """
    return _READERS[data_set["format"]](folder, data_set["class_names"])


def _read_npz(folder: pathlib.Path, class_names: Sequence[str]) -> Iterator[Batch]:
    path = folder / "data.npz"
    with np.load(path, allow_pickle=False) as arrays:
        _require_same("arrays", sorted(arrays.files), ["class_names", "images", "labels"])
        _require_same("class names", arrays["class_names"].tolist(), list(class_names))
    with zipfile.ZipFile(path) as archive:
        with archive.open("images.npy") as images, archive.open("labels.npy") as labels:
            shape, image_type = _array_header(images)
            label_shape, label_type = _array_header(labels)
            _require_same("number of labels", label_shape, shape[:1])
            for start in range(0, shape[0], _BATCH_SIZE):
                count = min(_BATCH_SIZE, shape[0] - start)
                names = [f"example {i}" for i in range(start, start + count)]
                yield (
                    _rows(images, image_type, (count, *shape[1:])),
                    _rows(labels, label_type, (count,)),
                    names,
                )
            if images.read(1) or labels.read(1):
                raise ValueError("there is more in the arrays than their shapes say")


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array of the format {version}")
    shape, column_major, dtype = np.lib.format.read_array_header_1_0(file)
    if column_major or dtype.hasobject:
        raise ValueError(f"an array of {dtype}, or in another order")
    return shape, dtype


def _rows(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(file.read(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


def _read_png(folder: pathlib.Path, class_names: Sequence[str]) -> Iterator[Batch]:
    folders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    _require_same("class folders", sorted(set(folders) - set(class_names)), [])
    for label, class_name in enumerate(class_names):
        if class_name not in folders:
            continue
        names = sorted(os.listdir(folder / class_name))
        for start in range(0, len(names), _BATCH_SIZE):
            some = [f"{class_name}/{name}" for name in names[start : start + _BATCH_SIZE]]
            images = [_pixels(folder / name) for name in some]
            for name, image in zip(some, images):
                _require_same(f"shape of {name}", image.shape, images[0].shape)
            yield np.stack(images), np.full(len(some), label), some


def _pixels(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _read_tfds(folder: pathlib.Path, class_names: Sequence[str]) -> Iterator[Batch]:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    _require_same("splits", list(builder.info.splits), ["train"])
    _require_same("features", sorted(builder.info.features), ["image", "label"])
    _require_same("class names", builder.info.features["label"].names, list(class_names))
    start = 0
    with tf.device("CPU"):
        examples = builder.as_dataset(split="train").batch(_BATCH_SIZE)
    for batch in examples.as_numpy_iterator():
        stop = start + len(batch["label"])
        yield batch["image"], batch["label"], [f"example {i}" for i in range(start, stop)]
        start = stop


def _require_same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise ValueError(f"{what}: {found!r}, expected {expected!r}"[:300])


_READERS = {"npz": _read_npz, "png": _read_png, "tfds": _read_tfds}
