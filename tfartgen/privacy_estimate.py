# SPDX-License-Identifier: Apache-2.0
"""The empirical privacy estimate of a release: points in, figures out.

Two imitations of leaving a record out, `estimation.imitate` and `record_mixture`, are computed for members, the
records that were trained on, and once more for members and controls pooled, records that were not. The larger one
counts. The result is an estimate about typical records that presumes local influence; it is no guarantee.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import _validate, audit, chebyshev, estimation, record_mixture
from tfartgen.rounding import upwards

IMITATIONS = ("neighbours", "mixture")

#: Standard errors from the excess of members down to the lower end, and from the estimate up to the upper.
_ERRORS_BELOW, _ERRORS_ABOVE = 3.0, 2.0
#: Share of the examples that saturated records own, above which the mean is "at least" what it is.
MOST_SATURATED = 0.05
#: Ratios are told up to here: beyond, controls lose next to nothing.
LARGEST_RATIO = 1000.0
#: Resampled means behind the interval of the ratio, and its two-sided level.
_RESAMPLES, _LEVEL = 5000, 0.01
#: Records up to which means are resampled; beyond, means are as good as normal.
_BY_RESAMPLING = 2000
#: Share of the candidates that the audit guesses.
_GUESSED = 0.2


@dataclasses.dataclass(frozen=True)
class PrivacyEstimateConfig:
    """How to estimate.

    Attributes:
      k: which neighbour.
      group_size: records of one person, see `estimation.imitate`.
      seeds: random halvings of the artificial examples to average over.
      seed: of the first.
      num_records: members that are looked at; None for all.
      gammas: shares of records that may exceed a bound or be saturated.
    """

    k: int = 5
    group_size: int = 1
    seeds: int = 1
    seed: int = 0
    num_records: Optional[int] = None
    gammas: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)

    def __post_init__(self) -> None:
        for name in ("k", "group_size", "seeds"):
            _validate.positive_int(f"--{name}", getattr(self, name))
        if self.num_records is not None:
            _validate.positive_int("--num_records", self.num_records)
        for gamma in self.gammas:
            _validate.probability("--gammas", gamma)


@dataclasses.dataclass(frozen=True, eq=False)
class PrivacyEstimate:
    """The estimate, and what it was made from.

    Attributes:
      members: positions of the members that were looked at.
      losses: of these, nats per artificial example, by the imitation that counts.
      saturated: which of these are known as "at least" only.
      pooled_members: losses of members where controls compete for examples.
      pooled_controls: of those controls.
      document: all figures, JSON-able.
    """

    members: np.ndarray
    losses: np.ndarray
    saturated: np.ndarray
    pooled_members: np.ndarray
    pooled_controls: np.ndarray
    document: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class _Sides:
    """Losses of records by both imitations, averaged over halvings."""

    neighbours: np.ndarray
    mixture: np.ndarray
    mixture_error: float
    owned: np.ndarray
    saturated: np.ndarray
    structure: estimation.Structure

    def of(self, chosen: np.ndarray) -> _Sides:
        """The same of some of the records."""
        names = ("neighbours", "mixture", "owned", "saturated")
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def mean(self, name: str) -> float:
        return float(getattr(self, name).mean())

    def error(self, name: str) -> float:
        """Standard error of the mean: of the records, and for the mixture of the examples too."""
        losses = getattr(self, name)
        of_records = losses.std() / np.sqrt(len(losses))
        return float(np.hypot(of_records, self.mixture_error if name == "mixture" else 0.0))


def estimate(
    artificial: np.ndarray,
    members: np.ndarray,
    controls: np.ndarray,
    config: PrivacyEstimateConfig = PrivacyEstimateConfig(),
    progress: Callable[[str], object] = lambda stage: None,
) -> PrivacyEstimate:
    """Estimates the expected privacy loss of leaving a record out.

    Args:
      artificial: examples of the release, [artificial, dimensions].
      members: records that were trained on, [members, dimensions].
      controls: records of the same population that were not, [controls, dimensions].
      config: how.
      progress: called with the name of each stage that begins.

    Raises:
      ValueError: shapes that differ, too few examples, or more records asked for than there are.
    """
    rng = np.random.default_rng(config.seed)
    estimation.require_examples(len(artificial) // 2, config.k)
    chosen = _chosen(len(members), config.num_records, rng)
    halves = [_halves(artificial, rng) for _ in range(config.seeds)]
    progress("members")
    alone, mixture = _sides(halves, artificial, members, config)
    alone = alone.of(chosen)
    progress("members and controls")
    pooled, size = _pooled(halves, artificial, members[chosen], controls, config, rng)
    progress("a copier whose loss is known")
    check = _copier_check(mixture, members, len(artificial), config, rng)
    name = max(IMITATIONS, key=alone.mean)
    losses, saturated = getattr(alone, name), alone.saturated
    pooled_losses = getattr(pooled, name)
    document = {
        **_of_members(alone, name, pooled_losses, size),
        **_of_controls(pooled_losses, size, pooled.saturated, rng),
        "structure": _described(alone.structure),
        "copier_check": check,
        "mu": [_mu(losses, saturated, gamma, len(artificial)) for gamma in config.gammas],
        "attack": _attack(pooled, size, rng),
    }
    return PrivacyEstimate(
        chosen, losses, saturated, pooled_losses[:size], pooled_losses[size:], document
    )


def _chosen(count: int, asked: Optional[int], rng: np.random.Generator) -> np.ndarray:
    if asked is not None and asked > count:
        raise ValueError(f"--num_records={asked} exceeds the {count} training records; lower it")
    return np.sort(rng.permutation(count)[: asked or count])


def _halves(artificial: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(len(artificial))
    middle = len(order) // 2
    return artificial[order[:middle]], artificial[order[middle:]]


def _sides(
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
    artificial: np.ndarray,
    records: np.ndarray,
    config: PrivacyEstimateConfig,
) -> tuple[_Sides, record_mixture.RecordMixture]:
    mixture, alone = record_mixture.estimate(artificial, records)
    of_mixture = alone.losses
    if config.group_size > 1:
        of_mixture = record_mixture.group_losses(mixture, artificial, records, config.group_size)
    each = [estimation.imitate(*pair, records, config.k, config.group_size) for pair in halves]
    sides = _Sides(
        neighbours=np.mean([one.losses for one in each], axis=0),
        mixture=of_mixture,
        mixture_error=alone.standard_error * config.group_size,
        owned=np.mean([one.owned for one in each], axis=0),
        saturated=np.any([one.saturated for one in each], axis=0),
        structure=each[0].structure,
    )
    return sides, mixture


def _pooled(
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
    artificial: np.ndarray,
    members: np.ndarray,
    controls: np.ndarray,
    config: PrivacyEstimateConfig,
    rng: np.random.Generator,
) -> tuple[_Sides, int]:
    """Losses of as many members as controls, members first, with their number."""
    size = min(len(members), len(controls))
    if size < 2:
        few = "--control" if len(controls) < 2 else "--dataset, or --num_records of it,"
        raise ValueError(f"{few} has {size} records; give at least 2")
    some = [each[rng.permutation(len(each))[:size]] for each in (members, controls)]
    pool = np.concatenate(some)
    return _sides(halves, artificial, pool, config)[0], size


def _of_members(alone: _Sides, name: str, pooled: np.ndarray, size: int) -> dict[str, Any]:
    means = {
        each: {"mean": alone.mean(each), "standard_error": alone.error(each)} for each in IMITATIONS
    }
    owned = alone.owned / max(alone.owned.sum(), 1)
    excess, error = _excess(pooled[:size], pooled[size:])
    of_owned = float(owned[alone.saturated].sum())
    return {
        "imitation": name,
        "imitations": means,
        "mean_loss": means[name]["mean"],
        "mean_loss_low": max(0.0, excess - _ERRORS_BELOW * error),
        "mean_loss_high": max(
            each["mean"] + _ERRORS_ABOVE * each["standard_error"] for each in means.values()
        ),
        "saturated_share": float(alone.saturated.mean()),
        "saturated_owned_share": of_owned,
        "mean_is_at_least": of_owned > MOST_SATURATED,
    }


def _excess(members: np.ndarray, controls: np.ndarray) -> tuple[float, float]:
    """Of the members' mean over the controls', with its standard error."""
    error = np.sqrt(members.var() / len(members) + controls.var() / len(controls))
    return float(members.mean() - controls.mean()), float(error)


def _of_controls(
    pooled: np.ndarray, size: int, saturated: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    members, controls = pooled[:size], pooled[size:]
    means = [
        (
            side[rng.integers(0, size, [_RESAMPLES, size])].mean(axis=1)
            if size <= _BY_RESAMPLING
            else side.mean() + side.std() / np.sqrt(size) * rng.standard_normal(_RESAMPLES)
        )
        for side in (members, controls)
    ]
    low, high = (float(np.quantile(ratio(*means), q)) for q in (_LEVEL / 2, 1 - _LEVEL / 2))
    excess, error = _excess(members, controls)
    return {
        "controls": {
            "count": size,
            "pooled_member_mean": float(members.mean()),
            "pooled_control_mean": float(controls.mean()),
            "excess": excess,
            "excess_standard_error": error,
            "saturated_share": float(saturated[size:].mean()),
        },
        "members_to_controls": float(ratio(members.mean(), controls.mean())),
        "members_to_controls_interval": [low, high],
    }


def ratio(members: Any, controls: Any) -> np.ndarray:
    """Members' mean loss over controls', between 0 and `LARGEST_RATIO`.

    Losses of controls can be zero, and below it by noise. The rule: a mean counts as a thousandth of the larger at
    least, so that two records which lose nothing are alike, and no ratio is infinite.
    """
    members, controls = np.asarray(members, float), np.asarray(controls, float)
    least = np.maximum(np.maximum(np.abs(members), np.abs(controls)), 1e-300) / LARGEST_RATIO
    return np.maximum(members, least) / np.maximum(controls, least)


def _described(measured: estimation.Structure) -> dict[str, Any]:
    return {
        "apparent_dimensions": measured.dimensions,
        "clumping": measured.clumping,
        "is_clumped": measured.is_clumped,
    }


def _copier_check(
    mixture: record_mixture.RecordMixture,
    members: np.ndarray,
    count: int,
    config: PrivacyEstimateConfig,
    rng: np.random.Generator,
) -> dict[str, float]:
    """What both imitations say of the mixture itself, as many examples of it, whose loss is known."""
    examples = mixture.draw(count, rng)
    known = record_mixture.losses(mixture, examples, members)
    seen = estimation.imitate(*_halves(examples, rng), members, config.k)
    return {
        "known": known.mean,
        "neighbours": float(seen.losses.mean()),
        "mixture": record_mixture.estimate(examples, members)[1].mean,
        "saturated_share": float(seen.saturated.mean()),
    }


def _mu(losses: np.ndarray, saturated: np.ndarray, gamma: float, examples: int) -> dict[str, Any]:
    """Bounds that all but a share gamma of the records keep, per example and per release; or why there are none.

    Saturated records count as above every bound: `chebyshev.gamma_left` says what that leaves, and proves it.
    """
    count, unbounded = len(losses), int(saturated.sum())
    others, left = losses[~saturated], chebyshev.gamma_left(gamma, count, unbounded)
    row = {
        "gamma": gamma,
        "records": count,
        "saturated": unbounded,
        "saturated_limit": chebyshev.saturated_limit(count, unbounded),
        "gamma_left": left,
    }
    refused = _why_no_mu(row)
    if refused:
        return {**row, "refused": refused, "bounds": {}}
    moments = float(others.mean()), float(others.std(ddof=1))
    bounds = {
        "chebyshev": chebyshev.chebyshev(*moments, left),
        "cantelli": chebyshev.cantelli(*moments, left),
        "saw_yang_mo": chebyshev.saw_yang_mo(others, left),
        "one_sided": chebyshev.one_sided(others, left),
    }
    return {
        **row,
        "refused": None,
        "bounds": {
            name: {"per_example": value, "per_release": value * examples}
            for name, value in bounds.items()
        },
    }


def _why_no_mu(row: Mapping[str, Any]) -> Optional[str]:
    gamma, count, unbounded = row["gamma"], row["records"], row["saturated"]
    least = chebyshev.smallest_gamma(count)
    if gamma < least:
        return f"{count} records support no gamma below {least:.3g}; give more records"
    if unbounded > gamma * count:
        return (
            f"{unbounded / count:.2%} of the records are saturated, more than gamma: "
            f"{unbounded} of {count} have losses that are unbounded"
        )
    limit, left, others = row["saturated_limit"], row["gamma_left"], count - unbounded
    least = chebyshev.smallest_gamma(others)
    if left < least:
        return (
            f"{unbounded} of {count} records are saturated, and {upwards(100 * limit, 3)}% may be (99%): that leaves {left:.3g} of "
            f"gamma, and the other {others} support no less than {least:.3g}; give more records or a larger gamma"
        )
    return None


def _attack(pooled: _Sides, size: int, rng: np.random.Generator) -> dict[str, Any]:
    """Guesses of who was trained on, from the losses of candidates: the extremes at both ends, a fixed number.

    Formal guarantee: candidates are chosen from the pool by fair coins, and the imitation whose losses are taken is that
    which is larger in the whole pool: neither is chosen by who was trained on.
    """
    name = max(IMITATIONS, key=pooled.mean)
    coins, positions = audit.chosen_by_coins(size, len(pooled.owned) - size, rng)
    losses = getattr(pooled, name)[np.where(coins, positions, size + positions)]
    guesses = max(2, round(_GUESSED * len(losses)))
    order = np.argsort(losses, kind="stable")
    low, high = order[: guesses // 2], order[len(order) - (guesses - guesses // 2) :]
    correct = int(coins[high].sum() + (~coins[low]).sum())
    return {"imitation": name, "candidates": len(losses), "guesses": guesses, "correct": correct}


def lower_bound(attack: dict[str, Any], delta: float) -> float:
    """Epsilon below which so many right guesses are out of the question, at 95% confidence.

    It presumes that chance alone decided which records of the pool were trained on. As many of them were whatever the
    coins say, so that a coin replaces a record by another one.
    """
    return audit.epsilon_lower_bound(
        attack["correct"], attack["guesses"], attack["candidates"], delta, replaced=True
    )
