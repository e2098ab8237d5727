# SPDX-License-Identifier: Apache-2.0
"""How long a stage of a study is likely to take, and how long all of them.

A stage that finished before took so long. Otherwise it is guessed from what it took on digits and on MNIST: a power
of the size of all training images, or of one where the number of records hardly counts, between the two and beyond.
That is rough: what a student or an attack costs depends on more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple, Optional

from tfartgen.study_stages import Stage


class DataSize(NamedTuple):
    """How much private data there is.

    Attributes:
      records: to train on.
      values: pixels of a record, times channels.
    """

    records: int
    values: int


#: Digits and MNIST.
_SIZES = (DataSize(1_438, 8 * 8), DataSize(60_000, 28 * 28))

#: Seconds of each stage on digits and on MNIST on 2 x AMD EPYC, 2026-11-26, at default flags: of digits in a study with
#: two stages at a time, where there are two to run, with a core each. Of MNIST training alone was timed as a whole; the
#: others are added up from the times of their trials, or guessed.
_MEASURED = {
    "train": (65, 1_596),
    "generate": (6, 60),
    "evaluate": (518, 2_500),
    "estimate_privacy": (66, 600),
    "invert": (316, 2_800),
    "infer_membership": (100, 600),
    "report": (16, 90),
}

#: Stages that see as many images whatever the number of records: the size of an image alone counts.
_PER_IMAGE = frozenset(["generate", "evaluate", "invert", "infer_membership"])
MACHINE = "2 x AMD EPYC"

#: Of a stage that is not in the table.
_SOME_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of the time of a stage.

    Attributes:
      seconds: likely.
      is_recorded: whether the stage took that long before, in this study.
    """

    seconds: float
    is_recorded: bool


def estimate(stage: Stage, size: DataSize, recorded: Optional[float]) -> Estimate:
    """Estimates one stage.

    Args:
      stage: the stage.
      size: of the data.
      recorded: seconds that it took when it last finished.
    """
    if recorded is not None:
        return Estimate(recorded, True)
    if stage.name not in _MEASURED:
        return Estimate(_SOME_SECONDS, False)
    return Estimate(_between(_MEASURED[stage.name], *map(_amounts(stage), (*_SIZES, size))), False)


def _amounts(stage: Stage) -> Callable[[DataSize], int]:
    if stage.name in _PER_IMAGE:
        return lambda size: size.values
    return lambda size: size.records * size.values


def _between(measured: tuple[float, float], small: int, large: int, amount: int) -> float:
    """The power law through both measurements; never below the first, most of which is starting up."""
    fast, slow = measured
    power = math.log(slow / fast) / math.log(large / small)
    return fast * max(1.0, amount / small) ** power


def makespan(all_stages: Sequence[Stage], seconds: Mapping[str, float], jobs: int) -> float:
    """Seconds until all stages are done, the longest of those that can start first, as the runner does it.

    Args:
      all_stages: each after those that it needs.
      seconds: of each stage, by name; 0 for one that need not run.
      jobs: stages at a time.
    """
    running: dict[str, float] = {}
    done: set[str] = set()
    now = 0.0
    while len(done) < len(all_stages):
        for stage in ready(all_stages, done, running, seconds)[: jobs - len(running)]:
            running[stage.name] = now + seconds[stage.name]
        name = min(running, key=running.__getitem__)
        now = running.pop(name)
        done.add(name)
    return now


def ready(
    all_stages: Sequence[Stage],
    done: set[str],
    running: Mapping[str, object],
    seconds: Mapping[str, float],
) -> list[Stage]:
    """The stages that may start, the longest first: what runs beside each other should end together."""
    free = [
        stage
        for stage in all_stages
        if stage.name not in done and stage.name not in running and done.issuperset(stage.needs)
    ]
    return sorted(free, key=lambda stage: -seconds[stage.name])


def shown(seconds: float) -> str:
    """A time for people."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
