# SPDX-License-Identifier: Apache-2.0
"""Whether artificial data can choose between students: their ranking on it beside their ranking on real data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy as np
from scipy import stats

from tfartgen.classification import Outcome
from tfartgen.evaluation_config import LEARNING_RATES, STEP_SHARES, EvaluationConfig
from tfartgen.evaluation_data import EvaluationData
from tfartgen.evaluation_rows import interval
from tfartgen.released_data import ReleasedData
from tfartgen.student_trials import StudentTrials
from tfartgen.students import StudentConfig
from tfartgen.trials import Trial, TrialStore

#: One example in so many of a release validates.
_VALIDATION_SHARE = 5


class ValidationStudy:
    """Students of one release, less a part of it on which they are ranked."""

    def __init__(self, data: EvaluationData, release: ReleasedData, config: EvaluationConfig):
        """Plans; nothing is computed yet."""
        self._trials, self._release, self._config = StudentTrials(data), release, config
        self._num_validation = max(1, len(release.labels) // _VALIDATION_SHARE)

    def configurations(self) -> list[StudentConfig]:
        """What is ranked: architectures, learning rates and numbers of steps, good ones and bad ones."""
        student = self._config.student
        return [
            dataclasses.replace(
                student,
                architecture=architecture,
                learning_rate=rate,
                steps=max(1, round(share * student.steps)),
            )
            for architecture in self._config.architectures
            for rate in LEARNING_RATES
            for share in STEP_SHARES
        ]

    def trials(self) -> Iterable[Trial]:
        """All trials."""
        for configuration in self.configurations():
            yield from self._trials_of(configuration)

    def summary(self, store: TrialStore) -> dict[str, Any]:
        """The study's part of the document."""
        rows = [self._row(configuration, store) for configuration in self.configurations()]
        artificial, real = (
            [row[side]["mean"] for row in rows] for side in ("artificial_accuracy", "accuracy")
        )
        return {
            "release": self._release.folder,
            "num_validation": self._num_validation,
            "configurations": rows,
            **ranking(artificial, real),
            "better_half": correlation(*_better_half(artificial, real)),
        }

    def _trials_of(self, configuration: StudentConfig) -> list[Trial]:
        seeded = (
            dataclasses.replace(configuration, seed=seed) for seed in range(self._config.seeds)
        )
        return [
            self._trials.artificial_validation(self._release, self._num_validation, each)
            for each in seeded
        ]

    def _row(self, configuration: StudentConfig, store: TrialStore) -> dict[str, Any]:
        results = [store.result(trial) for trial in self._trials_of(configuration)]
        real = [Outcome.from_json(result["outcome"]).accuracy for result in results]
        return {
            "architecture": configuration.architecture,
            "learning_rate": configuration.learning_rate,
            "steps": configuration.steps,
            "artificial_accuracy": interval([result["artificial_accuracy"] for result in results]),
            "accuracy": interval(real),
            "diverged": sum(result["diverged"] for result in results),
        }


def ranking(artificial: Sequence[float], real: Sequence[float]) -> dict[str, Any]:
    """How far a choice made on artificial data is the choice that real data would make.

    Args:
      artificial: accuracy of each configuration on the artificial validation set.
      real: accuracy of the same on real images.

    Returns:
      What `correlation` does; `chosen` and `best`, positions of the configurations of the highest artificial and real
      accuracy; `accuracy_lost`, how much less real accuracy the first has than the second.
    """
    chosen, best = int(np.argmax(artificial)), int(np.argmax(real))
    return {
        **correlation(artificial, real),
        "chosen": chosen,
        "best": best,
        "accuracy_lost": real[best] - real[chosen],
    }


def _better_half(
    artificial: Sequence[float], real: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Those of the upper half on artificial data: bad configurations are easily told from good ones."""
    order = np.argsort(artificial, kind="stable")[len(artificial) // 2 :]
    return [artificial[i] for i in order], [real[i] for i in order]


def correlation(artificial: Sequence[float], real: Sequence[float]) -> dict[str, Optional[float]]:
    """Spearman's rank correlation.

    Args:
      artificial: one value for each configuration.
      real: another.

    Returns:
      `spearman`, with ties ranked at their mean, None where one side does not vary; `spearman_low` and
      `spearman_high`, its 95% interval (Fieller, Hartley and Pearson 1957: variance 1.06 / (n - 3) of its inverse
      hyperbolic tangent), None where it is 1 or -1 or there are fewer than four.
    """
    varies = len(set(artificial)) > 1 and len(set(real)) > 1
    rho = float(stats.spearmanr(artificial, real)[0]) if varies else None
    low = high = None
    if rho is not None and abs(rho) < 1 and len(real) > 3:
        centre, half = math.atanh(rho), 1.96 * math.sqrt(1.06 / (len(real) - 3))
        low, high = math.tanh(centre - half), math.tanh(centre + half)
    return {"spearman": rho, "spearman_low": low, "spearman_high": high}
