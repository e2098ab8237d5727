# SPDX-License-Identifier: Apache-2.0
"""Cuts a labelled data set into disjoint parts for several owners, to study what pooling gains.

    owner1.npz, owner2.npz, ...   a part each, read by `bin/train --dataset=FOLDER/owner1.npz`
    partition.json                what was done, with the number of records per owner and class

All of it is private: the parts hold the records as they are, and the counts are exact. A privacy statement
about the release of one owner speaks of the records of that owner, with the parts as they are. It does not
speak of the cutting, in which a record that is added moves others from one owner to another.

For each class, the owners' shares are one draw from a symmetric Dirichlet distribution (Yurochkin et al. 2019,
arXiv 1905.12022). Its concentration is the alpha of Hsu, Qi and Brown 2019 (arXiv 1909.06335),
who draw a mixture of classes for each owner instead, so that owners have equally many records there, not here.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
import os
import pathlib
import shlex
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from tfartgen import _validate, npz_files, output_folder
from tfartgen.npz_files import Records

if TYPE_CHECKING:  # settings are checked before TensorFlow is imported
    from tfartgen.data import PrivateData

#: Least records of each class that an owner gets, by split: what is left of a class can be trained and tested on.
MINIMUM = {"train": 2, "test": 1}

#: Skews beyond these would differ from 0, or from all records to one owner, by rounding alone.
_SKEWS = 1e-6, 1e6

#: Streams of random numbers: what is drawn from one changes no other.
_STREAMS = ("shares", "train", "test")

#: Of the table: columns of the page, of an owner's name and of a class's, and rows.
_WIDTH, _OWNER_WIDTH, _CLASS_WIDTH, _SHOWN_OWNERS = 79, 9, 12, 20


@dataclasses.dataclass(frozen=True)
class PartitionConfig:
    """How to cut.

    Attributes:
      owners: number of parts, at least 2.
      skew: 0 for even shares of each class; above 0 the shares are Dirichlet of concentration 1 / skew, so that
        more is more uneven. At 1 all shares are equally likely; at 10 one of few owners has most of a class, as a rule.
      seed: fixes the shares and who gets which record.
    """

    owners: int
    skew: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (_is_whole(self.owners) and self.owners >= 2):
            raise ValueError(f"--owners must be a whole number of 2 or more, got {self.owners!r}")
        _validate.non_negative("--skew", self.skew)
        least, most = _SKEWS
        if self.skew and not least <= self.skew <= most:
            raise ValueError(f"--skew must be 0 or from {least:g} to {most:g}, got {self.skew!r}")
        if not (_is_whole(self.seed) and self.seed >= 0):
            raise ValueError(f"--seed must be a whole number of 0 or more, got {self.seed!r}")

    @property
    def concentration(self) -> Optional[float]:
        """Of the Dirichlet distribution of the shares; None for even shares."""
        return 1 / self.skew if self.skew else None


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """A data set that was cut.

    Attributes:
      dataset: its name.
      config: how it was cut.
      class_names: name of each label.
      train_counts: records to train on, integers `[owners, classes]`.
      test_counts: records held out, the same.
    """

    dataset: str
    config: PartitionConfig
    class_names: tuple[str, ...]
    train_counts: np.ndarray
    test_counts: np.ndarray


def draw_shares(num_classes: int, config: PartitionConfig) -> np.ndarray:
    """Owners' shares of each class, float64 `[classes, owners]`; each row sums to 1."""
    if config.concentration is None:
        return np.full((num_classes, config.owners), 1 / config.owners)
    alpha = np.full(config.owners, config.concentration)
    return _generator(config, "shares").dirichlet(alpha, num_classes)


def apportion(class_counts: np.ndarray, shares: np.ndarray, minimum: int) -> np.ndarray:
    """Whole numbers of records by shares: the minimum to everyone, and the rest by largest remainder.

    Of equal remainders the owner's comes first who has fewest records so far. So even shares give even classes
    and even totals, each within one record.

    Args:
      class_counts: integers `[classes]`, each at least `minimum` times the owners.
      shares: `[classes, owners]`, rows sum to 1.
      minimum: of each class to each owner.

    Returns:
      Integers `[classes, owners]` whose rows sum to `class_counts`.
    """
    counts = np.full(shares.shape, minimum, np.int64)
    for label, count in enumerate(class_counts):
        rest = int(count) - minimum * shares.shape[1]
        ideal = rest * shares[label]
        whole = np.floor(ideal).astype(np.int64)
        first = np.lexsort((counts[:label].sum(axis=0), whole - ideal))
        whole[first[: rest - whole.sum()]] += 1
        counts[label] += whole
    return counts


def partition_labels(
    labels: np.ndarray,
    num_classes: int,
    config: PartitionConfig,
    split: str = "train",
    class_names: Optional[Sequence[str]] = None,
) -> list[np.ndarray]:
    """Gives every record of a split to one owner.

    Args:
      labels: integers `[n]`, 0 to `num_classes` - 1.
      num_classes: number of classes.
      config: owners, skew and seed. The shares of the classes are the same for both splits.
      split: 'train' or 'test'; an owner gets at least `MINIMUM` of it records of each class.
      class_names: for messages; the labels if not given.

    Returns:
      One array of ascending positions per owner. They are disjoint, and together they are all of 0 to n - 1.

    Raises:
      ValueError: a class has too few records for so many owners, or a label is out of range.
    """
    minimum = MINIMUM[_validate.one_of("split", split, tuple(MINIMUM))]
    labels = _checked_labels(labels, num_classes)
    class_counts = np.bincount(labels, minlength=num_classes)
    _check_enough(class_counts, config.owners, split, class_names or range(num_classes))
    counts = apportion(class_counts, draw_shares(num_classes, config), minimum)
    generator = _generator(config, split)
    owner_of = np.empty(len(labels), np.int64)
    for label in range(num_classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        owner_of[members] = np.repeat(np.arange(config.owners), counts[label])
    return [np.flatnonzero(owner_of == owner) for owner in range(config.owners)]


def write(
    private_data: PrivateData, config: PartitionConfig, output: Union[str, os.PathLike[str]]
) -> Partition:
    """Cuts a data set and writes the parts, under their final name all at once.

    The parts to train on come from the records to train on, the parts held out from those held out. The same
    data, settings and release of NumPy give the same bytes. While it works there is a hidden folder beside the
    output, `.NAME.parts`, which one process holds; what a killed one leaves in it goes with the next attempt.

    Args:
      private_data: what to cut; images are written as training would see them, resized ones resized.
      config: how.
      output: folder to make; must not exist.

    Returns:
      What was done.

    Raises:
      ValueError: the output exists or another process writes it, or a class has too few records.
      OSError: no space, or no permission; nothing is left behind.
    """
    output = pathlib.Path(os.path.abspath(os.path.expanduser(output)))
    _check_output(output)
    splits = {"train": private_data.train.arrays(), "test": private_data.held_out.arrays()}
    names = private_data.class_names
    owned = _owned(splits, names, config)
    train_counts, test_counts = (
        np.stack([np.bincount(labels[part], minlength=len(names)) for part in owned[split]])
        for split, (_, labels) in splits.items()
    )
    result = Partition(private_data.name, config, names, train_counts, test_counts)
    with output_folder.work_folder(output) as work:
        assembled = work / "assembled"
        assembled.mkdir()
        for owner, positions in enumerate(zip(owned["train"], owned["test"])):
            parts = [(x[part], y[part]) for (x, y), part in zip(splits.values(), positions)]
            _write_part(assembled / f"{_name_of(owner)}.npz", names, *parts)
        description = json.dumps(_described(result), indent=2) + "\n"
        (assembled / "partition.json").write_text(description, encoding="utf-8")
        output_folder.flush_to_disk(assembled)
        _check_output(output)
        # Unlike `output_folder.publish`, fails on files that somebody put there in between.
        os.rename(assembled, output)
        shutil.rmtree(work)
    return result


def summarize(result: Partition, output: str) -> str:
    """The last lines of `bin/partition`: a table of at most 80 columns, and what to run next.

    Args:
      result: what was done.
      output: its folder, as the person gave it.
    """
    config = result.config
    shares = "even" if not config.skew else f"Dirichlet of concentration {config.concentration:.4g}"
    records = int(result.train_counts.sum() + result.test_counts.sum())
    part = f"{output}/{_name_of(0)}.npz"
    return "\n".join(
        [
            f"Cut:       {records:,} records of {result.dataset} into {config.owners:,} parts",
            f"Shares:    {shares} (skew {config.skew:g}, seed {config.seed})",
            "",
            "Records of each owner, and of each class those to train on:",
            *_table(result),
            "",
            f"Written:   {output} (all counts are in partition.json)",
            "Privacy:   PRIVATE. The parts hold the records as they are: publish none of it",
            f"Next:      bin/train --dataset={shlex.quote(part)} --name={_name_of(0)}",
        ]
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _generator(config: PartitionConfig, stream: str) -> np.random.Generator:
    key = (_STREAMS.index(stream),)
    return np.random.default_rng(np.random.SeedSequence(int(config.seed), spawn_key=key))


def _checked_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers [n], got {labels.dtype} of shape {labels.shape}")
    for wrong in labels[(labels < 0) | (labels >= num_classes)]:
        raise ValueError(f"labels must be 0 to {num_classes - 1}, got {wrong}")
    return labels


def _owned(
    splits: dict[str, Records], class_names: tuple[str, ...], config: PartitionConfig
) -> dict[str, list[np.ndarray]]:
    """Positions of every owner's records in each split."""

    def most_owners(split: str) -> int:
        return int(np.bincount(splits[split][1], minlength=num_classes).min()) // MINIMUM[split]

    num_classes = len(class_names)
    return {
        split: partition_labels(splits[split][1], num_classes, config, split, class_names)
        # The scarcer one first: the number of owners that its message names suits both.
        for split in sorted(splits, key=most_owners)
    }


def _check_enough(
    class_counts: np.ndarray, owners: int, split: str, class_names: Sequence[object]
) -> None:
    least = int(class_counts.argmin())
    count, each = int(class_counts[least]), MINIMUM[split]
    if count >= each * owners:
        return
    purpose = {"train": "to train on", "test": "held out"}[split]
    most = count // each
    remedy = f"give --owners={most} or fewer" if most >= 2 else "add records or drop the class"
    raise ValueError(
        f"--owners={owners} is too many: class {class_names[least]} has {count} record(s) {purpose} and "
        f"{each * owners} are needed, {each} per owner; {remedy}"
    )


def _check_output(output: pathlib.Path) -> None:
    if os.path.lexists(output):
        raise ValueError(f"--output={output} exists; give another, or remove it first")


def _write_part(
    path: pathlib.Path, class_names: tuple[str, ...], train: Records, test: Records
) -> None:
    """Writes what `npz_files.read` reads; NumPy dates each entry to 1980, so same arrays give same bytes."""
    arrays = (*train, np.array(class_names), *test)
    np.savez_compressed(path, **dict(zip(npz_files.KEYS, arrays)))


def _name_of(owner: int) -> str:
    return f"owner{owner + 1}"


def _described(result: Partition) -> dict[str, Any]:
    """Content of partition.json; no path is in it."""
    parts = [
        {
            "file": f"{_name_of(owner)}.npz",
            "train": dict(zip(result.class_names, train.tolist())),
            "test": dict(zip(result.class_names, test.tolist())),
        }
        for owner, (train, test) in enumerate(zip(result.train_counts, result.test_counts))
    ]
    return {
        "privacy": "PRIVATE: exact counts of private records; do not publish",
        "dataset": result.dataset,
        "owners": int(result.config.owners),
        "skew": float(result.config.skew),
        "concentration": result.config.concentration,
        "seed": int(result.config.seed),
        "class_names": list(result.class_names),
        "parts": parts,
    }


def _table(result: Partition) -> list[str]:
    """Owners as rows; totals, then as many classes as fit in the width."""
    shown = result.train_counts[:_SHOWN_OWNERS]
    held_out = result.test_counts[:_SHOWN_OWNERS]
    names = [_name_of(owner).ljust(_OWNER_WIDTH) for owner in range(len(shown))]
    lines = [" " * _OWNER_WIDTH, *names]
    columns = [("train", shown.sum(axis=1)), ("held out", held_out.sum(axis=1))]
    columns += [(_shortened(name), counts) for name, counts in zip(result.class_names, shown.T)]
    for heading, counts in columns:
        cells = [heading, *(f"{count:,}" for count in counts)]
        width = 2 + max(map(len, cells))
        if len(lines[1]) + width > _WIDTH - len(" ..."):
            lines[0] += " ..."
            break
        lines = [line + cell.rjust(width) for line, cell in zip(lines, cells)]
    more = len(result.train_counts) - len(shown)
    return [*lines, f"... and {more:,} more"] if more else lines


def _shortened(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= _CLASS_WIDTH else f"{printable[: _CLASS_WIDTH - 1]}~"
