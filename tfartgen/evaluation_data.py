# SPDX-License-Identifier: Apache-2.0
"""The data of an evaluation: what students may train on, what they are tested on, and releases that fit.

A stated part of the held-out split plays the public, unlabelled images that PATE needs, and is then not tested
on, whichever methods are compared, so that every row of a table has the same test set.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from tfartgen import _validate
from tfartgen.data import PrivateData, Split
from tfartgen.image_size import sides
from tfartgen.released_data import ReleasedData

Records = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationData:
    """Real data, cut for an evaluation.

    Attributes:
      name: of the data set.
      class_names: name of every label.
      train: private records to train on, uint8 `[n, height, width, channels]` and int32 `[n]`.
      public: images of the held-out split that play public ones, uint8 `[m, height, width, channels]`.
      test: the rest of the held-out split, with labels.
      digest: SHA-256 of all of it.
    """

    name: str
    class_names: tuple[str, ...]
    train: Records
    public: np.ndarray
    test: Records
    digest: str

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def train_split(self) -> Split:
        """The private records, for a sampler."""
        return Split.from_arrays(*self.train)


def prepare(data: PrivateData, public_fraction: float = 0.2) -> EvaluationData:
    """Reads a data set and sets its public part aside, the same images every time.

    Args:
      data: training and held-out split.
      public_fraction: share of every class of the held-out split that plays public images.

    Raises:
      ValueError: the fraction is out of range, a class has no record to train on, there is none to test on, or the records do not
        fit in memory. A class without test records is borne: nothing is said of it.
    """
    _validate.probability("--public_fraction", public_fraction)
    data.require_memory()
    train, (images, labels) = data.train.arrays(), data.held_out.arrays()
    is_public = _public_positions(labels, public_fraction)
    test = images[~is_public], labels[~is_public]
    require_classes(f"--dataset={data.name}: its training part", train[1], data.class_names)
    if not len(test[1]):
        raise ValueError(f"--dataset={data.name}: its test part has no record; give one that has")
    digest = hashlib.sha256(repr((data.class_names, public_fraction)).encode())
    for array in (*train, images, labels):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array))
    return EvaluationData(
        data.name, data.class_names, train, images[is_public], test, digest.hexdigest()
    )


def _public_positions(labels: np.ndarray, fraction: float) -> np.ndarray:
    chosen = np.zeros(len(labels), bool)
    rng = np.random.default_rng(0)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return chosen


def require_classes(where: str, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raises a ValueError that names the first class without an example."""
    counts = np.bincount(labels, minlength=len(class_names))
    for label in np.flatnonzero(counts == 0):
        raise ValueError(
            f"{where} has no example of class {class_names[label]!r}; every class needs some"
        )


def check_release(release: ReleasedData, data: EvaluationData) -> None:
    """Checks that a release could have been learned from the data.

    Raises:
      ValueError: another shape, number of classes or class names, or a class without examples.
    """
    where = f"--artificial={release.folder}"
    shape, expected = release.images.shape[1:], data.train[0].shape[1:]
    if shape != expected:
        raise ValueError(
            f"{where} has images {sides(shape)}, --dataset={data.name} has {sides(expected)}; give the data that it "
            "was learned from, with the same --image_size"
        )
    if len(release.class_names) != data.num_classes:
        raise ValueError(
            f"{where} has {len(release.class_names)} classes, --dataset={data.name} has {data.num_classes}; give the "
            "data that it was learned from"
        )
    for label, (name, real) in enumerate(zip(release.class_names, data.class_names)):
        if name != real:
            raise ValueError(
                f"{where} calls class {label} {name!r}, --dataset={data.name} calls it {real!r}; give the data that "
                "it was learned from"
            )
    require_classes(where, release.labels, release.class_names)


def interleaved(releases: Sequence[ReleasedData], count: int) -> Records:
    """The first `count` examples of releases in turn: one each, and again.

    Args:
      releases: that hold `count` examples together, in like parts.
      count: how many.

    Returns:
      Images and labels.
    """
    shares = [len(range(i, count, len(releases))) for i in range(len(releases))]
    images = np.empty((count, *releases[0].images.shape[1:]), np.uint8)
    labels = np.empty(count, np.int32)
    for i, (release, share) in enumerate(zip(releases, shares)):
        images[i :: len(releases)] = release.images[:share]
        labels[i :: len(releases)] = release.labels[:share]
    return images, labels
