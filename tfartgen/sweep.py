# SPDX-License-Identifier: Apache-2.0
"""The trade-off curve: a generator trained, drawn from and evaluated at each value of a setting.

A point has a folder of its own and is resumable there: its training run, its generator, its data set, and the
trials of its students. A point that diverged is reported, never dropped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from tfartgen import _validate, artificial, environment, generating, released_data, training
from tfartgen.data import PrivateData
from tfartgen.evaluation_config import Budget, EvaluationConfig
from tfartgen.evaluation_data import EvaluationData
from tfartgen.evaluation_rows import RowMaker
from tfartgen.inversion_judge import JudgeConfig
from tfartgen.released_data import ReleasedData
from tfartgen.sweep_inversion import SweepInversion
from tfartgen.train_config import TrainConfig, check_settings, configure, parse_setting
from tfartgen.trials import TrialStore

SCHEMA = "tfartgen.sweep/1"

PARAMETERS = ("noise_multiplier", "epsilon")

#: Examples that are drawn at once to see whether a generator still draws numbers.
_PROBE = 64

#: Of a point whose generator is of no use.
_NOTHING_DRAWN: dict[str, Any] = {"release_digest": None, "artificial": []}

#: Of students that train without privacy.
_NO_BUDGET = Budget(math.inf, 0.0)


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """What is swept.

    Attributes:
      parameter: one of `PARAMETERS`.
      values: at least two, in the order in which they run.
      num_examples: drawn at each point; None for as many as there are real training records.
      train_settings: further fields of `TrainConfig`, the same at every point.
    """

    parameter: str
    values: tuple[float, ...]
    num_examples: Optional[int] = None
    train_settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _validate.one_of("--sweep", self.parameter, PARAMETERS)
        if len(set(self.values)) < max(2, len(self.values)):
            raise ValueError(
                f"--sweep needs at least two values, all different, got {_listed(self.values)}"
            )
        if self.num_examples is not None:
            _validate.positive_int("--sweep_examples", self.num_examples)
        settings = dict(self.train_settings)
        for name in PARAMETERS:
            if name in settings:
                raise ValueError(f"--train_setting={name} contradicts --sweep; leave it out")
        for value in self.values:
            check_settings(**settings, **{self.parameter: value})

    @classmethod
    def parse(
        cls, text: str, num_examples: Optional[int] = None, train_settings: Sequence[str] = ()
    ) -> SweepConfig:
        """Reads `noise_multiplier:0,0.02,1`, and settings `steps=500`.

        Raises:
          ValueError: it is nothing of the kind.
        """
        parameter, colon, values = text.partition(":")
        try:
            numbers = tuple(float(value) for value in values.split(","))
        except ValueError:
            colon, numbers = "", ()
        if not colon:
            raise ValueError(
                f"--sweep={text} is not NAME:VALUE,VALUE,... with NAME one of {', '.join(PARAMETERS)}"
            )
        settings = tuple(parse_setting(setting) for setting in train_settings)
        return cls(parameter, numbers, num_examples, settings)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"


class Sweep:
    """The points of a sweep over one data set."""

    def __init__(
        self,
        private: PrivateData,
        data: EvaluationData,
        config: SweepConfig,
        students: EvaluationConfig,
        folder: pathlib.Path,
        judge: Optional[JudgeConfig] = None,
    ):
        """Plans; nothing is trained yet.

        Args:
          private: the data set, to train generators on.
          data: the same, cut for an evaluation.
          config: what is swept.
          students: their architectures, seeds and methods.
          folder: where points and results go. Private.
          judge: of reconstructions, where students are attacked by model inversion, too; None for no attack.

        Raises:
          ValueError: settings that the data does not carry.
        """
        self._private, self._data, self._config, self._students = private, data, config, students
        self._folder, self._store = folder, TrialStore(folder / "trials")
        self._inversion = None
        if judge is not None:
            self._inversion = SweepInversion(data, students, self._store, judge)
        self._trainings = [
            configure(private, **dict(config.train_settings), **{config.parameter: value})
            for value in config.values
        ]

    def run(self, progress: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
        """Trains, draws and evaluates what is not there yet.

        Args:
          progress: called with a line for people before each stage.

        Returns:
          The document, JSON-able.

        Raises:
          KeyboardInterrupt: a signal stopped a training, which is saved.
        """
        points: list[dict[str, Any]] = []
        for value, training_config in zip(self._config.values, self._trainings):
            name = f"{self._config.parameter}={value:g}"
            progress(f"point {len(points) + 1} of {len(self._trainings)}: {name}")
            points.append(self._point(name, value, training_config))
            tf.keras.backend.clear_session()
        progress("students of real data")
        attacked = {}
        if self._inversion is not None:
            attacked["inversion"] = self._inversion.reference(_NO_BUDGET)
        return {
            "schema": SCHEMA,
            **environment.describe(),
            "dataset": {
                "name": self._data.name,
                "class_names": list(self._data.class_names),
                "num_train": len(self._data.train[1]),
                "num_test": len(self._data.test[1]),
                "digest": self._data.digest,
            },
            "parameter": self._config.parameter,
            "settings": {
                "sweep": dataclasses.asdict(self._config),
                "students": dataclasses.asdict(self._students),
            },
            "points": points,
            "real": self._summaries("real", _NO_BUDGET),
            **attacked,
        }

    def _summaries(self, method: str, budget: Budget) -> list[dict[str, Any]]:
        if method not in self._students.methods:
            return []
        maker = self._maker(budget)
        names = self._students.architectures
        return [row.summary(self._store) for name in names for row in maker.rows(method, name)]

    def _maker(self, budget: Budget) -> RowMaker:
        return RowMaker(self._data, [], self._students, budget, self._store)

    def _point(self, name: str, value: float, config: TrainConfig) -> dict[str, Any]:
        folder = self._folder / "points" / f"{name}-{self._digest(config)}"
        result = training.train(
            self._private, config, folder / "run", folder / "model", throwaway=True
        )
        if result.model_path is None:
            raise KeyboardInterrupt  # a signal stopped it; it is saved
        epsilon = result.spent.epsilon if math.isfinite(result.spent.epsilon) else None
        reason = divergence(result.model_path, self._data.num_classes)
        return {
            "value": value,
            "epsilon": epsilon,
            "delta": config.delta,
            "status": "ok" if reason is None else "diverged",
            "reason": reason,
            **(self._artificial(folder, result.model_path) if reason is None else _NOTHING_DRAWN),
            "dp_sgd": self._dp_sgd(epsilon, config.delta),
            **self._attacked(folder, reason, epsilon, config.delta),
        }

    def _attacked(
        self, folder: pathlib.Path, reason: Optional[str], epsilon: Optional[float], delta: float
    ) -> dict[str, Any]:
        """What an inversion attack recovers at a point, from students of its release and of DP-SGD."""
        if self._inversion is None:
            return {}
        rows = []
        if reason is None and "artificial" in self._students.methods:
            rows.append(self._inversion.artificial(_release(folder), _NO_BUDGET))
        if epsilon is not None and "dp_sgd" in self._students.methods:
            rows.append(self._inversion.dp_sgd(_budget(epsilon, delta)))
        return {"inversion": rows}

    def _digest(self, config: TrainConfig) -> str:
        """Another setting or other data is another point."""
        content = [dataclasses.asdict(config), self._config.num_examples, self._data.digest]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    def _dp_sgd(self, epsilon: Optional[float], delta: float) -> list[dict[str, Any]]:
        """Students of DP-SGD at a point's epsilon; none where that is infinite."""
        if epsilon is None:
            return []
        return self._summaries("dp_sgd", _budget(epsilon, delta))

    def _artificial(self, folder: pathlib.Path, model_path: pathlib.Path) -> dict[str, Any]:
        """Students of all that was drawn at a point."""
        release = self._drawn(folder, model_path)
        maker, count = self._maker(_NO_BUDGET), len(release.labels)
        rows = [
            maker.artificial([release], count, architecture, "artificial")
            for architecture in self._students.architectures
            if "artificial" in self._students.methods
        ]
        return {
            "release_digest": release.digest,
            "artificial": [row.summary(self._store) for row in rows],
        }

    def _drawn(self, folder: pathlib.Path, model_path: pathlib.Path) -> ReleasedData:
        output = folder / "artificial"
        if not output.exists():
            model = artificial.LocalModel(model_path)
            count = self._config.num_examples or len(self._data.train[1])
            policy = artificial.LabelPolicy.uniform(model.spec.num_classes)
            generating.generate(model, artificial.DrawPlan(count, 0, policy), output, "npz")
        return _release(folder)


def _release(folder: pathlib.Path) -> ReleasedData:
    return released_data.read(folder / "artificial")


def _budget(epsilon: float, delta: float) -> Budget:
    """Trials are known by their settings, and the last digits of an epsilon should not make new ones."""
    return Budget(float(f"{epsilon:.6g}"), delta)


def divergence(version: pathlib.Path, num_classes: int) -> Optional[str]:
    """Why a released generator is of no use, None if it may be.

    Args:
      version: folder of its SavedModel.
      num_classes: that it draws.
    """
    latent = tf.saved_model.load(str(version)).signatures["latent"]
    dimensions = latent.structured_input_signature[1]["latent"].shape[1]
    images = latent(
        latent=tf.random.stateless_normal([_PROBE, dimensions], [0, 0]),
        label=tf.range(_PROBE) % num_classes,
    )["image"]
    if not bool(tf.reduce_all(tf.math.is_finite(images))):
        return "the generator draws values that are no numbers"
    if float(tf.reduce_max(tf.math.reduce_std(images, axis=0))) == 0.0:
        return "the generator draws the same image whatever the label and the latent"
    return None
