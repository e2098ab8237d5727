# SPDX-License-Identifier: Apache-2.0
"""A release of few digits, and documents about it: the committed ones, said to be about this release."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import scripts
from evaluation_samples import write_release

from tfartgen import data, papers
from tfartgen.released_data import ReleasedData

RESULTS = scripts.ROOT / "docs" / "results"
#: Where MNIST may lie, in TFDS's form.
MNIST = scripts.ROOT.parent / "shared" / "data" / "tensorflow_datasets" / "mnist"
FILES = ("evaluation.json", "privacy_estimate.json", "inversion.json", "membership.json")


#: What a statement says of the data set of `stating`.
DATA_SET = {
    "name": "zeros_and_ones",
    "format": "npz",
    "num_examples": 4,
    "image_shape": (8, 8, 1),
    "class_names": ("0", "1"),
    "seed": 0,
}


def drawn(folder: pathlib.Path, model: str, count: int) -> str:
    """A release of a committed generator, as bin/generate draws it; returns its digest."""
    with scripts.main_of("generate") as generate:
        generate(
            f"--model={scripts.ROOT / 'saved_models' / model}",
            "--version=1",
            f"--num_examples={count}",
            "--format=npz",
            f"--output={folder}",
        )
    return digest(folder)


def digest(folder: pathlib.Path) -> str:
    return papers.sha256(folder / papers.STATEMENT_FILE)


def documents(name: str, folder: pathlib.Path, digest: str) -> pathlib.Path:
    """Copies of the committed documents of a data set, about the release of this digest; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        content = json.loads((RESULTS / name / file).read_text(encoding="utf-8"))
        for release in content.get("releases", []) + [content.get("release", {})]:
            release["digest"] = digest
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return folder


def stating(statement: Any) -> ReleasedData:
    """A release of four images with this statement, in memory."""
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
    labels = np.array([0, 1, 0, 1], np.int32)
    folder, names = "artificial/zeros_and_ones", ("0", "1")
    return ReleasedData("zeros_and_ones", folder, images, labels, names, statement, "a" * 64)


def zeros_and_ones() -> data.PrivateData:
    """The digits 0 and 1 of scikit-learn's, as a data set of two classes."""
    whole = data.load("digits")
    splits = []
    for split in (whole.train, whole.held_out):
        images, labels = split.arrays()
        splits.append(data.Split.from_arrays(images[labels < 2], labels[labels < 2]))
    return data.PrivateData("zeros_and_ones", whole.image_shape, ("0", "1"), *splits)


def blurred(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images of the same kind that equal none of these."""
    noise = np.random.default_rng(seed).integers(1, 9, images.shape)
    return np.where(images < 128, images + noise, images - noise).astype(np.uint8)


def written_release(
    folder: pathlib.Path, private: data.PrivateData, copied: int = 0, count: int = 60
) -> Any:
    """A release of `count` images, of which the first `copied` are real records."""
    images, labels = (part[:count] for part in private.train.arrays())
    released = np.concatenate([images[:copied], blurred(images[copied:])])
    return write_release(folder, private.name, released, labels)
