# SPDX-License-Identifier: Apache-2.0
"""What ran -> epsilon. Nothing here looks at settings: only at stretches of private steps (`ledger`).

Neighbouring data sets differ by one record, added or removed while their number n, a public constant, stays the same (a record
is replaced by nothing: zero-out, Kairouz et al. 2021), so that rates, steps and delta are the same in both. Every epsilon is dp-accounting's; we choose the event, the accuracy and the accountant. What the limits of our draws can cost
(`noise_limits`) is taken off delta before anything is priced.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import math
from collections.abc import Sequence
from typing import Optional

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp
from scipy import optimize

from tfartgen import _validate, deltas, noise_limits
from tfartgen.ledger import SAMPLERS, Ledger, Stretch, compose
from tfartgen.rounding import given, upwards

__all__ = [
    "MAX_NOISE_MULTIPLIER",
    "MEANINGFUL_EPSILON",
    "MIN_NOISE_MULTIPLIER",
    "RELATION",
    "SAMPLERS",
    "EpsilonMeter",
    "Ledger",
    "Spent",
    "Stretch",
    "calibrate_noise_multiplier",
    "compose",
    "epsilon",
    "filter_order",
    "kl_bound",
    "spent",
    "within_filter",
]

#: Which data sets are neighbours, where n is stated; what was said before it was.
RELATION = "add or remove one record, n being public and fixed (zero-out)"
_RELATION_BEFORE = {"poisson": "add or remove one record", "shuffle": "zero out one record"}

#: Above this epsilon the worst-case guarantee allows a likelihood ratio of e^20: it says nothing of use.
MEANINGFUL_EPSILON = 20.0

#: The noise multipliers between which calibration searches.
MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER = 1e-3, 1e4

#: Privacy losses are put on a grid which gives those of one step, and epsilon, this many points.
_STEP_POINTS, _EPSILON_POINTS = 20_000, 100_000

#: Allowances for the arithmetic of one step: in delta (what the FFT may add or take), and in the log of a Renyi
#: moment of the sampled Gaussian (dp-accounting ends its series where terms fall below e^-30).
_DELTA_ALLOWANCE, _MOMENT_ALLOWANCE = 1e-14, 2e-13

_ADD_OR_REMOVE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE

#: Orders of the Renyi accountant: dp-accounting's, and some nearer one that serve small noise.
_ORDERS = np.array([1 + x / 100 for x in range(2, 10)] + list(rdp.RdpAccountant().orders))

#: Orders for the KL divergence, which each of them bounds.
_ORDERS_NEAR_ONE = 1 + 10.0 ** np.arange(-6, 1)


def epsilon(stretches: Sequence[Stretch], delta: float, accountant: str = "pld") -> float:
    """Epsilon spent.

    Formal guarantee: an upper bound. The Renyi accountant's is one by theory; privacy loss distributions are
    discretised pessimistically, on a grid that is coarser for larger epsilon so that time stays bounded. An
    allowance for the rounding errors of both is added, and delta is lowered by what the limits of the draws can cost
    (`_Limits`). Where that is all of delta there is no epsilon, however large.

    Args:
      stretches: what ran.
      delta: probability with which the bound may fail.
      accountant: 'pld' (privacy loss distributions, or the Renyi accountant where that gives less: see
        `Spent.accountant`) or 'rdp' (Renyi).

    Returns:
      Epsilon; infinity when some steps ran without noise, or with so little that its limits take all of delta.

    Raises:
      ValueError: delta is not between 0 and 1, or the accountant is unknown.
    """
    _validate.one_of("accountant", accountant, ("pld", "rdp"))
    by_pld, by_rdp = _bounds(stretches, delta, with_pld=accountant == "pld")
    return min(by_pld, by_rdp)


def _bounds(
    stretches: Sequence[Stretch], delta: float, with_pld: bool = True
) -> tuple[float, float]:
    """Epsilon by PLD (infinity where it is not computed) and by RDP."""
    _validate.probability("delta", delta)
    if not all(stretch.is_private for stretch in stretches):
        return math.inf, math.inf
    limits = _Limits.of(stretches)
    left = limits.left_of(delta)
    if not left > 0:
        return math.inf, math.inf
    # Discrete noise has the Renyi curve of the continuous Gaussian, exactly (arXiv 2004.00010, proposition 5).
    by_rdp = _renyi_epsilon(_renyi(stretches, _ORDERS), left)
    left -= _DELTA_ALLOWANCE * sum(stretch.charges for stretch in stretches)
    if not with_pld or not left > 0:
        return math.inf, by_rdp
    widest = max((_widest_loss(stretch) for stretch in stretches if stretch.steps), default=0.0)
    interval = max(1e-6, widest / _STEP_POINTS, by_rdp / _EPSILON_POINTS)
    try:
        losses = pld.PLDAccountant(_ADD_OR_REMOVE, interval).compose(compose(stretches))
        return _pld_epsilon(losses, left, limits.variation), by_rdp
    except OverflowError:  # dp-accounting's, for tiny noise
        return math.inf, by_rdp


@dataclasses.dataclass(frozen=True)
class _Limits:
    """What separates the draws that ran from the noise that is priced.

    Let M be the mechanism with ideal Gaussian noise, and M' the one that ran.

    *A critic's draws* are, but for the grid of floats, Gaussian draws on the condition that none is beyond the limit. Where an
    output is possible on both of two neighbours, the likelihood ratio of M' is at most that of M, and its density is at most
    `1 / (1 - beyond)` times that of M. So if M is (epsilon, delta)-private, M' is (epsilon, (delta + impossible) /
    (1 - beyond))-private. Under Poisson sampling that holds given the batch of all other records, which the price of
    M allows to be known.

    *Exact noise*: rounded to the grid, M's continuous noise is post-processing of M, and differs from ours by `variation` in
    total variation; so M' is (epsilon, delta + (1 + e^epsilon) variation)-private.

    Attributes:
      impossible: probability of an output that the neighbour cannot have, over all steps.
      beyond: probability that an ideal draw is beyond the limit, over all steps.
      variation: between rounded and discrete noise, over all steps.
    """

    impossible: float
    beyond: float
    variation: float

    @classmethod
    def of(cls, stretches: Sequence[Stretch]) -> _Limits:
        """Added up over what ran (union bounds); ideal noise, whose `coordinates` are None, adds nothing."""
        impossible = beyond = variation = 0.0
        for stretch in stretches:
            if not stretch.steps or stretch.coordinates is None:
                continue
            if stretch.grid is not None:
                variation += stretch.steps * noise_limits.rounding_variation(
                    stretch.scale, stretch.coordinates
                )
                continue
            noise, count = stretch.noise_multiplier, stretch.coordinates
            impossible += stretch.steps * noise_limits.impossible(noise, count)
            beyond += stretch.steps * noise_limits.beyond_limit(count)
        return cls(impossible, beyond, variation)

    def left_of(self, delta: float) -> float:
        """The delta at which M is to be priced, before what `variation` costs; not above zero where there is none."""
        return delta * (1.0 - self.beyond) - self.impossible


def _pld_epsilon(losses: pld.PLDAccountant, delta: float, variation: float) -> float:
    """The least epsilon whose own `delta` and `(1 + e^epsilon) variation` are at most delta, from below."""
    value = _or_infinite(losses.get_epsilon(delta))
    while variation and math.isfinite(value):
        left = delta - (1.0 + math.exp(min(value, 700.0))) * variation
        needed = _or_infinite(losses.get_epsilon(left)) if left > 0 else math.inf
        if needed <= value:
            break
        value = needed + 1e-9 * max(1.0, needed)
    return value


def _widest_loss(stretch: Stretch) -> float:
    """Privacy loss of one step where noise is ten standard deviations out, as far as dp-accounting looks."""
    noise, rate = stretch.noise_multiplier, stretch.sampling_rate
    if stretch.sampler == "shuffle":
        noise, rate = noise / math.sqrt(stretch.charges), 1.0
    plain = (0.5 + 10 * noise) / noise**2
    return float(np.logaddexp(math.log(rate) + plain, math.log1p(-rate) if rate < 1 else -math.inf))


def _renyi(stretches: Sequence[Stretch], orders: np.ndarray) -> np.ndarray:
    """Renyi divergence of every order, with an allowance for rounding errors."""
    accountant = rdp.RdpAccountant(orders, _ADD_OR_REMOVE).compose(compose(stretches))
    sampled = sum(s.steps for s in stretches if s.sampler == "poisson" and s.sampling_rate < 1)
    allowance = sampled * _MOMENT_ALLOWANCE / (orders - 1)
    return accountant.rdp + allowance


def _renyi_epsilon(divergences: np.ndarray, delta: float, orders: np.ndarray = _ORDERS) -> float:
    return _or_infinite(rdp.compute_epsilon(orders, divergences, delta)[0])


def _or_infinite(value: float) -> float:
    return float(value) if value >= 0 else math.inf


@dataclasses.dataclass(frozen=True)
class Spent:
    """What stretches cost, for people and for statements.

    Attributes:
      epsilon: by `accountant`; infinity for none.
      delta: at which it holds.
      accountant: 'pld'; 'rdp' where the Renyi accountant gives less, which is where losses
        overflow (from about 1e8) or delta is too small for double precision; 'none' where there is no epsilon.
      rdp_epsilon: the Renyi accountant's bound on the same.
      relation: which data sets are neighbours.
      is_meaningful: epsilon is at most `MEANINGFUL_EPSILON`, and delta below one over the number of records.
      explanation: one sentence.
      version: of dp-accounting.
      ideal_epsilon: with ideal Gaussian noise, which has no limit, in place of what was drawn; infinity for none. Where
        epsilon is infinite and this is not, noise was small beside the limit of its draws.
      taken_off_delta: by the limits of the draws, at this epsilon; delta itself where that is all of it.
    """

    epsilon: float
    delta: float
    accountant: str
    rdp_epsilon: float
    relation: str
    is_meaningful: bool
    explanation: str
    version: str
    ideal_epsilon: float
    taken_off_delta: float


def spent(stretches: Sequence[Stretch], delta: float, num_records: Optional[int] = None) -> Spent:
    """Prices stretches; arguments and errors as in `epsilon`.

    Args:
      stretches: what ran.
      delta: as in `epsilon`.
      num_records: n, which delta is held against; None where it is not known.
    """
    by_pld, by_rdp = _bounds(stretches, delta)
    value = min(by_pld, by_rdp)
    relation = RELATION
    if num_records is None:
        shuffled = any(s.sampler == "shuffle" for s in stretches)
        relation = _RELATION_BEFORE["shuffle" if shuffled else "poisson"]
    accountant = "pld" if by_pld <= by_rdp else "rdp"
    meaningful = value <= MEANINGFUL_EPSILON and deltas.guarantees(delta, num_records)
    ideal = value
    if not math.isfinite(value):
        ideal = epsilon([_ideal(stretch) for stretch in stretches], delta)
    return Spent(
        epsilon=value,
        delta=delta,
        accountant=accountant if math.isfinite(value) else "none",
        rdp_epsilon=by_rdp,
        relation=relation,
        is_meaningful=meaningful,
        explanation=_explain(value, ideal, delta, relation, num_records),
        version=importlib.metadata.version("dp-accounting"),
        ideal_epsilon=ideal,
        taken_off_delta=_taken_off(_Limits.of(stretches), value, delta, accountant),
    )


def _ideal(stretch: Stretch) -> Stretch:
    return dataclasses.replace(stretch, coordinates=None, grid=None)


def _taken_off(limits: _Limits, value: float, delta: float, accountant: str) -> float:
    if not math.isfinite(value):
        return delta
    taken = delta - limits.left_of(delta)
    if accountant == "pld" and limits.variation:
        taken += (1.0 + math.exp(value)) * limits.variation
    return taken


def _explain(
    value: float, ideal: float, delta: float, relation: str, num_records: Optional[int]
) -> str:
    if not math.isfinite(value):
        if not math.isfinite(ideal):
            return (
                "No formal guarantee: some critic steps ran without noise, so epsilon is infinite."
            )
        return (
            f"No formal guarantee: noise was so small that the limit of its draws, {noise_limits.LIMIT:.1f} standard "
            f"deviations, takes all of delta = {given(delta)}, so epsilon is infinite; ideal noise would give "
            f"{upwards(ideal)}, which says nothing of use."
        )
    figures = f"epsilon = {upwards(value)} at delta = {given(delta)} ({relation})"
    if not deltas.guarantees(delta, num_records):
        return f"No formal guarantee: {deltas.warning(delta, num_records)}. By the accountant, {figures}."
    if value <= MEANINGFUL_EPSILON:
        return f"Formal guarantee: {figures}."
    return f"No useful worst-case guarantee: {figures}, and above {MEANINGFUL_EPSILON:g} it says nothing of use."


@functools.lru_cache(maxsize=64)
def calibrate_noise_multiplier(
    target_epsilon: float,
    delta: float,
    *,
    sampler: str,
    sampling_rate: float,
    batch_size: int,
    clip_norm: float,
    steps: int,
    coordinates: Optional[int] = None,
    grid: Optional[int] = None,
    before: tuple[Stretch, ...] = (),
) -> float:
    """The least noise multiplier, to a thousandth, whose epsilon is at most the target.

    Formal guarantee: `epsilon` of `before` and the planned stretch with the returned value is at most
    `target_epsilon`.

    Args:
      target_epsilon: of everything together.
      delta: as in `epsilon`.
      sampler: of the planned stretch, as the arguments that follow.
      sampling_rate: as in `Stretch`.
      batch_size: as in `Stretch`.
      clip_norm: as in `Stretch`.
      steps: as in `Stretch`.
      coordinates: as in `Stretch`.
      grid: as in `Stretch`.
      before: what runs beside it, already settled.

    Returns:
      The noise multiplier.

    Raises:
      ValueError: a setting is out of range, or no noise multiplier up to 1e4 reaches the target.
    """
    _validate.positive("epsilon", target_epsilon)
    _validate.positive_int("steps", steps)

    @functools.cache
    def cost(noise: float, accountant: str = "pld") -> float:
        stretch = Stretch(
            sampler,
            sampling_rate,
            noise,
            clip_norm,
            batch_size,
            steps,
            coordinates=coordinates,
            grid=grid,
        )
        return epsilon([*before, stretch], delta, accountant)

    def excess(log_noise: float) -> float:
        return math.log(min(max(cost(math.exp(log_noise)), 1e-30), 1e300) / target_epsilon)

    if cost(MIN_NOISE_MULTIPLIER) <= target_epsilon:
        return MIN_NOISE_MULTIPLIER
    if not cost(MAX_NOISE_MULTIPLIER) <= target_epsilon:
        raise ValueError(
            f"--epsilon={target_epsilon:g} with delta {delta:g} is out of reach: no noise multiplier up to "
            f"{MAX_NOISE_MULTIPLIER:g} suffices for {steps} steps at rate {sampling_rate:.3g}; raise --epsilon or "
            "lower --steps or --batch_size"
        )
    low, high = MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER
    while high / low > 1.05:  # the Renyi accountant is fast, and never gives less
        middle = math.sqrt(low * high)
        low, high = (low, middle) if cost(middle, "rdp") <= target_epsilon else (middle, high)
    while low > MIN_NOISE_MULTIPLIER and cost(low) <= target_epsilon:
        low, high = max(MIN_NOISE_MULTIPLIER, low * low / high / 1.05), low
    noise = math.exp(optimize.brentq(excess, math.log(low), math.log(high), xtol=2e-4))
    while not cost(noise) <= target_epsilon:
        noise *= 1.0002
    return noise


class EpsilonMeter:
    """A cheap upper bound on epsilon while steps run, by the Renyi accountant."""

    def __init__(self, stretches_before: Sequence[Stretch], template: Stretch, delta: float):
        """Prepares the bound.

        Args:
          stretches_before: what ran already.
          template: the stretch that runs now; its number of steps does not matter.
          delta: as in `epsilon`.
        """
        self._delta = _validate.probability("delta", delta)
        self._template = dataclasses.replace(template, steps=1)
        self._stretches_before = tuple(stretches_before)
        self._private = all(s.is_private for s in [*stretches_before, self._template])
        if self._private:
            self._before = _renyi(stretches_before, _ORDERS)
            self._per_charge = _renyi([self._template], _ORDERS)

    def at(self, steps: int) -> float:
        """Epsilon by the Renyi accountant after so many steps of the running stretch."""
        if not self._private:
            return math.inf
        running = dataclasses.replace(self._template, steps=steps)
        left = _Limits.of([*self._stretches_before, running]).left_of(self._delta)
        if not left > 0:
            return math.inf
        return _renyi_epsilon(self._before + running.charges * self._per_charge, left)


def filter_order(epsilon_: float, delta: float) -> float:
    """The Renyi order in which a ceiling is kept: the one that lets the most Gaussian noise be spent.

    It depends on the ceiling alone, so it is fixed before anything runs, as the filter's proof demands.
    """
    # What is left for divergence after the conversion to (epsilon, delta) of Canonne, Kamath and Steinke 2020 (arXiv 2004.00010).
    left = epsilon_ - (np.log1p(-1 / _ORDERS) - np.log(delta * _ORDERS) / (_ORDERS - 1))
    return float(_ORDERS[np.argmax(left / _ORDERS)])


def within_filter(
    stretches: Sequence[Stretch], ceiling_epsilon: float, ceiling_delta: float
) -> bool:
    """Whether all that ran and is planned is within a ceiling under which every plan may depend on what came out before.

    Formal guarantee: a Renyi filter (Feldman and Zrnic 2021, arXiv 2008.11193, theorem 4.3): if the Renyi divergences of one
    order, fixed beforehand, add up to at most B, all of it together has divergence at most B of that order, however
    adaptively the parts were chosen. What the limits of draws can cost is a union bound over all draws, and taken off
    delta first. The filter is the sum over everything that was reserved, so that nothing begins which it would refuse.

    Args:
      stretches: everything that the ceiling covers, what is only planned included.
      ceiling_epsilon: the ceiling.
      ceiling_delta: the delta at which it holds.
    """
    if not all(stretch.is_private for stretch in stretches):
        return False
    left = _Limits.of(stretches).left_of(ceiling_delta)
    if not left > 0:
        return False
    order = np.array([filter_order(ceiling_epsilon, ceiling_delta)])
    return _renyi_epsilon(_renyi(stretches, order), left, order) <= ceiling_epsilon


def kl_bound(stretches: Sequence[Stretch]) -> float:
    """Bound on the expected privacy loss, KL(release of D || release of D'), in nats.

    Formal guarantee: the Renyi divergence of every order above one bounds KL; this is the least over orders
    that come close to one. Of exact noise it is the bound; of a critic's draws, that of the Gaussian whose limit they
    have (`noise_limits`): outputs beyond that are left to delta.
    """
    if not all(stretch.is_private for stretch in stretches):
        return math.inf
    return float(np.min(_renyi(stretches, _ORDERS_NEAR_ONE)))
