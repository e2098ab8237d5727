# SPDX-License-Identifier: Apache-2.0
"""What an evaluation compares: studies, methods, architectures, seeds, and the budget of the private baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

from tfartgen import _validate
from tfartgen.released_data import ReleasedData
from tfartgen.student_networks import ARCHITECTURES
from tfartgen.students import StudentConfig

STUDIES = ("table", "curve", "validation", "fidelity")

METHODS = ("real", "artificial", "dp_sgd", "pate")

#: Budget of the private baselines beside a release whose own epsilon guarantees nothing.
DEFAULT_EPSILON = 3.0

#: Learning rates and shares of the steps that `validation` crosses with the architectures.
LEARNING_RATES, STEP_SHARES = (1e-4, 5e-4, 2e-3, 1e-2), (0.1, 1.0)

#: Fewest configurations that a ranking is made of.
MIN_CONFIGURATIONS = 12


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is compared, and how students train.

    Attributes:
      studies: some of `STUDIES`.
      methods: some of `METHODS`, the rows of the table.
      architectures: some of `student_networks.ARCHITECTURES`.
      seeds: students of each kind.
      student: how students train; its architecture and seed do not matter.
      curve: numbers of artificial examples; None for five up to the whole release.
      epsilon: budget of DP-SGD and PATE; None for the release's, see `baseline_budget`.
      delta: of that budget; None for the release's.
      dp_steps: steps of DP-SGD.
      dp_batch_size: expected batch of DP-SGD; None for what suits the number of records.
      dp_learning_rate: of DP-SGD.
      num_teachers: of PATE; None for the square root of the number of records.
      num_queries: of PATE; None for `pate.default_queries`.
      fidelity_examples: images on each side of `fidelity`; None for as many as both have.
    """

    studies: tuple[str, ...] = STUDIES
    methods: tuple[str, ...] = METHODS
    architectures: tuple[str, ...] = tuple(ARCHITECTURES)
    seeds: int = 3
    student: StudentConfig = StudentConfig()
    curve: Optional[tuple[int, ...]] = None
    epsilon: Optional[float] = None
    delta: Optional[float] = None
    dp_steps: int = 400
    dp_batch_size: Optional[int] = None
    dp_learning_rate: float = 5e-3
    num_teachers: Optional[int] = None
    num_queries: Optional[int] = None
    fidelity_examples: Optional[int] = None

    def __post_init__(self) -> None:
        for name, known in (
            ("studies", STUDIES),
            ("methods", METHODS),
            ("architectures", tuple(ARCHITECTURES)),
        ):
            _require_some(f"--{name}", getattr(self, name), known)
        _validate.positive_int("--seeds", self.seeds)
        _validate.positive_int("--dp_steps", self.dp_steps)
        _validate.positive("--dp_learning_rate", self.dp_learning_rate)
        for name, check in _OPTIONAL_CHECKS.items():
            if getattr(self, name) is not None:
                check(f"--{name}", getattr(self, name))
        for count in self.curve or ():
            _validate.positive_int("--curve", count)
        configurations = len(self.architectures) * len(LEARNING_RATES) * len(STEP_SHARES)
        if "validation" in self.studies and configurations < MIN_CONFIGURATIONS:
            raise ValueError(
                f"--architectures={','.join(self.architectures)} makes {configurations} configurations, and a "
                f"ranking needs {MIN_CONFIGURATIONS}; name more of {', '.join(ARCHITECTURES)}, or leave validation "
                "out of --studies"
            )


_OPTIONAL_CHECKS = {
    "epsilon": _validate.positive,
    "delta": _validate.probability,
    "dp_batch_size": _validate.positive_int,
    "num_teachers": _validate.positive_int,
    "num_queries": _validate.positive_int,
    "fidelity_examples": _validate.positive_int,
}


def _require_some(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    if not values:
        raise ValueError(f"{name} is empty; give some of {', '.join(known)}")
    for value in values:
        _validate.one_of(name, value, known)


@dataclasses.dataclass(frozen=True)
class Budget:
    """Of the private baselines.

    Attributes:
      epsilon: of each training.
      delta: of each training.
      note: a line for people where it is not the release's; empty if it is.
    """

    epsilon: float
    delta: float
    note: str = ""


def baseline_budget(config: EvaluationConfig, releases: Sequence[ReleasedData]) -> Budget:
    """The budget that is asked for, else the largest of the releases, else `DEFAULT_EPSILON`.

    Releases of disjoint records cost each record the largest epsilon among them at most.
    """
    deltas = [release.statement["delta"] for release in releases]
    delta = config.delta or max(deltas, default=1e-5)
    if config.epsilon is not None:
        return Budget(config.epsilon, delta)
    epsilons = [release.statement["epsilon"] for release in releases]
    if epsilons and all(release.statement["guarantee"] == "formal" for release in releases):
        return Budget(max(epsilons), delta)
    note = (
        f"the release's own epsilon guarantees nothing, so DP-SGD and PATE get epsilon {DEFAULT_EPSILON:g}; "
        "--epsilon changes that"
    )
    return Budget(DEFAULT_EPSILON, delta, note if epsilons else "")
