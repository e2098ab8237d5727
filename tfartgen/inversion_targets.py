# SPDX-License-Identifier: Apache-2.0
"""Targets of model inversion, trained and attacked: students as others would train them, and two that know nothing.

One trial trains a target and runs every attack on it. Its result is JSON-able: `outcome`, `diverged`, what private
training cost, `train_seconds`, and for each attack `images`, `confidence`, `steps`, `seconds`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from tfartgen import dp_students, student_trials, students
from tfartgen.data import to_uint8
from tfartgen.evaluation_data import EvaluationData, interleaved
from tfartgen.evaluation_rows import RowMaker
from tfartgen.inversion import InversionConfig, invert
from tfartgen.packed_arrays import packed
from tfartgen.released_data import ReleasedData
from tfartgen.trials import Trial

#: What a target was trained on, in the order of tables.
KINDS = ("real", "artificial", "dp_sgd")

#: Targets that know nothing of who is who: the baseline (real images, their labels shuffled) and the control (initial
#: weights).
CONTROLS = ("shuffled", "untrained")

Facts = dict[str, Any]


class TargetTrials:
    """Makes the trials of one data set, its releases and one set of attacks."""

    def __init__(
        self,
        data: EvaluationData,
        releases: Sequence[ReleasedData],
        maker: RowMaker,
        attacks: Mapping[str, InversionConfig],
        classes: Sequence[int],
        count: Optional[int] = None,
    ):
        """Plans; nothing is trained yet.

        Args:
          data: the real data.
          releases: for the artificial target; may be none.
          maker: says how students train, and with which budget.
          attacks: by name.
          classes: labels to be attacked.
          count: artificial examples to train on; None for as many as `RowMaker` takes.
        """
        self._data, self._releases, self._maker = data, list(releases), maker
        self._attacks, self._classes, self._count = dict(attacks), list(classes), count

    def trial(self, kind: str, architecture: str, seed: int) -> Trial:
        """A target of `KINDS` or `CONTROLS`."""
        settings: dict[str, Any] = {
            "data": self._data.digest,
            "target": kind,
            "attacks": {name: dataclasses.asdict(each) for name, each in self._attacks.items()},
            "classes": self._classes,
            "student": dataclasses.asdict(self._config(kind, architecture, seed)),
        }
        if kind == "artificial":
            settings["releases"] = [release.digest for release in self._releases]
            settings["num_examples"] = self._num_examples

        def compute() -> dict[str, Any]:
            start = time.monotonic()
            target, facts = self._train(kind, architecture, seed)
            return {
                **facts,
                "train_seconds": time.monotonic() - start,
                **self.attacked(target, seed),
            }

        return Trial("inversion", settings, compute)

    def given(self, target: tf.keras.Model, digest: str) -> Trial:
        """A target that somebody else trained."""
        settings = {
            "data": self._data.digest,
            "target": digest,
            "attacks": {name: dataclasses.asdict(each) for name, each in self._attacks.items()},
            "classes": self._classes,
        }
        return Trial("inversion_given", settings, lambda: self.attacked(target, 0))

    def attacked(self, target: tf.keras.Model, seed: int) -> dict[str, Any]:
        """How well a target does on real test images, and what each attack finds in it."""
        if student_trials.diverged(target):
            return {"diverged": True, "outcome": self._outcome(target), "attacks": {}}
        attacks = {}
        for name, config in self._attacks.items():
            start = time.monotonic()
            found = invert(target, self._classes, self._data.train[0].shape[1:], config, seed)
            attacks[name] = {
                "images": packed(to_uint8(found.images).numpy()),
                "confidence": found.confidence.tolist(),
                "steps": found.steps.tolist(),
                "seconds": time.monotonic() - start,
            }
        return {"diverged": False, "outcome": self._outcome(target), "attacks": attacks}

    def _outcome(self, target: tf.keras.Model) -> Facts:
        return student_trials.outcome(target, *self._data.test).as_json()

    @property
    def _num_examples(self) -> int:
        return self._count or self._maker.equal_count

    def _config(self, kind: str, architecture: str, seed: int) -> Any:
        maker = self._maker
        return (maker.dp_student if kind == "dp_sgd" else maker.student)(architecture, seed)

    def _train(self, kind: str, architecture: str, seed: int) -> tuple[tf.keras.Model, Facts]:
        config = self._config(kind, architecture, seed)
        train, num_classes = self._data.train, self._data.num_classes
        if kind == "dp_sgd":
            target, stretch = dp_students.train_dp_student(
                self._data.train_split, num_classes, config
            )
            return target, student_trials.cost(stretch, config.delta)
        if kind == "untrained":
            target = students.new_student(num_classes, config)
            target(tf.zeros([1, *train[0].shape[1:]]))
            return target, {}
        records = {
            "real": lambda: train,
            "artificial": lambda: interleaved(self._releases, self._num_examples),
            "shuffled": lambda: (train[0], np.random.default_rng(seed).permutation(train[1])),
        }
        return students.train_student(*records[kind](), num_classes, config), {}
