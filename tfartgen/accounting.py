# SPDX-License-Identifier: Apache-2.0
"""What ran -> a `DpEvent` -> epsilon. Nothing here looks at settings: only at stretches of critic steps that ran.

Neighbouring data sets differ by one record, added or removed (zeroed out where batches are shuffled). Every
epsilon is dp-accounting's; we choose the event, the accuracy and the accountant.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp

from tfartgen import _validate

#: Above this epsilon the worst-case guarantee allows a likelihood ratio of e^20: it says nothing of use.
MEANINGFUL_EPSILON = 20.0

#: Largest noise multiplier that calibration tries.
MAX_NOISE_MULTIPLIER = 1e4

SAMPLERS = ("poisson", "shuffle")

#: Finest grid of privacy losses, kept up to `_FINE_EPSILON`; above it the grid grows with epsilon.
_FINEST_INTERVAL, _FINE_EPSILON = 1e-4, 50.0

_ADD_OR_REMOVE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE

#: Orders of the Renyi accountant; those next to one serve tiny noise and the KL bound.
_ORDERS = (
    [1 + 10.0**-x for x in (6, 5, 4, 3, 2)]
    + [1 + x / 10.0 for x in range(1, 100)]
    + list(range(11, 64))
    + [128, 256, 512, 1024]
)


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Consecutive critic steps of one mechanism, as they ran.

    Attributes:
      sampler: 'poisson' or 'shuffle'.
      sampling_rate: q, expected batch size over number of records.
      noise_multiplier: sigma, noise standard deviation over clip norm.
      clip_norm: S, in L2 norm.
      batch_size: expected number of records of a step.
      steps: how many.
    """

    sampler: str
    sampling_rate: float
    noise_multiplier: float
    clip_norm: float
    batch_size: int
    steps: int

    def __post_init__(self) -> None:
        _validate.one_of("sampler", self.sampler, SAMPLERS)
        _validate.fraction("sampling_rate", self.sampling_rate)
        _validate.non_negative("noise_multiplier", self.noise_multiplier)
        _validate.positive("clip_norm", self.clip_norm)
        _validate.positive_int("batch_size", self.batch_size)
        if self.steps != 0:
            _validate.positive_int("steps", self.steps)

    def event(self) -> dp_accounting.DpEvent:
        """The stretch as dp-accounting prices it.

        Poisson: amplified by sampling. Shuffle: a session starts with a fresh pass, so that a record is in at
        most `ceil(steps * q)` batches, and no amplification is claimed.
        """
        if self.steps == 0:
            return dp_accounting.NoOpDpEvent()
        if self.noise_multiplier == 0:
            return dp_accounting.NonPrivateDpEvent()
        gaussian = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        if self.sampler == "shuffle":
            passes = math.ceil(self.steps * self.sampling_rate)
            return dp_accounting.SelfComposedDpEvent(gaussian, passes)
        sampled = dp_accounting.PoissonSampledDpEvent(self.sampling_rate, gaussian)
        return dp_accounting.SelfComposedDpEvent(sampled, self.steps)


def compose(stretches: Iterable[Stretch]) -> dp_accounting.DpEvent:
    """All stretches as one event."""
    return dp_accounting.ComposedDpEvent([stretch.event() for stretch in stretches])


def epsilon(stretches: Sequence[Stretch], delta: float, accountant: str = "pld") -> float:
    """Epsilon spent.

    Formal guarantee: an upper bound. The Renyi accountant's is one by theory; privacy loss distributions are
    discretised pessimistically, on a grid that is coarser for larger epsilon so that time stays bounded.

    Args:
      stretches: what ran.
      delta: probability that the bound may fail with.
      accountant: 'pld' (privacy loss distributions) or 'rdp' (Renyi).

    Returns:
      Epsilon; infinity when some steps ran without noise.

    Raises:
      ValueError: delta is not between 0 and 1, or the accountant is unknown.
    """
    _validate.probability("delta", delta)
    _validate.one_of("accountant", accountant, ("pld", "rdp"))
    if any(s.noise_multiplier == 0 and s.steps > 0 for s in stretches):
        return math.inf
    event = compose(stretches)
    renyi = rdp.RdpAccountant(_ORDERS, _ADD_OR_REMOVE).compose(event).get_epsilon(delta)
    if accountant == "rdp":
        return float(renyi)
    interval = _FINEST_INTERVAL * max(1.0, renyi / _FINE_EPSILON)
    return float(pld.PLDAccountant(_ADD_OR_REMOVE, interval).compose(event).get_epsilon(delta))


@dataclasses.dataclass(frozen=True)
class Spent:
    """What stretches cost, for people and for statements.

    Attributes:
      epsilon: by `accountant`; infinity for none.
      delta: at which it holds.
      accountant: 'pld', or 'none' when some steps ran without noise.
      rdp_epsilon: the Renyi accountant's bound on the same.
      relation: which data sets are neighbours.
      is_meaningful: epsilon is at most `MEANINGFUL_EPSILON`.
      explanation: one sentence.
      version: of dp-accounting.
    """

    epsilon: float
    delta: float
    accountant: str
    rdp_epsilon: float
    relation: str
    is_meaningful: bool
    explanation: str
    version: str


def spent(stretches: Sequence[Stretch], delta: float) -> Spent:
    """Prices stretches; arguments and errors as in `epsilon`."""
    value = epsilon(stretches, delta)
    shuffled = any(s.sampler == "shuffle" for s in stretches)
    relation = "zero out one record" if shuffled else "add or remove one record"
    meaningful = value <= MEANINGFUL_EPSILON
    return Spent(
        epsilon=value,
        delta=delta,
        accountant="pld" if math.isfinite(value) else "none",
        rdp_epsilon=epsilon(stretches, delta, "rdp"),
        relation=relation,
        is_meaningful=meaningful,
        explanation=_explain(value, delta, relation, meaningful),
        version=importlib.metadata.version("dp-accounting"),
    )


def _explain(value: float, delta: float, relation: str, meaningful: bool) -> str:
    if not math.isfinite(value):
        return "No formal guarantee: some critic steps ran without noise, so epsilon is infinite."
    figures = f"epsilon = {value:.4g} at delta = {delta:g} ({relation})"
    if meaningful:
        return f"Formal guarantee: {figures}."
    return f"No useful worst-case guarantee: {figures}, and above {MEANINGFUL_EPSILON:g} it says nothing of use."


def calibrate_noise_multiplier(
    target_epsilon: float,
    delta: float,
    *,
    sampler: str,
    sampling_rate: float,
    batch_size: int,
    clip_norm: float,
    steps: int,
) -> float:
    """The least noise multiplier, to a thousandth, whose epsilon is at most the target.

    Formal guarantee: `epsilon` of the planned stretch with the returned value is at most `target_epsilon`.

    Raises:
      ValueError: a setting is out of range, or no noise multiplier up to 1e4 reaches the target.
    """
    _validate.positive("epsilon", target_epsilon)

    @functools.cache
    def cost(noise: float) -> float:
        stretch = Stretch(sampler, sampling_rate, noise, clip_norm, batch_size, steps)
        return epsilon([stretch], delta)

    low, high = 0.05, 0.1
    while not cost(high) <= target_epsilon:
        low, high = high, high * 2
        if high > MAX_NOISE_MULTIPLIER:
            raise ValueError(
                f"--epsilon={target_epsilon:g} with delta {delta:g} is out of reach: no noise multiplier up to "
                f"{MAX_NOISE_MULTIPLIER:g} suffices for {steps} steps at rate {sampling_rate:.3g}; raise --epsilon or "
                "lower --steps or --batch_size"
            )
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if cost(middle) <= target_epsilon else (middle, high)
    return high


class EpsilonMeter:
    """A cheap upper bound on epsilon while steps run, by the Renyi accountant."""

    def __init__(self, stretches_before: Sequence[Stretch], template: Stretch, delta: float):
        """Prepares the bound.

        Args:
          stretches_before: what ran already.
          template: the stretch that runs now; its number of steps does not matter.
          delta: as in `epsilon`.
        """
        self._log_delta = math.log(_validate.probability("delta", delta))
        self._orders = np.array([order for order in _ORDERS if order > 1.0])
        self._shuffled = template.sampler == "shuffle"
        self._rate = template.sampling_rate
        before = [s for s in stretches_before if s.steps]
        unit = dataclasses.replace(template, steps=1)
        self._infinite = any(s.noise_multiplier == 0 for s in [*before, unit])
        if not self._infinite:
            self._before = self._rdp(compose(before)) if before else 0.0
            self._per_step = self._rdp(unit.event())

    def _rdp(self, event: dp_accounting.DpEvent) -> np.ndarray:
        accountant = rdp.RdpAccountant(self._orders, _ADD_OR_REMOVE).compose(event)
        return np.array(accountant._rdp)  # pylint: disable=protected-access

    def at(self, steps: int) -> float:
        """Epsilon after so many steps of the running stretch (Canonne et al. 2020, arXiv 2004.00010, prop. 12)."""
        if self._infinite:
            return math.inf
        count = math.ceil(steps * self._rate) if self._shuffled else steps
        total, order = self._before + count * self._per_step, self._orders
        bound = total + np.log1p(-1 / order) - (self._log_delta + np.log(order)) / (order - 1)
        return float(max(0.0, np.min(bound[order > 1.01])))


def kl_bound(stretches: Sequence[Stretch]) -> float:
    """Bound on the expected privacy loss, KL(release of D || release of D'), in nats.

    The Renyi divergence of every order above one bounds KL; the order is taken to one.
    """
    if any(s.noise_multiplier == 0 and s.steps > 0 for s in stretches):
        return math.inf
    order = 1 + 1e-6
    total = 0.0
    for stretch in stretches:
        accountant = rdp.RdpAccountant([order], _ADD_OR_REMOVE).compose(stretch.event())
        total += float(accountant._rdp[0])  # pylint: disable=protected-access
    return total


class Ledger:
    """Stretches of critic steps in the order in which they ran, on file as one JSON line each."""

    def __init__(self, stretches: Iterable[Stretch] = ()):
        """Holds what ran already."""
        self.stretches = list(stretches)

    @property
    def steps(self) -> int:
        """Critic steps of all stretches."""
        return sum(stretch.steps for stretch in self.stretches)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Ledger:
        """Reads a ledger.

        Raises:
          ValueError: a line is damaged; the message names file and line.
          OSError: the file cannot be read.
        """
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
        return cls([_parse(line, path, number) for number, line in enumerate(lines, 1)])

    def truncate(self, steps: int) -> None:
        """Forgets what came after that many steps."""
        kept, left = [], steps
        for stretch in self.stretches:
            taken = min(left, stretch.steps)
            if taken:
                kept.append(dataclasses.replace(stretch, steps=taken))
            left -= taken
        self.stretches = kept

    def record(self, stretch: Stretch) -> None:
        """Appends a stretch; one that goes on with the mechanism of the last is merged with it.

        Shuffled stretches are never merged across sessions: each starts a fresh pass. Within a session the
        caller records the difference, which prices at least as much apart as together.
        """
        last = self.stretches[-1] if self.stretches else None
        same = last is not None and dataclasses.replace(last, steps=stretch.steps) == stretch
        if last is not None and same and stretch.sampler == "poisson":
            self.stretches[-1] = dataclasses.replace(last, steps=last.steps + stretch.steps)
        else:
            self.stretches.append(stretch)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the ledger; a reader sees the old one or the new one, whole."""
        path = pathlib.Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            for stretch in self.stretches:
                fields = {"mechanism": "gaussian", **dataclasses.asdict(stretch)}
                file.write(json.dumps(fields) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def _parse(line: str, path: str | os.PathLike[str], number: int) -> Stretch:
    try:
        fields = json.loads(line)
        if fields.pop("mechanism") != "gaussian":
            raise ValueError("unknown mechanism")
        return Stretch(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} line {number} is damaged ({error}); restore the ledger") from None
