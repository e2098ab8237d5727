# SPDX-License-Identifier: Apache-2.0
"""Students as targets of membership inference: by their loss, and by a likelihood ratio with shadow models.

Every model is a trial (see `trials`) whose result holds its logits on the candidates, so that all attacks are made of
stored results and nothing is trained twice.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfartgen import _validate, dp_students, membership, student_trials, students
from tfartgen.evaluation_data import Records, interleaved
from tfartgen.evaluation_rows import RowMaker
from tfartgen.packed_arrays import packed, unpacked
from tfartgen.released_data import ReleasedData
from tfartgen.student_trials import COSTS
from tfartgen.trials import Trial, TrialStore

#: What a student was trained on, and how tables and figures call it.
KINDS = {
    "real": "student of real data",
    "artificial": "student of artificial data",
    "dp_sgd": "student of DP-SGD",
}

#: From logits of the candidates, their labels, and whether shadow models are like the target, to scores.
Scores = Callable[[np.ndarray, np.ndarray, bool], np.ndarray]

#: Records of the student that memorises.
_MEMORISED = 500
#: Fewest shadow models: each record should have two with it and two without.
_FEWEST_SHADOWS = 8


@dataclasses.dataclass(frozen=True)
class StudentAttackConfig:
    """Which students are attacked.

    Attributes:
      kinds: some of `KINDS`.
      architecture: of all of them.
      shadow_models: of the likelihood ratio; 0 for none of it.
    """

    kinds: tuple[str, ...]
    architecture: str = "mlp"
    shadow_models: int = 16

    def __post_init__(self) -> None:
        for kind in self.kinds:
            _validate.one_of("--students", kind, KINDS)
        if self.shadow_models != 0 and not self.shadow_models >= _FEWEST_SHADOWS:
            raise ValueError(
                f"--shadow_models={self.shadow_models} must be 0, for no likelihood-ratio attack, or at least "
                f"{_FEWEST_SHADOWS}"
            )


class StudentAttacks:
    """Attacks on the students of one set of candidates."""

    def __init__(
        self,
        candidates: Any,
        num_classes: int,
        releases: Sequence[ReleasedData],
        maker: RowMaker,
        config: StudentAttackConfig,
        store: TrialStore,
    ):
        """Plans; nothing is trained yet.

        Args:
          candidates: a `membership_study.Candidates`.
          num_classes: number of labels.
          releases: for the student of artificial data; may be none.
          maker: says how students train, and with which budget.
          config: which students.
          store: of results.
        """
        self._candidates, self._num_classes = candidates, num_classes
        self._releases, self._maker = list(releases), maker
        self._config, self._store = config, store

    @property
    def settings(self) -> dict[str, Any]:
        """JSON-able."""
        student = dataclasses.asdict(self._maker.student(self._config.architecture, 0))
        return {**dataclasses.asdict(self._config), "student": student}

    def trials(self) -> list[Trial]:
        """All models."""
        targets = [self._target(kind) for kind in self._config.kinds]
        return [*targets, self._control(), self._memoriser(), *self._shadows()]

    def run(self, progress: Callable[[int], object] = lambda count: None) -> list[dict[str, Any]]:
        """Trains what is not stored yet, and attacks it.

        Args:
          progress: called with 1 after each of `trials()`.
        """
        for trial in self.trials():
            self._store.result(trial)
            progress(1)
        return [
            attack
            for kind in self._config.kinds
            for attack in (self._by_loss(kind), *self._by_likelihood_ratio(kind))
        ]

    def _by_loss(self, kind: str) -> dict[str, Any]:
        def scores(outputs: np.ndarray, labels: np.ndarray, online: bool) -> np.ndarray:
            del online  # no shadow models
            return membership.loss_scores(outputs, labels)

        return self._attack(kind, "loss threshold", scores)

    def _by_likelihood_ratio(self, kind: str) -> list[dict[str, Any]]:
        if not self._config.shadow_models:
            return []
        shadows = [self._logits(trial) for trial in self._shadows()]
        trained_on = self._trained_on()[:, : len(self._candidates.records[1])]

        def scores(outputs: np.ndarray, labels: np.ndarray, online: bool) -> np.ndarray:
            target = membership.confidence_logits(outputs, labels)
            others = np.stack([membership.confidence_logits(each, labels) for each in shadows])
            return membership.likelihood_ratio_scores(target, others, trained_on, online)

        return [self._attack(kind, "likelihood ratio", scores)]

    def _attack(self, kind: str, name: str, scores: Scores) -> dict[str, Any]:
        """Online on a student like the shadow models; in others, records leave other traces than shadow models know."""
        trial, candidates = self._target(kind), self._candidates
        result, labels, online = self._store.result(trial), candidates.records[1], kind == "real"
        few, count = self._num_memorised, len(candidates.members[1])
        memorised = scores(self._logits(self._memoriser()), self._drawn_labels, False)
        return {
            "target": KINDS[kind],
            "name": name,
            "published": kind == "artificial",
            "accuracy": result["accuracy"],
            **{key: result[key] for key in COSTS if key in result},
            "main": candidates.success(scores(self._logits(trial), labels, online)),
            "control": candidates.success(scores(self._logits(self._control()), labels, online)),
            "memorised": membership.success(memorised[:few], memorised[count:], candidates.rates),
        }

    def _logits(self, trial: Trial) -> np.ndarray:
        return unpacked(self._store.result(trial)["logits"])

    @property
    def _num_memorised(self) -> int:
        return min(_MEMORISED, len(self._candidates.members[1]))

    def _target(self, kind: str) -> Trial:
        """The student that is asked about."""
        if kind == "dp_sgd":
            return self._dp_target()
        if kind == "real":
            return self._plain(kind, 0, lambda: self._candidates.train)
        count = self._maker.equal_count
        settings = {"releases": [r.digest for r in self._releases], "num_examples": count}
        return self._plain(kind, 0, lambda: interleaved(self._releases, count), settings)

    def _dp_target(self) -> Trial:
        config = self._maker.dp_student(self._config.architecture, 0)

        def train() -> tuple[tf.keras.Model, dict[str, Any]]:
            student, stretch = dp_students.train_dp_student(
                self._candidates.train_split, self._num_classes, config
            )
            return student, student_trials.cost(stretch, config.delta)

        return self._trial("dp_sgd", config, {}, train)

    def _control(self) -> Trial:
        """A student of the references, which are none of the candidates."""
        return self._plain("control", 1, lambda: self._candidates.references)

    def _memoriser(self) -> Trial:
        """A student of a few members and of labels drawn by lot, which can be known by heart alone."""
        few = self._num_memorised
        images = self._candidates.members[0]
        return self._plain("memoriser", 2, lambda: (images[:few], self._drawn_labels[:few]))

    @property
    def _drawn_labels(self) -> np.ndarray:
        """A label by lot for each candidate."""
        count = len(self._candidates.records[1])
        return np.random.default_rng(0).integers(self._num_classes, size=count).astype(np.int32)

    def _shadows(self) -> list[Trial]:
        """Students of random halves of all records."""
        return [
            self._plain(f"shadow of {self._config.shadow_models}", 1000 + i, self._half(i))
            for i in range(self._config.shadow_models)
        ]

    def _half(self, number: int) -> Callable[[], Records]:
        def records() -> Records:
            images, labels = self._candidates.pool
            chosen = self._trained_on()[number]
            return images[chosen], labels[chosen]

        return records

    def _trained_on(self) -> np.ndarray:
        """Which shadow model sees which record of the pool, bool `[models, records]`: each record is in half of them."""
        models, count = self._config.shadow_models, len(self._candidates.pool[1])
        rng = np.random.default_rng(0)
        order = np.argsort(rng.random([models, count]), axis=0)
        return order < models // 2

    def _plain(
        self,
        role: str,
        seed: int,
        records: Callable[[], Records],
        settings: Mapping[str, Any] = types.MappingProxyType({}),
    ) -> Trial:
        config = self._maker.student(self._config.architecture, seed)

        def train() -> tuple[tf.keras.Model, dict[str, Any]]:
            images, labels = records()
            return students.train_student(images, labels, self._num_classes, config), {}

        return self._trial(role, config, settings, train)

    def _trial(
        self,
        role: str,
        config: Any,
        settings: Mapping[str, Any],
        train: Callable[[], tuple[tf.keras.Model, dict[str, Any]]],
    ) -> Trial:
        known = {
            "candidates": self._candidates.digest,
            "role": role,
            "student": dataclasses.asdict(config),
            **settings,
        }

        def compute() -> dict[str, Any]:
            student, facts = train()
            outputs = students.logits(student, self._candidates.records[0]).astype(np.float32)
            others = self._candidates.non_members
            return {
                **facts,
                "logits": packed(outputs),
                "accuracy": students.accuracy(student, *others),
            }

        return Trial("membership", known, compute)
