# SPDX-License-Identifier: Apache-2.0
"""What the k-nearest-neighbour estimate of KL says of changes whose KL is known, at the same n, m, k and dimensions.

The estimator's error depends on the distribution, on the size of the KL and, most of all, on how the two
distributions differ. In 32 dimensions it sees about half of a shift, several times the KL of a spread that is too
wide, and less than nothing of one that is too narrow: distances to neighbours measure volumes, and no number of
examples in reach makes them small against the scale of such a density. So there are two ranges, and none is a bound:
that of shifts, and that of all the changes tried here, those that the estimator gets most wrong included.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import linalg, optimize
from sklearn.cluster import KMeans

from tfartgen import _validate, neighbours

#: A calibration is supported where at least this share of a shift's KL is seen, errors taken off.
MINIMUM_RATIO = 0.2
#: Standard deviations of single estimates, by which the range over the references is widened.
_WIDENING = 2.0
#: Eigenvalues of the covariance below this share of the largest are those of constant directions.
_CONSTANT = 1e-12
#: Of the mixture: components, rows that they are found from, and a floor of the covariance within them.
_COMPONENTS, _CLUSTERED, _WITHIN = 10, 2000, 1e-6
#: Points of the Monte Carlo integral; its standard error is about 1% of the KL.
_POINTS = 20_000
#: Nats; what is larger is beyond any number of examples.
_LARGEST = 100.0
#: Pairs of points whose distances one estimate costs; above it, fewer rows of the first sample are searched for.
_PAIRS = 2e8


@dataclasses.dataclass(frozen=True)
class Reference:
    """One known change, and what the estimator said of it.

    Attributes:
      name: what it is.
      shift: whether it is one of the shifts that decide; else it only shows what can go wrong.
      divergence: its KL, nats; the mean over repeats.
      divergence_error: standard error of one repeat's KL, nats; zero for a closed form.
      ratio: mean of estimate / KL.
      ratio_std: standard deviation of estimate / KL over the repeats, direction of the shift included.
      repeats: how many.
    """

    name: str
    shift: bool
    divergence: float
    divergence_error: float
    ratio: float
    ratio_std: float
    repeats: int


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the estimator says of known changes: (estimate of KL) / KL.

    The stated error: one estimate of a shift with a KL of about `divergence` is predicted to be in
    `[ratio_low, ratio_high]` times that KL. Of any change, `[worst_low, worst_high]` is what was met here.

    Attributes:
      dimensions: of the space.
      rank: dimensions less constant directions.
      first_count: examples of p.
      second_count: examples of q.
      k: which neighbour.
      divergence: the known KL, nats.
      references: the changes.
      ratio: mean over the shifts.
      ratio_low: least of mean - 2 standard deviations over the shifts.
      ratio_high: largest of mean + 2 standard deviations over the shifts.
      worst_low: as `ratio_low`, over all references.
      worst_high: as `ratio_high`, over all references.
      supported: `ratio_low` is at least `MINIMUM_RATIO`: each shift is estimated 2 standard deviations above zero,
        and at no less than that share of its KL.
      reason: one line; why, or what would help.
    """

    dimensions: int
    rank: int
    first_count: int
    second_count: int
    k: int
    divergence: float
    references: tuple[Reference, ...]
    ratio: float
    ratio_low: float
    ratio_high: float
    worst_low: float
    worst_high: float
    supported: bool
    reason: str

    def require_supported(self) -> None:
        """Does nothing where the calibration supports estimates.

        Raises:
          ValueError: it does not.
        """
        if not self.supported:
            raise ValueError(self.reason)

    def to_json(self) -> dict[str, Any]:
        """Everything, as numbers, strings and lists."""
        references = [dataclasses.asdict(reference) for reference in self.references]
        return {**dataclasses.asdict(self), "references": references}


@dataclasses.dataclass(frozen=True)
class _Mixture:
    """Gaussians of one covariance; along the principal axes of the sample, whose unit is the largest deviation.

    Attributes:
      weights: [components].
      centres: [components, rank].
      factor: [rank, rank], Cholesky factor of the covariance within components.
    """

    weights: np.ndarray
    centres: np.ndarray
    factor: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Examples, [count, rank]."""
        which = rng.choice(len(self.weights), count, p=self.weights)
        noise = rng.standard_normal([count, len(self.factor)])
        return self.centres[which] + noise @ self.factor.T


@dataclasses.dataclass(frozen=True)
class _Change:
    """q as a map of draws from p, with KL(p || q) in nats and its standard error."""

    apply: Callable[[np.ndarray], np.ndarray]
    divergence: float
    error: float


_Changes = Callable[[np.random.Generator], _Change]
#: The first fields of `Calibration`, up to `divergence`.
_Facts = tuple[int, int, int, int, int, float]


def calibrate(
    sample: np.ndarray,
    first_count: int,
    second_count: int,
    k: int,
    rng: np.random.Generator,
    *,
    divergence: float = 0.125,
    repeats: int = 8,
) -> Calibration:
    """What `estimation.kl_divergence` says of samples from p and q with a known KL(p || q).

    Two p resemble the sample: a Gaussian with its covariance, and a mixture of ten with one covariance, found by
    k-means. Shifts, which decide: of both, along a random direction, whitened (for the mixture by the
    covariance within components), new at each repeat, and along the first principal axis. Beside them, of the
    Gaussian: a shift along the last principal axis, and q wider or narrower than p by one factor. KL is
    a closed form for the Gaussian, and for the mixture a Monte Carlo integral of exact densities whose linear term,
    with mean zero, is taken off.

    The ratio depends on the size of the KL, as noise and saturation do: give a divergence of the order of the
    estimate. Constant directions get no shift and count as dimensions, as they do in the estimator. Data that are
    constant altogether support nothing. The order of the sample's rows changes nothing. With many examples, an
    estimate averages over part of the rows of its first sample, which widens the stated error and moves no mean.

    Args:
      sample: artificial examples in the space of the estimate, [examples, dimensions], finite.
      first_count: examples of p in the estimate, more than k.
      second_count: examples of q in the estimate, at least k.
      k: which neighbour.
      rng: draws references.
      divergence: known KL, nats.
      repeats: pairs of samples for each shift, at least 2; half for the other changes, at least 2.

    Raises:
      ValueError: an argument is not such.
    """
    sample, _ = neighbours.matching(sample, sample)
    _check(sample, first_count, second_count, k, divergence, repeats)
    axes = _principal(sample[np.lexsort(sample.T)])
    facts = (sample.shape[1], axes.shape[1], first_count, second_count, k, float(divergence))
    if not axes.shape[1]:
        return _constant(facts)
    gaussian = _Mixture(np.ones(1), np.zeros([1, axes.shape[1]]), np.diag(axes.std(axis=0)))
    references = _references(gaussian, _clustered(axes, rng), divergence)
    found = [_measured(*reference, facts, repeats, rng) for reference in references]
    return _concluded(facts, tuple(found))


def _measured(
    name: str,
    shift: bool,
    p: _Mixture,
    changes: _Changes,
    facts: _Facts,
    repeats: int,
    rng: np.random.Generator,
) -> Reference:
    dimensions, _, first_count, second_count, k, _ = facts
    repeats = repeats if shift else max(2, repeats // 2)
    ratios, known = [], []
    for _ in range(repeats):
        change = changes(rng)
        known.append((change.divergence, change.error))
        first, second = p.draw(first_count, rng), change.apply(p.draw(second_count, rng))
        ratios.append(_estimate(first, second, k, dimensions) / change.divergence)
    mean, std = float(np.mean(ratios)), float(np.std(ratios, ddof=1))
    truth, error = np.mean(known, axis=0)
    return Reference(name, shift, float(truth), float(error), mean, std, repeats)


def _check(
    sample: np.ndarray, first_count: int, second_count: int, k: int, divergence: float, repeats: int
) -> None:
    _validate.positive_int("k", k)
    if not _validate.positive("divergence", divergence) <= _LARGEST:
        raise ValueError(
            f"divergence must be at most {_LARGEST:g} nats, got {divergence}: lower it"
        )
    _validate.positive_int("first_count", first_count)
    _validate.positive_int("second_count", second_count)
    if not len(sample) >= 2:
        raise ValueError(f"sample must have at least 2 rows, got {len(sample)}: add examples")
    if not _validate.positive_int("repeats", repeats) >= 2:
        raise ValueError(f"repeats must be at least 2, got {repeats}: one has no deviation")
    neighbours.require_rows(k, first_count - 1, same=True)
    neighbours.require_rows(k, second_count, same=False)


def _principal(sample: np.ndarray) -> np.ndarray:
    """The sample along its principal axes, widest first, over the largest deviation, [examples, rank].

    The estimator knows neither origin nor unit nor axes, so nothing is lost.
    """
    centred = sample - sample[0]
    largest = float(np.max(np.abs(centred)))
    if not largest > 0:
        return centred[:, :0]
    centred /= largest
    centred -= centred.mean(axis=0)
    values, vectors = linalg.eigh(centred.T @ centred / len(centred))
    varying = np.flatnonzero(values > _CONSTANT * values[-1])[::-1]
    return centred @ vectors[:, varying] / math.sqrt(values[-1])


def _clustered(axes: np.ndarray, rng: np.random.Generator) -> _Mixture:
    """A mixture that resembles the sample: centres by k-means, the residuals' covariance."""
    some = axes[rng.choice(len(axes), min(len(axes), _CLUSTERED), replace=False)]
    components = min(_COMPONENTS, max(1, len(np.unique(some, axis=0)) // 2))
    means = KMeans(components, n_init=1, random_state=int(rng.integers(2**31))).fit(some)
    residuals = some - means.cluster_centers_[means.labels_]
    within = residuals.T @ residuals / len(some) + _WITHIN * np.diag(axes.var(axis=0))
    weights = np.bincount(means.labels_, minlength=components) / len(some)
    return _Mixture(weights, means.cluster_centers_, np.linalg.cholesky(within))


def _references(
    gaussian: _Mixture, mixture: _Mixture, divergence: float
) -> Iterator[tuple[str, bool, _Mixture, _Changes]]:
    """Name, whether it is a shift that decides, p, and a function that gives a change to q."""
    for name, p in (("Gaussian", gaussian), ("mixture", mixture)):
        yield f"{name}, random shift", True, p, _shifts(p, None, divergence)
        yield f"{name}, shift along the first axis", True, p, _shifts(p, 0, divergence)
    yield "Gaussian, shift along the last axis", False, gaussian, _shifts(gaussian, -1, divergence)
    for name, wider in (("wider", True), ("narrower", False)):
        yield f"Gaussian, q {name}", False, gaussian, _scales(gaussian, wider, divergence)


def _shifts(p: _Mixture, axis: int | None, divergence: float) -> _Changes:
    rank = len(p.factor)

    def change(rng: np.random.Generator) -> _Change:
        if axis is None:
            whitened = rng.standard_normal(rank)
        else:
            whitened = linalg.solve_triangular(p.factor, np.eye(rank)[axis], lower=True)
        whitened /= np.linalg.norm(whitened)
        length, truth, error = _length(p, whitened, divergence, rng)
        moved = length * (p.factor @ whitened)
        return _Change(lambda draws: draws + moved, truth, error)

    return change


def _scales(p: _Mixture, wider: bool, divergence: float) -> _Changes:
    """Scales p about its centre by s: KL = rank / 2 (1 / s^2 - 1 + 2 log s)."""
    rank = len(p.factor)

    def excess(minus_log: float) -> float:
        return rank / 2 * (math.expm1(2 * minus_log) - 2 * minus_log) - divergence

    bracket = (-divergence / rank - 1, 0.0) if wider else (0.0, math.sqrt(divergence / rank))
    factor = math.exp(-optimize.brentq(excess, *bracket))
    return lambda rng: _Change(lambda draws: factor * draws, divergence, 0.0)


def _length(
    p: _Mixture, direction: np.ndarray, divergence: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """How far to shift, in whitened units, for that KL; the KL and its standard error.

    KL of one Gaussian is `t^2 / 2`, and of a mixture with such components at most that, as KL is convex. With x from
    p, the integrand is `log p(x) - log p(x - t u) - t u . grad log p(x)`; the last has mean zero and takes the
    noise that is linear in t away.
    """
    least = math.sqrt(2 * divergence)
    if len(p.weights) == 1:
        return least, divergence, 0.0
    points = linalg.solve_triangular(p.factor, p.draw(_POINTS, rng).T, lower=True)
    centres = linalg.solve_triangular(p.factor, p.centres.T, lower=True)
    lengths = np.sum(points**2, axis=0) + np.sum(centres**2, axis=0)[:, None]
    terms = np.log(p.weights)[:, None] + centres.T @ points - lengths / 2
    along = direction @ points - (direction @ centres)[:, None]
    log_p = _log_sum(terms)
    slope = np.sum(np.exp(terms - log_p) * along, axis=0)

    def integrand(length: float) -> np.ndarray:
        return log_p - _log_sum(terms + length * along) + length**2 / 2 + length * slope

    def excess(length: float) -> float:
        return float(np.mean(integrand(length))) - divergence

    most = 2 * least
    while excess(most) < 0:
        most *= 2
    length = optimize.brentq(excess, 0.0, most, rtol=1e-4)
    values = integrand(length)
    return length, float(np.mean(values)), float(np.std(values) / math.sqrt(_POINTS))


def _log_sum(terms: np.ndarray) -> np.ndarray:
    """Of the exponentials over the first axis; much faster than SciPy's."""
    largest = np.max(terms, axis=0)
    return np.asarray(largest + np.log(np.sum(np.exp(terms - largest), axis=0)))


def _estimate(first: np.ndarray, second: np.ndarray, k: int, dimensions: int) -> float:
    """As `estimation.kl_divergence`, averaged over the first rows only where all would take too long.

    The rows are independent draws from a density, so no distance is zero.
    """
    count = len(first)
    rows = min(count, max(1, int(_PAIRS / (count + len(second)))))
    own = np.arange(rows)
    within = neighbours.nearest_of_block(first[:rows], first, k, own).distances[:, -1]
    across = neighbours.nearest_of_block(first[:rows], second, k).distances[:, -1]
    return dimensions * float(np.mean(np.log(across / within))) + math.log(
        len(second) / (count - 1)
    )


def _range(references: tuple[Reference, ...]) -> tuple[float, float]:
    low = min(each.ratio - _WIDENING * each.ratio_std for each in references)
    return low, max(each.ratio + _WIDENING * each.ratio_std for each in references)


def _concluded(facts: _Facts, references: tuple[Reference, ...]) -> Calibration:
    shifts = tuple(reference for reference in references if reference.shift)
    ratio = float(np.mean([reference.ratio for reference in shifts]))
    low, high = _range(shifts)
    supported = low >= MINIMUM_RATIO
    return Calibration(
        *facts,
        references,
        ratio,
        low,
        high,
        *_range(references),
        supported,
        _reason(facts, low, high),
    )


def _reason(facts: _Facts, low: float, high: float) -> str:
    dimensions, _, first, second, _, divergence = facts
    figures = f"a shift of {divergence:g} nats is estimated as {low * divergence:.3g} to {high * divergence:.3g}"
    if low >= MINIMUM_RATIO:
        return f"{figures}: at least {MINIMUM_RATIO:g} of it"
    return (
        f"--dimensions={dimensions} cannot be supported with {first:,} and {second:,} examples: {figures}, not at"
        f" least {MINIMUM_RATIO:g} of it; lower --dimensions or give more artificial examples"
    )


def _constant(facts: _Facts) -> Calibration:
    reason = (
        f"--dimensions={facts[0]} cannot be supported: all artificial examples are equal in this space;"
        " give a space in which they differ"
    )
    return Calibration(*facts, (), 0.0, 0.0, 0.0, 0.0, 0.0, False, reason)
