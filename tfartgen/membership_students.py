# SPDX-License-Identifier: Apache-2.0
"""Students as targets of membership inference: by their loss, and by a likelihood ratio with shadow models.

Every model is a trial (see `trials`) whose result holds its logits on the candidates, so that all attacks are made of
stored results and nothing is trained twice.
"""

from __future__ import annotations

import dataclasses
import functools
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

#: What an attack gets: logits of the records, their labels, shadow models, and whether these are like the target.
Group = tuple[np.ndarray, np.ndarray, Sequence[Trial], bool]

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
        models = self.shadow_models
        if models != 0 and (not models >= _FEWEST_SHADOWS or models % 2):
            raise ValueError(
                f"--shadow_models={models} must be 0, for no likelihood-ratio attack, or an even number from "
                f"{_FEWEST_SHADOWS} on: each record is in half of them"
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
        self._read: dict[str, np.ndarray] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """JSON-able."""
        student = dataclasses.asdict(self._maker.student(self._config.architecture, 0))
        return {**dataclasses.asdict(self._config), "student": student}

    def trials(self) -> list[Trial]:
        """All models."""
        targets = [self._target(kind) for kind in self._config.kinds]
        return [
            *targets,
            self._control(),
            self._memoriser(),
            *self._shadows(),
            *self._lot_shadows(),
        ]

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
        return self._attack(
            kind, "loss threshold", lambda group: membership.loss_scores(*group[:2])
        )

    def _by_likelihood_ratio(self, kind: str) -> list[dict[str, Any]]:
        """Online where shadow models are like the target; in others, records leave other traces than these know."""
        if not self._config.shadow_models:
            return []

        def scores(group: Group) -> np.ndarray:
            logits, labels, shadows, online = group
            target = membership.confidence_logits(logits, labels)
            outputs = np.stack(
                [membership.confidence_logits(self._logits(each), labels) for each in shadows]
            )
            trained_on = self._halves(len(shadows), len(labels))
            return membership.likelihood_ratio_scores(target, outputs, trained_on, online)

        return [self._attack(kind, "likelihood ratio", scores)]

    def _attack(
        self, kind: str, name: str, scores: Callable[[Group], np.ndarray]
    ) -> dict[str, Any]:
        trial, candidates, online = self._target(kind), self._candidates, kind == "real"
        result, labels, shadows = self._store.result(trial), candidates.records[1], self._shadows()
        control = self._logits(self._control())
        few, lots = self._few
        memorised = scores((self._logits(self._memoriser()), lots[1], self._lot_shadows(), True))
        rates = [rate for rate in candidates.rates if rate * few > 1 - 1e-9]
        return {
            "target": KINDS[kind],
            "name": name,
            "published": kind == "artificial",
            "accuracy": result["accuracy"],
            **{key: result[key] for key in COSTS if key in result},
            "main": candidates.success(scores((self._logits(trial), labels, shadows, online))),
            "control": candidates.success(scores((control, labels, shadows, online))),
            "memorised": membership.success(
                memorised[:few], memorised[few:], rates, seed=candidates.seed
            ),
        }

    def _logits(self, trial: Trial) -> np.ndarray:
        """Of a model on its records: read once, for all attacks."""
        if trial.key not in self._read:
            self._read[trial.key] = unpacked(self._store.result(trial)["logits"])
        return self._read[trial.key]

    @functools.cached_property
    def _few(self) -> tuple[int, Records]:
        """How many, and as many members and non-members with labels drawn by lot, which can be known by heart alone."""
        candidates = self._candidates
        few = min(_MEMORISED, len(candidates.members[1]))
        images = np.concatenate([candidates.members[0][:few], candidates.non_members[0][:few]])
        labels = np.random.default_rng(0).integers(self._num_classes, size=2 * few)
        return few, (images, labels.astype(np.int32))

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
        """A student of records that are none of the candidates, and of the members' population if there are any."""
        return self._plain("control unseen", 1, lambda: self._candidates.unseen)

    def _memoriser(self) -> Trial:
        """A student of a few members, and of labels by lot."""
        few, (images, labels) = self._few
        return self._plain("memoriser", 2, lambda: (images[:few], labels[:few]), by_lot=True)

    def _shadows(self) -> list[Trial]:
        """Students of random halves of all records."""
        return self._of_halves("shadow", 1000, lambda: self._candidates.pool)

    def _lot_shadows(self) -> list[Trial]:
        """Students of random halves of the records whose labels were drawn by lot."""
        return self._of_halves("lot shadow", 2000, lambda: self._few[1], by_lot=True)

    def _of_halves(
        self, role: str, seed: int, pool: Callable[[], Records], by_lot: bool = False
    ) -> list[Trial]:
        models = self._config.shadow_models

        def half(number: int) -> Callable[[], Records]:
            def records() -> Records:
                images, labels = pool()
                chosen = self._halves(models, len(labels))[number]
                return images[chosen], labels[chosen]

            return records

        name = f"{role} of {models}"
        return [self._plain(name, seed + i, half(i), by_lot=by_lot) for i in range(models)]

    def _halves(self, models: int, count: int) -> np.ndarray:
        """Which shadow model sees which record, bool `[models, count]`: each record is in half of them.

        The choice for a record does not depend on how many come after it.
        """
        rng = np.random.default_rng(0)
        return (np.argsort(rng.random([count, models]), axis=1) < models // 2).T

    def _plain(
        self,
        role: str,
        seed: int,
        records: Callable[[], Records],
        settings: Mapping[str, Any] = types.MappingProxyType({}),
        by_lot: bool = False,
    ) -> Trial:
        config = self._maker.student(self._config.architecture, seed)

        def train() -> tuple[tf.keras.Model, dict[str, Any]]:
            images, labels = records()
            return students.train_student(images, labels, self._num_classes, config), {}

        return self._trial(role, config, settings, train, by_lot)

    def _trial(
        self,
        role: str,
        config: Any,
        settings: Mapping[str, Any],
        train: Callable[[], tuple[tf.keras.Model, dict[str, Any]]],
        by_lot: bool = False,
    ) -> Trial:
        """A model, and its logits on the candidates, or on those whose labels were drawn by lot."""
        known = {
            "candidates": self._candidates.digest,
            "role": role,
            "student": dataclasses.asdict(config),
            **settings,
        }

        def compute() -> dict[str, Any]:
            student, facts = train()
            shown = self._few[1][0] if by_lot else self._candidates.records[0]
            outputs = students.logits(student, shown).astype(np.float32)
            others = self._candidates.non_members
            return {
                **facts,
                "logits": packed(outputs),
                "accuracy": students.accuracy(student, *others),
            }

        return Trial("membership", known, compute)
