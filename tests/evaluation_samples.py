# SPDX-License-Identifier: Apache-2.0
"""Small real and artificial data whose classes a student tells apart, for the tests of evaluations."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from tfartgen import data, evaluation_data, generating
from tfartgen.accounting import Stretch
from tfartgen.artificial import DrawPlan, LabelPolicy, ModelSpec
from tfartgen.released_data import ReleasedData
from tfartgen.statement import privacy_statement

CLASS_NAMES = ("dark", "grey", "bright")


def shades(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is their brightness, every class in turn."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.int32)
    noise = rng.integers(60, size=(count, 8, 8, 1))
    return (noise + 95 * labels[:, None, None, None]).astype(np.uint8), labels


def private(train: int = 120, held_out: int = 60) -> data.PrivateData:
    splits = (
        data.Split.from_arrays(*shades(train, 0)),
        data.Split.from_arrays(*shades(held_out, 1)),
    )
    return data.PrivateData("shades", (8, 8, 1), CLASS_NAMES, *splits)


def real(**sizes: int) -> evaluation_data.EvaluationData:
    return evaluation_data.prepare(private(**sizes), 0.3)


def release(count: int = 150, seed: int = 2, **changes: Any) -> ReleasedData:
    images, labels = shades(count, seed)
    fields = {
        "name": "shades",
        "folder": f"artificial/shades{seed}",
        "images": images,
        "labels": labels,
        "class_names": CLASS_NAMES,
        "statement": {"epsilon": 40000.0, "delta": 1e-5, "guarantee": "none"},
        "digest": f"{seed:064x}",
        **changes,
    }
    return ReleasedData(**fields)


def write_release(folder: Any, name: str, images: np.ndarray, labels: np.ndarray) -> str:
    """Writes a data set of two classes with its papers, as bin/generate does."""
    # So small that the limit of its draws takes all of delta, which is soon seen.
    stretch = Stretch("poisson", 0.01, 0.03, 1.0, 100, 300, coordinates=356)
    privacy = privacy_statement([stretch], 1e-5, critic_steps=300)
    spec = ModelSpec(name, images.shape[1:], ("0", "1"), 5, privacy)
    model = types.SimpleNamespace(spec=spec, draw=lambda some, seeds: images[: len(some)])
    plan = DrawPlan(len(images), 0, LabelPolicy.uniform(2), len(images))

    def produce(plan: DrawPlan, work: Any) -> None:
        part = generating.dataset_formats.part_path(work, 0)
        generating.dataset_formats.write_part(part, images, labels)

    generating.generate(model, plan, folder, "npz", produce=produce)
    return str(folder)
