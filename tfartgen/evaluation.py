# SPDX-License-Identifier: Apache-2.0
"""Is artificial data as good as real data? The studies of `bin/evaluate`, as one JSON-able document.

    table        students of real data, of artificial data, of DP-SGD and of PATE, on real held-out images
    curve        students of more and more artificial examples
    validation   student configurations ranked on artificial data and on real data
    fidelity     distances between real and artificial images in a feature space

Several releases are compared one by one and pooled; curve and validation are of the first. Every trial is stored
(see `trials`), so a study that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Callable

from tfartgen import environment, fidelity_trials
from tfartgen.evaluation_config import EvaluationConfig, baseline_budget
from tfartgen.evaluation_data import EvaluationData
from tfartgen.evaluation_rows import Row, RowMaker, curve_counts, public_needed, trials_of
from tfartgen.released_data import ReleasedData
from tfartgen.trials import Trial, TrialStore
from tfartgen.validation_study import ValidationStudy

SCHEMA = "tfartgen.evaluation/1"


class Evaluation:
    """An evaluation of releases, or of the baselines alone."""

    def __init__(
        self,
        data: EvaluationData,
        releases: Sequence[ReleasedData],
        config: EvaluationConfig,
        store: TrialStore,
    ):
        """Plans; nothing is computed yet.

        Args:
          data: the real data.
          releases: learned from it, see `evaluation_data.check_release`.
          config: what to compare.
          store: of results.

        Raises:
          ValueError: a study that needs a release without one, or settings that the data does not carry.
        """
        self._data, self._releases, self._config, self._store = data, list(releases), config, store
        self._budget = baseline_budget(config, releases)
        self._rows = RowMaker(data, releases, config, self._budget, store)
        self._space = fidelity_trials.FeatureSpace(data)
        self._refuse_what_cannot_be_done()

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for people."""
        notes = []
        if self._budget.note and (self._has("dp_sgd") or self._has("pate")):
            notes.append(self._budget.note)
        real, own = len(self._data.train[1]), self._rows.equal_count
        if self._has("artificial") and self._has("real") and own < real:
            notes.append(
                f"students of artificial data see {own:,} examples, as the smallest release has, and those of real data "
                f"{real:,}; draw more with bin/generate to compare like with like"
            )
        return tuple(notes)

    def trials(self) -> list[Trial]:
        """All trials, stored ones included, in the order in which they are best run."""
        trials = self._rows.pate_labels() if self._has("pate") else []
        trials += trials_of(self._table()) + trials_of(self._curve())
        if "validation" in self._config.studies:
            trials += self._validation().trials()
        return trials + self._fidelity()

    def run(self, progress: Callable[[int], object] = lambda count: None) -> dict[str, Any]:
        """Computes what is not stored yet.

        Args:
          progress: called with 1 after each of `trials()`.

        Returns:
          The document, JSON-able.

        Raises:
          OSError: a result cannot be written.
        """
        for trial in self.trials():
            self._store.result(trial)
            progress(1)
        return self._document()

    def _has(self, method: str) -> bool:
        return "table" in self._config.studies and method in self._config.methods

    def _table(self) -> list[Row]:
        if "table" not in self._config.studies:
            return []
        return [
            row
            for architecture in self._config.architectures
            for method in self._config.methods
            for row in self._rows.rows(method, architecture)
        ]

    def _curve(self) -> list[Row]:
        if "curve" not in self._config.studies:
            return []
        release = self._releases[0]
        counts = self._config.curve or curve_counts(len(release.labels), self._data.num_classes)
        return [
            self._rows.artificial([release], count, architecture, "artificial")
            for architecture in self._config.architectures
            for count in counts
        ]

    def _validation(self) -> ValidationStudy:
        return ValidationStudy(self._data, self._releases[0], self._config)

    def _fidelity(self) -> list[Trial]:
        if "fidelity" not in self._config.studies:
            return []
        asked = self._config.fidelity_examples
        return [
            self._space.trial(release, fidelity_trials.num_examples(self._data, release, asked))
            for release in self._releases
        ]

    def _document(self) -> dict[str, Any]:
        store, data = self._store, self._data
        studies: dict[str, Callable[[], Any]] = {
            "table": lambda: [row.summary(store) for row in self._table()],
            "curve": lambda: [row.summary(store) for row in self._curve()],
            "validation": lambda: self._validation().summary(store),
            "fidelity": lambda: [
                {"release": release.folder, **store.result(trial)}
                for release, trial in zip(self._releases, self._fidelity())
            ],
        }
        return {
            "schema": SCHEMA,
            **environment.describe(),
            "dataset": {
                "name": data.name,
                "class_names": list(data.class_names),
                "num_train": len(data.train[1]),
                "num_public": len(data.public),
                "num_test": len(data.test[1]),
                "digest": data.digest,
            },
            "releases": [_described(release) for release in self._releases],
            "budget": {"epsilon": self._budget.epsilon, "delta": self._budget.delta},
            "settings": dataclasses.asdict(self._config),
            **{name: make() for name, make in studies.items() if name in self._config.studies},
        }

    def _refuse_what_cannot_be_done(self) -> None:
        config = self._config
        self._check_releases()
        self._fidelity()
        if "curve" in config.studies:
            self._check_curve()
        if self._has("pate"):
            self._rows.pate_config(0)
        records, batch = len(self._data.train[1]), self._rows.dp_batch_size
        if self._has("dp_sgd") and batch > records:
            raise ValueError(f"--dp_batch_size={batch} exceeds the {records} records; lower it")

    def _check_releases(self) -> None:
        folders = [release.folder for release in self._releases]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ValueError(f"--artificial names {folder} twice; name every release once")
        if folders:
            return
        for study in ("curve", "validation", "fidelity"):
            if study in self._config.studies:
                raise ValueError(f"--studies={study} needs a release; give --artificial")
        if self._has("artificial"):
            raise ValueError(
                "--methods=artificial needs a release; give --artificial, or leave it out of --methods"
            )

    def _check_curve(self) -> None:
        longest, release = max(self._config.curve or (0,)), self._releases[0]
        if longest > len(release.labels):
            raise ValueError(
                f"--curve={longest} exceeds the {len(release.labels)} examples of {release.folder}; draw more with "
                "bin/generate, or lower it"
            )


def suited(
    config: EvaluationConfig, data: EvaluationData
) -> tuple[EvaluationConfig, tuple[str, ...]]:
    """Leaves out the methods that the data does not carry, of a config whose methods nobody asked for.

    Returns:
      The config, and lines for people on what is left out and why.
    """
    needed, public = public_needed(config, data), len(data.public)
    if "pate" not in config.methods or public >= needed:
        return config, ()
    note = f"PATE is left out: it needs {needed} public images, and there are {public}; raise --public_fraction to have it"
    methods = tuple(method for method in config.methods if method != "pate")
    return dataclasses.replace(config, methods=methods), (note,)


def _described(release: ReleasedData) -> dict[str, Any]:
    return {
        "name": release.name,
        "folder": release.folder,
        "digest": release.digest,
        "num_examples": len(release.labels),
        **{key: release.statement[key] for key in ("epsilon", "delta", "guarantee")},
    }
