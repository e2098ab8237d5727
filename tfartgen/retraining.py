# SPDX-License-Identifier: Apache-2.0
"""The gold standard of the estimate, for small data: generators really retrained without each of some records.

Each generator starts from the same weights and takes the same latents, but fresh noise and fresh batches, so two of them
differ even where the data is the same. How much is measured on generators of all records, the baselines: the
divergence between two of them is the floor, and the loss of a record is what the divergence between a baseline and
the generator without it has above the floor.

The folder of the study is private, as a run's is: no statement prices these trainings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import _validate, environment, estimation, train_config
from tfartgen.data import PrivateData, Split
from tfartgen.retrained_generators import (
    Draw,
    Job,
    default_processes,
    in_processes,
    train_and_draw,
)
from tfartgen.retraining_losses import above_floor, compare

__all__ = ["RetrainConfig", "Retraining", "choose_records", "compare"]

SCHEMA = "tfartgen.retraining/1"


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """What is retrained.

    Attributes:
      num_records: records that are left out, one at a time.
      num_examples: drawn from each generator.
      repeats: baselines, generators of all records.
      train_settings: fields of `TrainConfig` that are not at their defaults.
      processes: trainings at a time; None for as many as cores and memory allow.
      seed: of the choice of records, and of what is drawn; weights and latents follow the seed of `train_settings`.
      k: which neighbour `estimation.kl_divergence` takes.
    """

    num_records: int
    num_examples: int = 5000
    repeats: int = 3
    train_settings: tuple[tuple[str, Any], ...] = ()
    processes: Optional[int] = None
    seed: int = 0
    k: int = 5

    def __post_init__(self) -> None:
        for name in ("num_records", "num_examples", "repeats", "k"):
            _validate.positive_int(f"--{name}", getattr(self, name))
        _validate.non_negative("--seed", self.seed)
        if self.processes is not None:
            _validate.positive_int("--processes", self.processes)
        if self.num_records < 3:
            raise ValueError(
                f"--num_records must be at least 3, for their spread to be seen, got {self.num_records}"
            )
        if self.repeats < 2:
            raise ValueError(
                f"--repeats must be at least 2, for the floor to be known, got {self.repeats}"
            )
        if self.num_examples < self.k + 1:
            raise ValueError(
                f"--num_examples must be at least k + 1 = {self.k + 1}, got {self.num_examples}; draw more or lower --k"
            )

    @classmethod
    def parse(cls, train_settings: Sequence[str], **fields: Any) -> RetrainConfig:
        """Reads settings `steps=500` as `bin/evaluate --sweep` does.

        Raises:
          ValueError: they are nothing of the kind.
        """
        parsed = tuple(train_config.parse_setting(text) for text in train_settings)
        return cls(train_settings=parsed, **fields)


def choose_records(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Random records, every class in turn: the first of more are the same as fewer.

    Args:
      labels: integers `[n]`.
      count: how many.
      seed: decides which.

    Returns:
      Positions, `[count]`.

    Raises:
      ValueError: there are fewer.
    """
    if count > len(labels):
        raise ValueError(
            f"--num_records must be at most the {len(labels)} training records, got {count}"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        turn[members] = np.arange(len(members))
    return shuffled[np.argsort(turn, kind="stable")[:count]]


class Retraining:
    """Generators with and without each of some records, and the divergence between them."""

    def __init__(
        self,
        private: PrivateData,
        config: RetrainConfig,
        folder: pathlib.Path,
        embed: Callable[[np.ndarray], np.ndarray],
        train: Callable[[Job], Draw] = train_and_draw,
    ):
        """Plans; nothing is trained yet.

        Args:
          private: its training split is what is retrained on, and must fit in memory.
          config: what is retrained.
          folder: private, of this study; one that was stopped goes on in it.
          embed: uint8 `[n, height, width, channels]` to features `[n, d]`.
          train: makes a generator and draws; a function of a module, for it goes to other processes.

        Raises:
          ValueError: more records than there are, or train settings out of range.
        """
        self._config, self._folder, self._embed = config, pathlib.Path(folder), embed
        self._private, self._train = private, train
        self._images, self._labels = private.train.arrays()
        #: Positions in the training split of the records that are left out, in the order of the losses.
        self.records = choose_records(self._labels, config.num_records, config.seed)
        # Of the smaller data, whose records must fill a batch as well; all generators have the same settings.
        smaller = Split.from_arrays(self._images[1:], self._labels[1:])
        settings = dict(config.train_settings)
        resolved = train_config.configure(dataclasses.replace(private, train=smaller), **settings)
        self._settings = dataclasses.asdict(resolved)
        self._digest = _digest(self._images, self._labels, private.class_names)
        self._baselines = [self._job(number, None) for number in range(config.repeats)]
        self._without = [self._job(0, int(record)) for record in self.records]

    def run(self, progress: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
        """Trains what is not on file, and compares.

        Args:
          progress: called with a line for people at the start, and whenever a generator is done.

        Returns:
          The document, JSON-able.

        Raises:
          KeyboardInterrupt: the trainings were stopped; they are saved.
          ValueError: a generator cannot be trained, or is of no use.
          OSError: a file cannot be written, or a training ended without a word.
        """
        jobs = [*self._baselines, *self._without]
        to_do = [job for job in jobs if not job.finished]
        processes = min(self._config.processes or default_processes(), max(1, len(to_do)))
        progress(f"{len(to_do)} of {len(jobs)} generators to train, {processes} at a time")
        numbers = iter(range(len(jobs) - len(to_do) + 1, len(jobs) + 1))
        in_processes(
            to_do,
            self._train,
            processes,
            lambda job: progress(f"{next(numbers)} of {len(jobs)} generators: {job.name}"),
        )
        progress("divergences")
        return self._document()

    def baseline_model(self, number: int = 0) -> pathlib.Path:
        """Folder of the versions of a baseline generator, for `LocalModel`, once it is trained."""
        return self._baselines[number].training_folder / "model"

    def baseline_draw(self, number: int = 0) -> Draw:
        """What was drawn from a baseline generator, once it is trained: images and labels, as `Job.drawn`.

        Raises:
          ValueError: the file is not what was written.
        """
        return self._baselines[number].drawn()

    def _job(self, repeat: int, record: Optional[int]) -> Job:
        left = slice(None) if record is None else np.arange(len(self._labels)) != record
        # Draws must be independent: with common latents, examples of two generators come in pairs.
        stream = [self._config.seed, repeat, 0 if record is None else record + 1]
        seed = int(np.random.SeedSequence(stream).generate_state(1, np.uint64)[0])
        return Job(
            f"all records, time {repeat + 1}" if record is None else f"without record {record}",
            self._folder,
            self._private.name,
            tuple(self._private.class_names),
            self._images[left],
            self._labels[left],
            self._settings,
            {"num_examples": self._config.num_examples, "seed": seed},
            {"data": self._digest, "record": record, "repeat": repeat},
        )

    def _document(self) -> dict[str, Any]:
        baselines = [self._embed(job.drawn()[0]) for job in self._baselines]
        between = np.full([len(baselines)] * 2, np.nan)
        for i, j in zip(*np.nonzero(~np.eye(len(baselines), dtype=bool))):
            between[i, j] = estimation.kl_divergence(baselines[i], baselines[j], self._config.k)
        without = np.empty([len(baselines), len(self._without)])
        for j, job in enumerate(self._without):
            features = self._embed(job.drawn()[0])
            for i, baseline in enumerate(baselines):
                without[i, j] = estimation.kl_divergence(baseline, features, self._config.k)
        return {
            "schema": SCHEMA,
            **environment.describe(),
            "dataset": {
                "name": self._private.name,
                "class_names": list(self._private.class_names),
                "num_train": len(self._labels),
                "digest": self._digest,
            },
            "settings": {"retrain": dataclasses.asdict(self._config), "train": self._settings},
            "dimensions": int(baselines[0].shape[1]),
            "records": [
                {"record": int(record), "label": int(self._labels[record])}
                for record in self.records
            ],
            **above_floor(between, without),
        }


def _digest(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> str:
    digest = hashlib.sha256(repr((tuple(class_names), images.shape)).encode())
    for array in (images, labels):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
