# SPDX-License-Identifier: Apache-2.0
"""The inversion attack along a trade-off curve: what is recovered at each level of privacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from tfartgen import inversion_study
from tfartgen.evaluation_config import Budget, EvaluationConfig
from tfartgen.evaluation_data import EvaluationData
from tfartgen.evaluation_rows import RowMaker
from tfartgen.inversion_judge import JudgeConfig
from tfartgen.inversion_study import ATTACKS, Jury
from tfartgen.inversion_targets import CONTROLS, TargetTrials
from tfartgen.packed_arrays import packed
from tfartgen.released_data import ReleasedData
from tfartgen.trials import TrialStore

#: The attack, and the architecture of its targets where students have it.
_ATTACK, _ARCHITECTURE = "strong", "mlp"


class SweepInversion:
    """The attack on targets of one architecture, of all classes."""

    def __init__(
        self,
        data: EvaluationData,
        students: EvaluationConfig,
        store: TrialStore,
        judge: JudgeConfig,
    ):
        """Plans; nothing is computed yet.

        Args:
          data: the real data.
          students: how targets train, and how many seeds there are.
          store: of results.
          judge: how the judge trains.

        Raises:
          ValueError: a class with one training record only.
        """
        inversion_study.require_records(data)
        self._data, self._students, self._store = data, students, store
        names = students.architectures
        self._architecture = _ARCHITECTURE if _ARCHITECTURE in names else names[-1]
        self._classes = list(range(data.num_classes))
        self._jury = Jury(data, judge, faces=False, store=store)

    def reference(self, budget: Budget) -> dict[str, Any]:
        """What does not depend on the point: the unprotected target, those that know nothing, and real records."""
        images, labels = self._data.train
        records = [images[np.flatnonzero(labels == label)[0]] for label in self._classes]
        return {
            "classes": self._classes,
            "chance": 1 / self._data.num_classes,
            "records": packed(np.stack(records)),
            "real_images": self._jury.yardstick(),
            "real": [self._row(kind, [], budget) for kind in ("real", *CONTROLS)],
        }

    def artificial(self, release: ReleasedData, budget: Budget) -> dict[str, Any]:
        """A row of targets that were trained on all of a release."""
        return self._row("artificial", [release], budget, len(release.labels))

    def dp_sgd(self, budget: Budget) -> dict[str, Any]:
        """A row of targets that were trained on real data with DP-SGD."""
        return self._row("dp_sgd", [], budget)

    def _row(
        self,
        kind: str,
        releases: Sequence[ReleasedData],
        budget: Budget,
        count: Optional[int] = None,
    ) -> dict[str, Any]:
        maker = RowMaker(self._data, releases, self._students, budget, self._store)
        attacks = {_ATTACK: ATTACKS[_ATTACK]}
        targets = TargetTrials(self._data, releases, maker, attacks, self._classes, count)
        trials = [
            targets.trial(kind, self._architecture, seed) for seed in range(self._students.seeds)
        ]
        row = inversion_study.row(self._jury, self._store, trials, _ATTACK, self._classes)
        found: Mapping[str, Any] = self._store.result(trials[0])["attacks"].get(_ATTACK, {})
        return {
            "target": kind,
            "architecture": self._architecture,
            **row,
            "images": found.get("images"),
        }
