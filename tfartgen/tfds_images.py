# SPDX-License-Identifier: Apache-2.0
"""Labelled images from TensorFlow Datasets, by name; the only module that imports it."""

from __future__ import annotations

import dataclasses
import logging
import re
import socket
import urllib.request
from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

_NAME = re.compile(r"[A-Za-z]\w*(/\w[\w.-]*)?(:[\d.*]+)?")
_DOWNLOAD_HOST = "storage.googleapis.com"

#: Number of records, and what opens a stream of `(uint8 [height, width, channels], int32 [])`.
Source = tuple[int, Callable[[], tf.data.Dataset]]


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """A prepared TFDS data set.

    Attributes:
      size: `(height, width)` as stored; None if images differ.
      channels: one or three.
      class_names: name of each label.
      train: the training records.
      held_out: the test records, or those of the validation split where there is no test split.
    """

    size: Optional[tuple[int, int]]
    channels: int
    class_names: tuple[str, ...]
    train: Source
    held_out: Source


def is_name(name: str) -> bool:
    """Whether `name` is written like a TFDS name: `name`, `name/config`, either with `:version`."""
    return _NAME.fullmatch(name) is not None


def prepare(name: str, data_dir: Optional[str], attribute: str, forms: str) -> LabelledImages:
    """Finds a TFDS data set, downloads it if it is not there, and describes its images and labels.

    Args:
      name: TFDS name, such as `mnist` or `emnist/letters`.
      data_dir: folder of TFDS; None for its own default.
      attribute: the label of `celeb_a`.
      forms: what a user may write instead, for the message about an unknown name.

    Raises:
      ValueError: no such data set, it cannot be had, or it has no labelled images.
    """
    builder = _builder(name, data_dir, forms)
    features = builder.info.features
    if builder.name == "celeb_a":
        class_names, label_of = _attribute(features, attribute)
    else:
        class_names, label_of = _class_label(name, features)
    height, width, channels = _image_shape(name, features["image"])
    _download(builder, name)
    names = list(builder.info.splits)
    held_out = next((split for split in ("test", "validation") if split in names), None)
    if "train" not in names or held_out is None:
        raise ValueError(
            f"--dataset={name} has the splits {', '.join(names) or 'none'}; train and test are needed"
        )
    train, test = (_source(builder, split, label_of) for split in ("train", held_out))
    size = None if height is None or width is None else (height, width)
    return LabelledImages(size, channels, class_names, train, test)


def _builder(name: str, data_dir: Optional[str], forms: str) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        raise ValueError(
            f"--dataset={name} is neither a known data set nor an existing path; {forms}"
        ) from None
    except Exception as error:  # unknown configurations and versions, broken folders: many types
        raise ValueError(
            f"--dataset={name}: TFDS cannot open it ({_first_line(error)}); check its name and --data_dir"
        ) from error


def _class_label(name: str, features: Any) -> tuple[tuple[str, ...], Callable[[Any], tf.Tensor]]:
    is_dict = isinstance(features, tfds.features.FeaturesDict)
    label = features["label"] if is_dict and "label" in features else None
    if not isinstance(label, tfds.features.ClassLabel) or "image" not in features:
        raise ValueError(
            f"--dataset={name} has no features `image` and `label` of one class; give a data set of labelled images"
        )
    if not label.num_classes or label.num_classes < 2:
        raise ValueError(f"--dataset={name} has fewer than two classes")
    return tuple(label.names), lambda example: example["label"]


def _attribute(features: Any, attribute: str) -> tuple[tuple[str, ...], Callable[[Any], tf.Tensor]]:
    known = sorted(features["attributes"])
    if attribute not in known:
        raise ValueError(
            f"--attribute={attribute} is no attribute of celeb_a; it has {', '.join(known)}"
        )
    return (f"not_{attribute}", attribute), lambda example: example["attributes"][attribute]


def _image_shape(name: str, image: Any) -> tuple[Optional[int], Optional[int], int]:
    shape = tuple(image.shape)
    if len(shape) != 3 or shape[-1] not in (1, 3) or image.np_dtype is not np.uint8:
        raise ValueError(
            f"--dataset={name} has images of shape {shape} and type {image.np_dtype.__name__}; "
            "uint8 with one or three channels is needed"
        )
    return shape


def _download(builder: tfds.core.DatasetBuilder, name: str) -> None:
    """Downloads and prepares what is not there yet; at once a clear message where there is no network."""
    if builder.is_prepared():
        return
    remedy = (
        f"--dataset={name} is not in {builder.data_path.parent} and cannot be downloaded (%s); give "
        "--data_dir=FOLDER, the TFDS folder that has it, or try again with a network connection"
    )
    if _is_offline():
        raise ValueError(remedy % "no network")
    retries = logging.getLogger("urllib3")
    level = retries.level
    retries.setLevel(logging.ERROR)
    try:
        builder.download_and_prepare()
    except Exception as error:  # network, quota, checksum, disk: many types
        raise ValueError(remedy % _first_line(error)) from error
    finally:
        retries.setLevel(level)


def _is_offline() -> bool:
    # TFDS takes minutes to give up. Behind a proxy names need not resolve here.
    if urllib.request.getproxies():
        return False
    try:
        socket.getaddrinfo(_DOWNLOAD_HOST, 443)
    except OSError:
        return True
    return False


def _source(
    builder: tfds.core.DatasetBuilder, split: str, label_of: Callable[[Any], tf.Tensor]
) -> Source:
    def image_and_label(example: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return example["image"], tf.cast(label_of(example), tf.int32)

    def open_stream() -> tf.data.Dataset:
        # TFDS would keep small data sets in memory a second time.
        config = tfds.ReadConfig(try_autocache=False)
        stream = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
        return stream.map(image_and_label, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return builder.info.splits[split].num_examples, open_stream


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
