# SPDX-License-Identifier: Apache-2.0
"""Artificial examples for a measurement: a data set that was published, or fresh draws from a generator."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import artificial, papers, released_data, released_models


@dataclasses.dataclass(frozen=True, eq=False)
class ReleasedSample:
    """Artificial examples, and the statement of the release that they are of.

    Attributes:
      folder: of the data set or of the generator, as the person gave it.
      images: uint8 [n, height, width, channels].
      labels: int32 [n].
      class_names: name of every label.
      statement: the privacy statement.
      digest: SHA-256 of the statement's file: identifies the release.
    """

    folder: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    statement: Mapping[str, Any]
    digest: str


def of_data_set(folder: str) -> ReleasedSample:
    """All examples of a data set that `bin/generate` wrote.

    Raises:
      ValueError: it is none, or a damaged one.
    """
    data = released_data.read(folder)
    return ReleasedSample(
        folder, data.images, data.labels, data.class_names, data.statement, data.digest
    )


def of_generator(
    folder: str,
    count: int,
    seed: int,
    version: Optional[int] = None,
    progress: Callable[[int], object] = lambda count: None,
) -> ReleasedSample:
    """Fresh examples of a generator, with uniform labels.

    Raises:
      ValueError: there is no such generator, or a damaged one.
    """
    path = released_models.find_version(folder, version)
    model = released_models.LocalModel(path)
    policy = artificial.LabelPolicy.uniform(model.spec.num_classes)
    plan = artificial.DrawPlan(count, seed, policy)
    parts = []
    for start, stop in plan.parts():
        parts.append(artificial.draw_part(model, plan, start, stop))
        progress(stop - start)
    images, labels = (np.concatenate(each) for each in zip(*parts))
    digest = papers.sha256(path / "assets.extra" / papers.STATEMENT_FILE)
    return ReleasedSample(
        os.fspath(folder), images, labels, model.spec.class_names, model.spec.privacy, digest
    )
