# SPDX-License-Identifier: Apache-2.0
"""What ran: stretches of private steps as immutable values, as events to price, and on file.

Nothing here looks at settings, and nothing here prices (`accounting` does).
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any, Optional

import dp_accounting

from tfartgen import _validate
from tfartgen.noise_limits import GRID
from tfartgen.whole_files import write_atomically

#: Of ledgers and statements. Version 1 was written by tfartgen 0.1, whose noise had other limits (SECURITY.md).
VERSION = 2

SAMPLERS = ("poisson", "shuffle")

#: How noise is drawn, in the words of ledgers and statements.
GAUSSIAN, DISCRETE_GAUSSIAN = "gaussian", "discrete gaussian"

#: What read private records: the critic's steps, or the one release of the mean embedding.
CRITIC, MEAN_EMBEDDING = "critic", "mean embedding"
STAGES = (CRITIC, MEAN_EMBEDDING)

#: Noise multipliers that can be priced, beside zero: outside, dp-accounting's arithmetic overflows.
_NOISE_RANGE = (1e-6, 1e6)


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Consecutive steps of one mechanism, as they ran.

    Attributes:
      sampler: 'poisson' or 'shuffle'.
      sampling_rate: q, expected batch size over number of records.
      noise_multiplier: sigma, noise standard deviation over clip norm.
      clip_norm: S, in L2 norm.
      batch_size: expected number of records of a step.
      steps: how many.
      stage: of training, one of `STAGES`; it is for readers, and the price does not depend on it.
      coordinates: numbers that were noised in a step, on which the limits of draws depend; None for ideal noise, and in
        what version 0.1 wrote.
      grid: steps of the integer grid to a length of one, for exact discrete noise; None for a critic's draws.
    """

    sampler: str
    sampling_rate: float
    noise_multiplier: float
    clip_norm: float
    batch_size: int
    steps: int
    stage: str = CRITIC
    coordinates: Optional[int] = None
    grid: Optional[int] = None

    def __post_init__(self) -> None:
        _validate.one_of("sampler", self.sampler, SAMPLERS)
        _validate.one_of("stage", self.stage, STAGES)
        _validate.fraction("sampling_rate", self.sampling_rate)
        noise = _validate.non_negative("noise_multiplier", self.noise_multiplier)
        if noise != 0 and not _NOISE_RANGE[0] <= noise <= _NOISE_RANGE[1]:
            raise ValueError(
                f"noise_multiplier must be 0 or between {_NOISE_RANGE[0]:g} and {_NOISE_RANGE[1]:g}, got {noise!r}"
            )
        _validate.positive("clip_norm", self.clip_norm)
        _validate.positive_int("batch_size", self.batch_size)
        if self.steps != 0 or isinstance(self.steps, bool):
            _validate.positive_int("steps", self.steps)
        if self.coordinates is not None:
            _validate.positive_int("coordinates", self.coordinates)
        if self.grid is not None:
            _validate.positive_int("grid", self.grid)
            self._check_discrete()

    def _check_discrete(self) -> None:
        """What the price of discrete noise needs: what it is a sum of, and no amplification by sampling."""
        if self.coordinates is None or self.sampler != "poisson" or self.sampling_rate != 1.0:
            raise ValueError(
                f"grid {self.grid} is of exact noise, which takes coordinates and a sum over all records (sampler poisson, "
                f"sampling_rate 1); got coordinates {self.coordinates}, {self.sampler}, {self.sampling_rate!r}"
            )

    @classmethod
    def of_sums(
        cls,
        noise_multiplier: float,
        sensitivity: float,
        coordinates: int,
        steps: int = 1,
        stage: str = CRITIC,
    ) -> Stretch:
        """Releases of sums over all records with exact noise (`noise.with_exact_noise`), one a step."""
        return cls(
            "poisson",
            1.0,
            noise_multiplier,
            sensitivity,
            batch_size=1,
            steps=steps,
            stage=stage,
            coordinates=coordinates,
            grid=GRID,
        )

    @property
    def scale(self) -> float:
        """Standard deviation of exact discrete noise, in steps of the grid.

        Raises:
          TypeError: there is no grid.
        """
        if self.grid is None:
            raise TypeError("a critic's draws are on no integer grid")
        return self.noise_multiplier * self.clip_norm * self.grid

    def as_json(self) -> dict[str, Any]:
        """As in ledgers and statements; a field that says nothing is left out."""
        kind = GAUSSIAN if self.grid is None else DISCRETE_GAUSSIAN
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return {"mechanism": kind, **fields}

    @classmethod
    def from_json(cls, fields: Any) -> Stretch:
        """Reads `as_json`, of this version or of version 1.

        Raises:
          ValueError: a value is out of range, or the mechanism is not one of ours.
          TypeError: there is a field too many or too few.
        """
        fields = dict(fields)
        kind = fields.pop("mechanism", None)
        stretch = cls(**fields)
        if kind != (GAUSSIAN if stretch.grid is None else DISCRETE_GAUSSIAN):
            raise ValueError("no Gaussian mechanism")
        return stretch

    @property
    def is_private(self) -> bool:
        """Every step that ran had noise."""
        return self.noise_multiplier > 0 or self.steps == 0

    @property
    def charges(self) -> int:
        """How many times `mechanism` is charged.

        Poisson: once a step. Shuffle: `ceil(steps * q)` times, since a session starts with a fresh pass and a
        record is in at most that many of its batches.
        """
        return (
            self.steps if self.sampler == "poisson" else math.ceil(self.steps * self.sampling_rate)
        )

    def mechanism(self) -> dp_accounting.DpEvent:
        """One charge: amplified by Poisson sampling; for shuffled batches no amplification is claimed."""
        if self.noise_multiplier == 0:
            return dp_accounting.NonPrivateDpEvent()
        gaussian = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        if self.sampler == "shuffle":
            return gaussian
        return dp_accounting.PoissonSampledDpEvent(self.sampling_rate, gaussian)

    def event(self) -> dp_accounting.DpEvent:
        """The stretch as dp-accounting prices it."""
        if self.steps == 0:
            return dp_accounting.NoOpDpEvent()
        if self.noise_multiplier == 0:
            return self.mechanism()
        return dp_accounting.SelfComposedDpEvent(self.mechanism(), self.charges)


def compose(stretches: Iterable[Stretch]) -> dp_accounting.DpEvent:
    """All stretches as one event; the charges of a mechanism are added up, since their order does not matter."""
    charges: collections.Counter[dp_accounting.DpEvent] = collections.Counter()
    for stretch in stretches:
        if stretch.steps:
            charges[stretch.mechanism()] += stretch.charges
    return dp_accounting.ComposedDpEvent(
        [dp_accounting.SelfComposedDpEvent(event, count) for event, count in charges.items()]
    )


def excess(stretches: Iterable[Stretch], over: Iterable[Stretch]) -> list[Stretch]:
    """The steps of `stretches` that are not in `over`, mechanism by mechanism."""
    left = _steps_of(stretches)
    left.subtract(_steps_of(over))
    return [dataclasses.replace(each, steps=steps) for each, steps in left.items() if steps > 0]


def _steps_of(stretches: Iterable[Stretch]) -> collections.Counter[Stretch]:
    steps: collections.Counter[Stretch] = collections.Counter()
    for stretch in stretches:
        steps[dataclasses.replace(stretch, steps=0)] += stretch.steps
    return steps


class Ledger:
    """Stretches in the order in which they ran, on file as one JSON line each, below a line with the version.

    Attributes:
      stretches: what ran.
      version: of the file that was read; a ledger without a line for it is of version 1.
      exported: whether anything that these steps made was published, or may have been; from then on no step is forgotten.
    """

    def __init__(
        self, stretches: Iterable[Stretch] = (), version: int = VERSION, exported: bool = False
    ):
        """Holds what ran already."""
        self.stretches, self.version, self.exported = list(stretches), version, exported

    @property
    def steps(self) -> int:
        """Critic steps of all stretches."""
        return sum(stretch.steps for stretch in self.stretches if stretch.stage == CRITIC)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Ledger:
        """Reads a ledger.

        Raises:
          ValueError: a line is damaged; the message names file and line.
          OSError: the file cannot be read.
        """
        lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        head = _head(lines[0], path) if lines else {"version": VERSION}
        first = 1 if head["version"] == 1 else 2
        stretches = [_parse(line, path, n) for n, line in enumerate(lines[first - 1 :], first)]
        return cls(stretches, head["version"], bool(head.get("exported")))

    def truncate(self, steps: int, *, embedding_released: bool = True) -> None:
        """Forgets the critic steps that came after that many, and a mean embedding that nobody holds.

        Formal guarantee: only what died with its process may be forgotten: nothing that came of it was, or can be, published.

        Raises:
          ValueError: something was published.
        """
        if self.exported:
            raise ValueError("a ledger of what was exported is never cut")
        kept, left = [], steps
        for stretch in self.stretches:
            if stretch.stage != CRITIC:
                kept += [stretch] * embedding_released
                continue
            taken = min(left, stretch.steps)
            if taken:
                kept.append(dataclasses.replace(stretch, steps=taken))
            left -= taken
        self.stretches = kept

    def record(self, stretch: Stretch, *, continues: bool = False) -> None:
        """Appends a stretch, merged with the last one if that is the same mechanism going on.

        Formal guarantee: shuffled stretches apart cost at least as much as merged. They are merged only on the
        caller's word, since a session that starts anew is a fresh pass, which may bring a record back at once.

        Args:
          stretch: what ran since the last record.
          continues: it went on with the pass over the data that the last stretch was in.
        """
        last = self.stretches[-1] if self.stretches else None
        same = last is not None and dataclasses.replace(last, steps=stretch.steps) == stretch
        if last is not None and same and (continues or stretch.sampler == "poisson"):
            self.stretches[-1] = dataclasses.replace(last, steps=last.steps + stretch.steps)
        else:
            self.stretches.append(stretch)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the ledger; a reader sees the old one or the new one, whole."""
        head: dict[str, Any] = {"ledger": "tfartgen", "version": self.version}
        if self.exported:
            head["exported"] = True
        heads = [] if self.version == 1 else [head]
        rows = [*heads, *(stretch.as_json() for stretch in self.stretches)]
        lines = [json.dumps(row, default=_plain) for row in rows]
        write_atomically(pathlib.Path(path), "".join(f"{line}\n" for line in lines), private=True)


def _plain(number: Any) -> Any:
    """NumPy's numbers as Python's."""
    return number.item()


def _head(line: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The first line of a ledger; one of version 1 has none.

    Raises:
      ValueError: it is of a later version.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return {"version": 1}  # whoever parses it says what is wrong
    if not isinstance(fields, dict) or "ledger" not in fields:
        return {"version": 1}
    if fields.get("version") != VERSION:
        raise ValueError(
            f"{path} is a ledger of version {fields.get('version')!r}, and this is tfartgen for versions 1 and {VERSION}; "
            "install the tfartgen that wrote it"
        )
    return fields


def _parse(line: str, path: str | os.PathLike[str], number: int) -> Stretch:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("no Gaussian mechanism")
        return Stretch.from_json(fields)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} line {number} is damaged ({error}); restore the ledger") from None
