# SPDX-License-Identifier: Apache-2.0
"""TFDS data sets by their real names and schemas, with few records that are made up, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import json
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds


@contextlib.contextmanager
def mocked(name: str, folder: pathlib.Path, **splits: int) -> Iterator[None]:
    """Within it TFDS finds `name` in `folder`, already prepared, with so many records in each split.

    The classes take turns, for every attribute alike, and a record's class is the brightness of its image. Splits have
    no record in common, unlike those of `mock_data` by itself.
    """
    describe(name, folder, splits)

    def as_dataset(builder: Any, split: str, **options: Any) -> tf.data.Dataset:
        del options
        return tf.data.Dataset.from_tensor_slices(_records(builder.info.features, split, splits))

    with tfds.testing.mock_data(as_dataset_fn=as_dataset, data_dir=str(folder)):
        yield


def write(name: str, folder: pathlib.Path, **splits: int) -> None:
    """Writes the same records where TFDS finds them by `name`, prepared, in any process."""
    path = describe(name, folder, splits)
    features = tfds.builder(name, data_dir=str(folder)).info.features
    for split, count in splits.items():
        records = tf.nest.map_structure(np.asarray, _records(features, split, splits))
        with tf.io.TFRecordWriter(str(path / f"{name}-{split}.tfrecord-00000-of-00001")) as file:
            for i in range(count):
                example = tf.nest.map_structure(lambda values: values[i], records)  # noqa: B023
                file.write(features.serialize_example(example))


def describe(name: str, folder: pathlib.Path, splits: dict[str, int]) -> pathlib.Path:
    """Writes what tells TFDS the names and sizes of the splits, and returns the folder that it is in."""
    path = pathlib.Path(tfds.builder(name, data_dir=str(folder)).data_path)
    path.mkdir(parents=True)
    info = {
        "name": name,
        "version": path.name,
        "fileFormat": "tfrecord",
        "splits": [
            {"name": split, "shardLengths": [str(count)], "numBytes": "1"}
            for split, count in splits.items()
        ],
    }
    (path / "dataset_info.json").write_text(json.dumps(info))
    return path


def _records(features: Any, split: str, splits: dict[str, int]) -> dict[str, Any]:
    count = splits[split]
    records = tf.nest.map_structure(
        lambda spec: tf.zeros([count, *spec.shape], spec.tf_dtype),
        features.get_tensor_info(),
    )
    classes = features["label"].num_classes if "label" in features else 2
    labels = np.arange(count) % classes
    records["image"] = _pictures(labels / (classes - 1), features["image"].shape, split)
    if "label" in features:
        records["label"] = labels.astype(np.int64)
    else:
        records["attributes"] = {key: labels == 1 for key in records["attributes"]}
    return records


def _pictures(brightness: np.ndarray, shape: tuple[int, ...], split: str) -> np.ndarray:
    noise = np.random.default_rng(zlib.crc32(split.encode())).integers(
        60, size=(len(brightness), *shape)
    )
    return (noise + 190 * brightness[:, None, None, None]).astype(np.uint8)
