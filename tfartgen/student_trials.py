# SPDX-License-Identifier: Apache-2.0
"""Trials of an evaluation: one student each, trained one way with one seed, tested on real held-out images.

The result of a trial is JSON-able: `outcome` (see `classification.Outcome`), `diverged`, `num_examples` trained
on, `seconds`, and for private training what it cost.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfartgen import accounting, classification, dp_students, pate, students
from tfartgen.dp_students import DPStudentConfig
from tfartgen.evaluation_data import EvaluationData, Records, interleaved
from tfartgen.pate import PateConfig
from tfartgen.released_data import ReleasedData
from tfartgen.students import StudentConfig
from tfartgen.trials import Trial, TrialStore

#: What a private result says of its price: `mechanism` holds the fields of the `ledger.Stretch` that was priced.
COSTS = ("epsilon", "delta", "accountant", "noise_multiplier", "mechanism")


class StudentTrials:
    """Makes the trials of one data set."""

    def __init__(self, data: EvaluationData):
        """Takes the real data, which every trial tests on."""
        self._data = data
        self._common = {"data": data.digest}

    def real(self, config: StudentConfig) -> Trial:
        """A student of all real training records, without privacy."""
        settings = {**self._common, "student": dataclasses.asdict(config)}

        def compute() -> dict[str, Any]:
            return self._train_and_test(self._data.train, config)

        return Trial("real", settings, compute)

    def artificial(
        self, releases: Sequence[ReleasedData], count: int, config: StudentConfig
    ) -> Trial:
        """A student of `count` artificial examples, of one release or of several in like parts."""
        digests = [release.digest for release in releases]
        settings = {
            **self._common,
            "releases": digests,
            "num_examples": count,
            "student": dataclasses.asdict(config),
        }

        def compute() -> dict[str, Any]:
            return self._train_and_test(interleaved(releases, count), config)

        return Trial("artificial", settings, compute)

    def artificial_validation(
        self, release: ReleasedData, num_validation: int, config: StudentConfig
    ) -> Trial:
        """A student of a release less its last `num_validation` examples, on which it is tested as well."""
        settings = {
            **self._common,
            "releases": [release.digest],
            "num_validation": num_validation,
            "student": dataclasses.asdict(config),
        }

        def compute() -> dict[str, Any]:
            cut = len(release.labels) - num_validation
            student = self._train((release.images[:cut], release.labels[:cut]), config)
            own = outcome(student, release.images[cut:], release.labels[cut:])
            return {**self._test(student), "artificial_accuracy": own.accuracy}

        return Trial("validation", settings, compute)

    def dp_sgd(self, config: DPStudentConfig) -> Trial:
        """A student of the real training records under DP-SGD."""
        settings = {**self._common, "student": dataclasses.asdict(config)}

        def compute() -> dict[str, Any]:
            start = time.monotonic()
            student, stretch = dp_students.train_dp_student(
                self._data.train_split, self._data.num_classes, config
            )
            count = len(self._data.train[1])
            return {**self._test(student), **cost(stretch, config.delta), **_facts(count, start)}

        return Trial("dp_sgd", settings, compute)

    def pate_labels(self, config: PateConfig) -> Trial:
        """Labels of public images by PATE's teachers. They are noised once: a study that goes on keeps them."""
        settings = {**self._common, "pate": dataclasses.asdict(config)}

        def compute() -> dict[str, Any]:
            start = time.monotonic()
            answers = pate.label_publicly(
                *self._data.train, self._data.num_classes, self._data.public, config
            )
            return {
                "labels": answers.labels.tolist(),
                "vote_noise": answers.vote_noise,
                "num_teachers": config.num_teachers,
                **cost(answers.stretch, config.delta),
                **_facts(len(answers.labels), start),
            }

        return Trial("pate_labels", settings, compute, once=True)

    def pate(self, store: TrialStore, labelled: Trial, config: StudentConfig) -> Trial:
        """A student of the public images that `labelled`, a trial of `pate_labels`, labels."""
        settings = {
            **self._common,
            "labels": labelled.key,
            "student": dataclasses.asdict(config),
        }

        def compute() -> dict[str, Any]:
            answers = store.result(labelled)
            labels = np.array(answers["labels"], np.int32)
            result = self._train_and_test((self._data.public[: len(labels)], labels), config)
            return {
                **result,
                **{key: answers[key] for key in (*COSTS, "vote_noise", "num_teachers")},
                "teacher_seconds": answers["seconds"],
            }

        return Trial("pate", settings, compute)

    def _train(self, records: Records, config: StudentConfig) -> tf.keras.Model:
        return students.train_student(*records, self._data.num_classes, config)

    def _train_and_test(self, records: Records, config: StudentConfig) -> dict[str, Any]:
        start = time.monotonic()
        student = self._train(records, config)
        return {**self._test(student), **_facts(len(records[1]), start)}

    def _test(self, student: tf.keras.Model) -> dict[str, Any]:
        images, labels = self._data.test
        return {
            "outcome": outcome(student, images, labels).as_json(),
            "diverged": diverged(student),
        }


def outcome(
    student: tf.keras.Model, images: np.ndarray, labels: np.ndarray
) -> classification.Outcome:
    """What a student does; one that diverged says class 0, with no confidence, of every image."""
    return classification.score(np.nan_to_num(students.logits(student, images)), labels)


def diverged(network: tf.keras.Model) -> bool:
    """Whether a weight is no finite number any more."""
    return not all(np.isfinite(weight).all() for weight in network.get_weights())


def cost(stretch: accounting.Stretch, delta: float) -> dict[str, Any]:
    """What private training cost, the fields of `COSTS`."""
    spent = accounting.spent([stretch], delta)
    return {
        "epsilon": spent.epsilon,
        "delta": delta,
        "accountant": spent.accountant,
        "noise_multiplier": stretch.noise_multiplier,
        "mechanism": stretch.as_json(),
    }


def _facts(num_examples: int, start: float) -> dict[str, Any]:
    return {"num_examples": num_examples, "seconds": time.monotonic() - start}
