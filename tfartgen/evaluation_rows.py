# SPDX-License-Identifier: Apache-2.0
"""Rows of an evaluation's tables: the trials of their seeds, and their summary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy as np

from tfartgen import classification, pate
from tfartgen.classification import Outcome
from tfartgen.dp_students import DPStudentConfig
from tfartgen.evaluation_config import Budget, EvaluationConfig
from tfartgen.evaluation_data import EvaluationData
from tfartgen.pate import PateConfig
from tfartgen.released_data import ReleasedData
from tfartgen.student_trials import COSTS, StudentTrials
from tfartgen.students import StudentConfig
from tfartgen.trials import Trial, TrialStore

#: What a row says of private training.
_FACTS = (*COSTS, "vote_noise", "num_teachers")

#: What differs from seed to seed: seconds of a student, and of the teachers before it.
_TIMES = ("seconds", "teacher_seconds")


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """Students of one kind.

    Attributes:
      method: one of `evaluation_config.METHODS`, or 'pool'.
      architecture: of the students.
      trials: one for each seed.
      release: what they trained on, where it was artificial.
    """

    method: str
    architecture: str
    trials: list[Trial]
    release: Optional[str] = None

    def summary(self, store: TrialStore) -> dict[str, Any]:
        """The row of the document, from results that are stored or computed now."""
        results = [store.result(trial) for trial in self.trials]
        outcomes = [Outcome.from_json(result["outcome"]) for result in results]
        total = sum(outcomes[1:], outcomes[0])
        accuracies = [outcome.accuracy for outcome in outcomes]
        return {
            "method": self.method,
            "release": self.release,
            "architecture": self.architecture,
            "num_examples": results[0]["num_examples"],
            **{key: results[0][key] for key in _FACTS if key in results[0]},
            "accuracies": accuracies,
            "accuracy": interval(accuracies),
            "macro_recall": interval([outcome.macro_recall for outcome in outcomes]),
            "recalls": [None if math.isnan(each) else each for each in total.recalls.tolist()],
            "calibration_error": interval([outcome.calibration_error for outcome in outcomes]),
            "diverged": sum(result["diverged"] for result in results),
            **{key: [result[key] for result in results] for key in _TIMES if key in results[0]},
            "outcome": total.as_json(),
        }


def interval(values: Sequence[float]) -> dict[str, Any]:
    """`classification.mean_interval`, JSON-able."""
    return dataclasses.asdict(classification.mean_interval(values))


class RowMaker:
    """Makes the rows of one data set, its releases and one configuration."""

    def __init__(
        self,
        data: EvaluationData,
        releases: Sequence[ReleasedData],
        config: EvaluationConfig,
        budget: Budget,
        store: TrialStore,
    ):
        """Plans; nothing is computed before a row is summarised.

        Args:
          data: the real data.
          releases: to compare; may be none.
          config: what to compare.
          budget: of the private baselines.
          store: of results.
        """
        self._data, self._releases, self._config = data, list(releases), config
        self._budget, self._store = budget, store
        self._trials = StudentTrials(data)

    @property
    def equal_count(self) -> int:
        """Examples that students of each release see: as many as there are real records, or fewer."""
        lengths = [len(release.labels) for release in self._releases]
        return min([len(self._data.train[1]), *lengths])

    @property
    def dp_batch_size(self) -> int:
        """Expected batch of DP-SGD."""
        return self._config.dp_batch_size or min(1024, max(1, len(self._data.train[1]) // 4))

    def pate_config(self, seed: int) -> PateConfig:
        """Teachers, queries and budget of PATE.

        Raises:
          ValueError: more teachers than records, or no public images to ask about.
        """
        records, public = len(self._data.train[1]), len(self._data.public)
        teachers = self._config.num_teachers or pate.default_teachers(records)
        pate.check_teachers(teachers, records)
        needed = public_needed(self._config, self._data)
        if needed > public:
            raise ValueError(
                f"PATE needs {needed} public images and has {public}; raise --public_fraction, lower --num_queries, or "
                "leave pate out of --methods"
            )
        epsilon, delta = self._budget.epsilon, self._budget.delta
        queries = self._config.num_queries or pate.default_queries(
            epsilon, delta, teachers, self._data.num_classes, public
        )
        return PateConfig(epsilon, delta, teachers, queries, seed=seed)

    def student(self, architecture: str, seed: int) -> StudentConfig:
        """How a student trains."""
        return dataclasses.replace(self._config.student, architecture=architecture, seed=seed)

    def dp_student(self, architecture: str, seed: int) -> DPStudentConfig:
        """How a student trains under DP-SGD."""
        return DPStudentConfig(
            epsilon=self._budget.epsilon,
            delta=self._budget.delta,
            batch_size=self.dp_batch_size,
            steps=self._config.dp_steps,
            architecture=architecture,
            learning_rate=self._config.dp_learning_rate,
            seed=seed,
        )

    def pate_labels(self) -> list[Trial]:
        """The labelling of each seed, which the students of all architectures share."""
        return [self._trials.pate_labels(self.pate_config(seed)) for seed in self.seeds]

    @property
    def seeds(self) -> range:
        """Of the students."""
        return range(self._config.seeds)

    def rows(self, method: str, architecture: str) -> list[Row]:
        """The rows of a method: one, or one for each release and one for their pool."""
        if method == "artificial":
            return self._artificial(architecture)
        make = {"real": self._real, "dp_sgd": self._dp_sgd, "pate": self._pate}[method]
        return [Row(method, architecture, [make(architecture, seed) for seed in self.seeds])]

    def artificial(
        self, releases: Sequence[ReleasedData], count: int, architecture: str, method: str
    ) -> Row:
        """Students of `count` examples of releases."""
        trials = [
            self._trials.artificial(releases, count, self.student(architecture, seed))
            for seed in self.seeds
        ]
        return Row(method, architecture, trials, " + ".join(each.folder for each in releases))

    def _artificial(self, architecture: str) -> list[Row]:
        groups = [("artificial", [release]) for release in self._releases]
        if len(self._releases) > 1:
            groups.append(("pool", self._releases))
        return [
            self.artificial(group, self.equal_count, architecture, method)
            for method, group in groups
        ]

    def _real(self, architecture: str, seed: int) -> Trial:
        return self._trials.real(self.student(architecture, seed))

    def _dp_sgd(self, architecture: str, seed: int) -> Trial:
        return self._trials.dp_sgd(self.dp_student(architecture, seed))

    def _pate(self, architecture: str, seed: int) -> Trial:
        labelled = self._trials.pate_labels(self.pate_config(seed))
        return self._trials.pate(self._store, labelled, self.student(architecture, seed))


def curve_counts(available: int, num_classes: int, points: int = 5) -> tuple[int, ...]:
    """Numbers of examples that grow by a constant factor, from ten a class to all."""
    least = min(available, 10 * num_classes)
    return tuple(sorted({round(n) for n in np.geomspace(least, available, points)}))


def trials_of(rows: Iterable[Row]) -> list[Trial]:
    """The trials of all rows."""
    return [trial for row in rows for trial in row.trials]


def public_needed(config: EvaluationConfig, data: EvaluationData) -> int:
    """Public images that PATE needs at least: as many as are asked for, or one for each class."""
    return config.num_queries or data.num_classes
