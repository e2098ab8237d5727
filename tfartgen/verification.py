# SPDX-License-Identifier: Apache-2.0
"""Whether a release is what its papers say, and holds nothing private: a data set, or a generator.

What is checked needs the release alone; with the private data at hand, every released image is also compared
with every private record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np
from PIL import Image

from tfartgen import leaks, ledger, papers, published_names, released_data, statement
from tfartgen.artificial import DrawPlan, LabelPolicy

if TYPE_CHECKING:
    from tfartgen.data import PrivateData

#: How far a stated figure may be from what the stated mechanisms cost, relatively.
_FIGURE_TOLERANCE = 1e-4

#: Most problems of one kind that are listed one by one.
_MOST_LISTED = 5

_MODEL_FILES = re.compile(
    r"saved_model\.pb|fingerprint\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})"
    r"|assets\.extra/(model\.json|privacy\.json|tf_serving_warmup_requests)"
)
_MODEL_STATEMENT, _MODEL_DESCRIPTION = "assets.extra/privacy.json", "assets.extra/model.json"
_MODEL_NEEDS = ("variables/variables.index", _MODEL_DESCRIPTION, _MODEL_STATEMENT)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a release should not be trusted, or not be published.

    Attributes:
      file: within the release.
      what: is wrong with it.
    """

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def verify(
    folder: Union[str, os.PathLike[str]], private: Optional[PrivateData] = None
) -> list[Problem]:
    """Checks a release.

    A data set: the statement's schema and figures, digests (altered, missing and extra files), counts, shapes,
    labels, and class frequencies against the stated policy. A generator: the statement, and variables,
    functions, constants and names of its SavedModel. Both: absolute paths, user and host names.

    Formal guarantee: none about the values of pixels or weights, which the privacy statement speaks of. With
    `private`, no released image equals a private record, up to chance 2^-64 a pair.

    Args:
      folder: of a data set, of one version of a generator, or of all versions.
      private: what the release was learned from, to look for its records in a data set.

    Returns:
      The problems found; none is what one wants.

    Raises:
      ValueError: the folder is no release, or the private images are of another shape.
    """
    path = pathlib.Path(folder).expanduser()
    if (path / "saved_model.pb").is_file():
        return list(_model_problems(path, ""))
    if (path / papers.STATEMENT_FILE).is_file():
        return list(_data_set_problems(path, private))
    versions = sorted(
        (entry for entry in path.glob("*/saved_model.pb") if entry.parent.name.isdecimal()),
        key=lambda entry: int(entry.parent.name),
    )
    if not versions:
        raise ValueError(
            f"--verify={folder} is no release: it has neither {papers.STATEMENT_FILE} nor saved_model.pb; give a folder "
            "that bin/generate or bin/train wrote"
        )
    names = [entry.parent.name for entry in versions]
    return [p for name in names for p in _model_problems(path / name, f"{name}/")]


def notes(folder: Union[str, os.PathLike[str]]) -> list[str]:
    """What a person should know of a release that has no problem: who stated what it cost, names that tell of somebody.

    Args:
      folder: as in `verify`.
    """
    path = pathlib.Path(folder).expanduser()
    places = (papers.STATEMENT_FILE, _MODEL_STATEMENT, f"*/{_MODEL_STATEMENT}")
    found = []
    for file in sorted(file for place in places for file in path.glob(place)):
        stated = json.loads(file.read_text(encoding="utf-8"))
        said, names = statement.stated_before(stated), stated["data_set"]
        if names is None:  # of a generator
            names = json.loads((file.parent / "model.json").read_text(encoding="utf-8"))
        more = published_names.notes(names["name"], names["class_names"])
        found += [
            f"{file.relative_to(path)}: {line}" for line in (*([said] if said else []), *more)
        ]
    return found


def _data_set_problems(folder: pathlib.Path, private: Optional[PrivateData]) -> Iterator[Problem]:
    yield from _leak_problems(folder)
    stated, problems = _read_statement(folder, papers.STATEMENT_FILE, statement.DATA_SET)
    yield from problems
    if stated is None:
        return
    yield from _digest_problems(folder, stated["files"])
    data_set = stated["data_set"]
    yield from _name_problems(papers.STATEMENT_FILE, data_set["name"], data_set["class_names"])
    if private is not None and list(private.image_shape) != data_set["image_shape"]:
        raise ValueError(
            f"--dataset has images {list(private.image_shape)}, the data set {data_set['image_shape']}: it was learned "
            "from other data, or with another --image_size"
        )
    records = None if private is None else _record_hashes(private)
    yield from _limited(_example_problems(folder, stated, records))


def _digest_problems(folder: pathlib.Path, files: Mapping[str, str]) -> Iterator[Problem]:
    there = papers.files_of(folder)
    for name in sorted({*files, papers.SHEET_FILE} - set(there)):
        yield Problem(name, "is missing")
    for name in there:
        if (folder / name).is_symlink():
            yield Problem(name, "is a link, so that its content is not part of the release")
        elif name not in files and name not in papers.UNDIGESTED:
            yield Problem(name, "is not listed in privacy.json")
        elif name in files and papers.sha256(folder / name) != files[name]:
            yield Problem(name, "was altered: its SHA-256 is not the one in privacy.json")


def _example_problems(
    folder: pathlib.Path, stated: Mapping[str, Any], records: Optional[np.ndarray]
) -> Iterator[Problem]:
    data_set = stated["data_set"]
    shape, classes = tuple(data_set["image_shape"]), len(data_set["class_names"])
    counts = np.zeros(classes, np.int64)
    preview = [np.empty((0, *shape), np.uint8)] * classes
    batches = released_data.batches(folder, data_set)
    while True:
        try:
            images, labels, names = next(batches)
        except StopIteration:
            break
        except Exception as error:  # of three libraries, whatever the damage is
            reason = (str(error) or type(error).__name__).splitlines()[0]
            yield Problem(".", f"the {data_set['format']} data cannot be read: {reason[:200]}")
            return
        if images.dtype != np.uint8 or images.shape[1:] != shape or labels.dtype.kind not in "iu":
            yield Problem(
                names[0], f"has {images.dtype} {images.shape[1:]}, privacy.json says uint8 {shape}"
            )
            return
        known = (labels >= 0) & (labels < classes)
        for i in np.flatnonzero(~known):
            yield Problem(names[i], f"has the label {labels[i]}, labels are 0 to {classes - 1}")
        counts += np.bincount(labels[known], minlength=classes)
        for label, kept in enumerate(preview):
            if len(kept) < papers.PREVIEW_COLUMNS:
                new = images[labels == label][: papers.PREVIEW_COLUMNS - len(kept)]
                preview[label] = np.concatenate([kept, new])
        if records is not None:
            for i in np.flatnonzero(np.isin(_hashes(images), records)):
                yield Problem(names[i], "equals a private record")
    yield from _count_problems(stated, counts)
    yield from _preview_problems(folder, preview, data_set["class_names"])


def _count_problems(stated: Mapping[str, Any], counts: np.ndarray) -> Iterator[Problem]:
    data_set = stated["data_set"]
    total = data_set["num_examples"]
    if counts.sum() != total:
        yield Problem(".", f"has {counts.sum()} examples, privacy.json says {total}")
        return
    policy = statement.label_policy(stated)
    assert policy is not None  # the schema wants one of a data set
    expected = papers.class_counts(DrawPlan(total, data_set["seed"], policy))
    if not np.array_equal(counts, expected):
        yield Problem(
            ".",
            f"has {counts.tolist()} examples of the classes, the stated label policy and seed give "
            f"{expected.tolist()}: the labels come from elsewhere",
        )


def _preview_problems(
    folder: pathlib.Path, images: list[np.ndarray], class_names: list[str]
) -> Iterator[Problem]:
    """The pictures only: the names beside them depend on the version of the font."""
    expected = papers.preview_grid(images, class_names)
    left = papers.preview_names_width(class_names)
    try:
        with Image.open(folder / papers.PREVIEW_FILE) as picture:
            shown = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError) as error:
        yield Problem(papers.PREVIEW_FILE, f"cannot be read ({type(error).__name__})")
        return
    width = expected.width - left
    if not np.array_equal(shown[:, -width:], np.asarray(expected)[:, -width:]):
        yield Problem(papers.PREVIEW_FILE, "shows other images than the first ones of each class")


def _record_hashes(private: PrivateData) -> np.ndarray:
    """Hashes of all private records, held-out ones included, uint64 `[records]`."""
    hashes = [
        _hashes(images)
        for split in (private.train, private.held_out)
        for images, _ in split.stream().batch(256).as_numpy_iterator()
    ]
    return np.unique(np.concatenate(hashes))


def _hashes(images: np.ndarray) -> np.ndarray:
    digests = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images)
    return np.frombuffer(b"".join(digests), np.uint64)


def _model_problems(folder: pathlib.Path, prefix: str) -> Iterator[Problem]:
    for problem in _version_problems(folder):
        yield Problem(prefix + problem.file, problem.what)


def _version_problems(folder: pathlib.Path) -> Iterator[Problem]:
    yield from _leak_problems(folder)
    there = papers.files_of(folder)
    for name in there:
        if (folder / name).is_symlink() or not _MODEL_FILES.fullmatch(name):
            yield Problem(name, "is no file of a generator's release")
    missing = sorted(set(_MODEL_NEEDS) - set(there))
    yield from (Problem(name, "is missing") for name in missing)
    if missing:
        return
    stated, problems = _read_statement(folder, _MODEL_STATEMENT, statement.GENERATOR)
    yield from problems
    texts = {
        key: (folder / "assets.extra" / f"{key}.json").read_text(encoding="utf-8", errors="replace")
        for key in ("model", "privacy")
    }
    try:
        model = json.loads(texts["model"])
        names = str(model["name"]), [str(name) for name in model["class_names"]]
        model = {"image_shape": [int(n) for n in model["image_shape"]]}
    except (ValueError, TypeError, KeyError) as error:
        yield Problem(_MODEL_DESCRIPTION, f"is damaged ({error!r})")
        return
    yield from _name_problems(_MODEL_DESCRIPTION, *names)
    from tfartgen import saved_model_scan

    for what in saved_model_scan.scan(folder, model, texts):
        yield Problem("saved_model.pb", what)


def _read_statement(
    folder: pathlib.Path, name: str, released: str
) -> tuple[Optional[dict[str, Any]], list[Problem]]:
    """The statement, None if it does not follow the schema, and what is wrong with it."""
    try:
        stated = json.loads((folder / name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return None, [Problem(name, f"is no JSON ({error})")]
    invalid = statement.validate_statement(stated)
    if not invalid and stated["released"] != released:
        invalid = [f"$.released: {stated['released']!r}, expected {released!r}"]
    if invalid:
        return None, [Problem(name, f"does not follow the schema: {line}") for line in invalid]
    try:
        wrong = list(_figure_problems(stated))
    except ValueError as error:
        return None, [Problem(name, f"cannot be priced: {error}")]
    return stated, [Problem(name, what) for what in wrong]


def _figure_problems(stated: Mapping[str, Any]) -> Iterator[str]:
    steps = ledger.Ledger(statement.stated_stretches(stated)).steps
    if steps != stated["critic_steps"]:
        yield f"counts {stated['critic_steps']} critic steps, its mechanisms {steps}"
    figures = statement.repriced(stated)
    for key, value in figures.items():
        if key != "accountant" and not _alike(stated[key], value):
            yield f"states {key} = {stated[key]!r}, its mechanisms give {value!r}"
    yield from _budget_problems(stated, figures["epsilon"])
    if stated["headline"] != statement.headline(stated):
        yield f"has the headline {stated['headline']!r}, its figures give {statement.headline(stated)!r}"
    data_set = stated["data_set"]
    if data_set is not None:
        classes, count = len(data_set["class_names"]), len(stated["label_policy"]["probabilities"])
        if classes != count:
            yield f"names {classes} classes and gives the probabilities of {count}"
    policy = statement.label_policy(stated)
    if policy is not None and policy.kind == "uniform":
        if not _alike(list(policy.probabilities), list(LabelPolicy.uniform(count).probabilities)):
            yield f"calls the label policy uniform, its probabilities are {list(policy.probabilities)}"


def _budget_problems(stated: Mapping[str, Any], epsilon: Optional[float]) -> Iterator[str]:
    budget = stated["budget_epsilon"]
    if budget is None or stated["void_reasons"]:
        return
    if epsilon is None or not epsilon <= budget * (1 + _FIGURE_TOLERANCE):
        yield f"claims that epsilon cannot exceed {budget:g}, its mechanisms give {epsilon!r}"


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=_FIGURE_TOLERANCE)
    return one == other


def _name_problems(file: str, name: str, class_names: Sequence[str]) -> Iterator[Problem]:
    try:
        published_names.check_names(name, class_names)
    except ValueError as error:
        yield Problem(file, f"has a name that should not be published: {error}")


def _leak_problems(folder: pathlib.Path) -> Iterator[Problem]:
    for name in papers.files_of(folder):
        if not (folder / name).is_symlink():
            # The owner signs the sheet.
            words = () if name == papers.SHEET_FILE else leaks.local_names()
            yield from (Problem(name, what) for what in leaks.find(folder / name, words))


def _limited(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The first of each kind, and how many more there were."""
    kinds: dict[str, int] = {}
    for problem in problems:
        kind = re.sub(r"\d+", "#", problem.what)
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] <= _MOST_LISTED:
            yield problem
    for kind, count in kinds.items():
        if count > _MOST_LISTED:
            yield Problem(".", f"{count - _MOST_LISTED} more examples: {kind}")
