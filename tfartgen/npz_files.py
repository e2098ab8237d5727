# SPDX-License-Identifier: Apache-2.0
"""Reads an `.npz` of images and labels, without ever unpickling anything."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile
from typing import Optional

import numpy as np

Records = tuple[np.ndarray, np.ndarray]

KEYS = ("images", "labels", "class_names", "test_images", "test_labels")


@dataclasses.dataclass(frozen=True, eq=False)
class NpzFile:
    """What a checked file holds.

    Attributes:
      records: uint8 `[n, height, width, channels]`, int32 `[n]`.
      test_records: the same, of the file's own test split; None if it has none.
      class_names: name of each label.
    """

    records: Records
    test_records: Optional[Records]
    class_names: tuple[str, ...]


def read(path: pathlib.Path) -> NpzFile:
    """Reads `images`, `labels` and, where given, `class_names`, `test_images` and `test_labels`.

    Raises:
      ValueError: the file is missing or broken, or an array is not what it should be (names it).
    """
    arrays = _arrays(path)
    if "images" not in arrays or "labels" not in arrays:
        raise ValueError(
            f"{path} has the arrays {', '.join(sorted(arrays)) or 'none'}; images and labels are needed"
        )
    if ("test_images" in arrays) != ("test_labels" in arrays):
        raise ValueError(
            f"{path} has only one of test_images and test_labels; give both or neither"
        )
    records = _records(path, arrays, "images", "labels")
    class_names = _class_names(path, arrays.get("class_names"), records[1])
    _check_labels(path, "labels", records[1], class_names)
    if len(np.unique(records[1])) < 2:
        raise ValueError(f"{path}: labels has one class only; at least two are needed")
    test_records = None
    if "test_images" in arrays:
        test_records = _records(path, arrays, "test_images", "test_labels")
        _check_labels(path, "test_labels", test_records[1], class_names)
        _check_same_shape(path, records[0], test_records[0])
    return NpzFile(_as_int32(records), test_records and _as_int32(test_records), class_names)


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz (not a zip file); write it with numpy.savez")
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        found = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
    with np.load(path, allow_pickle=False) as file:
        for key in found:
            try:
                arrays[key] = file[key] if key in KEYS else np.empty(0)
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise ValueError(f"{path}: {key} cannot be read ({error})") from error
                raise ValueError(
                    f"{path}: {key} holds pickled Python objects, which are never unpickled; save it as a plain array"
                ) from None
            except Exception as error:  # damaged archives: zipfile, zlib and struct errors
                raise ValueError(
                    f"{path}: {key} cannot be read ({error}); write the file afresh"
                ) from error
    return arrays


def _records(
    path: pathlib.Path, arrays: dict[str, np.ndarray], images_key: str, labels_key: str
) -> Records:
    images, labels = arrays[images_key], arrays[labels_key]
    _check_images(path, images_key, images)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: {labels_key} must be integers [n], got {labels.dtype} of shape {labels.shape}"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{path}: {images_key} has {len(images)} records and {labels_key} has {len(labels)}"
        )
    if not len(images):
        raise ValueError(f"{path}: {images_key} has no records")
    return (images if images.ndim == 4 else images[..., np.newaxis]), labels


def _check_images(path: pathlib.Path, key: str, images: np.ndarray) -> None:
    if images.dtype.kind == "f" and np.isnan(images).any():
        raise ValueError(f"{path}: {key} contains NaN; uint8 pixels from 0 to 255 are needed")
    if images.dtype != np.uint8:
        raise ValueError(
            f"{path}: {key} has type {images.dtype}; scale it to 0 to 255 and save it as uint8"
        )
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise ValueError(
            f"{path}: {key} has shape {images.shape}; [n, height, width] or [n, height, width, channels] with "
            "one or three channels is needed"
        )
    if 0 in images.shape[1:]:
        raise ValueError(f"{path}: {key} has shape {images.shape}, so its images have no pixels")


def _class_names(
    path: pathlib.Path, names: Optional[np.ndarray], labels: np.ndarray
) -> tuple[str, ...]:
    if names is not None:
        if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
            raise ValueError(
                f"{path}: class_names must be different strings [classes], got {names.dtype} of shape {names.shape}"
            )
        return tuple(names.tolist())
    present = [int(label) for label in np.unique(labels)]
    for expected, label in enumerate(present):
        if label < 0:
            break  # `_check_labels` says so
        if label != expected:
            raise ValueError(
                f"{path}: labels go up to {present[-1]} but {expected} has no record; number the classes from 0 "
                "without gaps, or give class_names"
            )
    return tuple(str(label) for label in range(len(present)))


def _check_labels(
    path: pathlib.Path, key: str, labels: np.ndarray, class_names: tuple[str, ...]
) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(wrong):
        raise ValueError(
            f"{path}: {key}[{wrong[0]}] is {labels[wrong[0]]}; labels must be 0 to {len(class_names) - 1}"
        )


def _check_same_shape(path: pathlib.Path, images: np.ndarray, test_images: np.ndarray) -> None:
    if images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"{path}: images have shape {images.shape[1:]} and test_images {test_images.shape[1:]}"
        )


def _as_int32(records: Records) -> Records:
    return records[0], records[1].astype(np.int32)
