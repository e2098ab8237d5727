# SPDX-License-Identifier: Apache-2.0
"""The release as a mixture of its records: a copier, fitted to it, whose privacy loss is known in closed form.

Each record stands in the middle of a Gaussian of its own weight and width. Fitted to artificial examples by maximum
likelihood, the mixture says which share `r_x(w)` of the density at an example w is due to record x. Left out, the
density is `(p - pi_x N_x) / (1 - pi_x)`, so the expected privacy loss is

    L_x = -E log(1 - r_x(w)) + log(1 - pi_x),

exact for the mixture, with no neighbours and no saturation. It is what removing whole cells of examples
(`estimation.imitate`) approaches when shares are all or nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import special

from tfartgen import _validate, estimation, neighbours

#: Records around an example that may have a share in it; fewer make shares, and losses, larger.
_LISTED = 100
#: Steps of expectation maximisation: few, for weights of overlapping records never settle.
_STEPS = 50
#: Examples of the common width that each record's own width starts from.
_PRIOR_EXAMPLES = 3.0
#: Shares of groups in memory at a time; above `_NEARLY_ALL`, what they leave is summed up by itself.
_DENSE, _NEARLY_ALL = 2**22, 1 - 1e-6
#: What is left without a record is this share of the density at least: logarithms stay finite.
_LEAST_REST = 1e-300


@dataclasses.dataclass(frozen=True, eq=False)
class RecordMixture:
    """A mixture of isotropic Gaussians around records.

    Attributes:
      records: the distinct ones, [records, dimensions].
      weights: of each, they sum to one, [records].
      variances: per dimension, of each, [records].
    """

    records: np.ndarray
    weights: np.ndarray
    variances: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Examples of the mixture, [count, dimensions]."""
        chosen = rng.choice(len(self.weights), count, p=self.weights)
        noise = rng.standard_normal([count, self.records.shape[1]])
        return self.records[chosen] + np.sqrt(self.variances[chosen])[:, None] * noise


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureLosses:
    """Losses of records, were the release the mixture.

    Attributes:
      losses: nats per example, [records].
      mean: over the records.
      standard_error: of the mean, for the finite number of examples.
    """

    losses: np.ndarray
    mean: float
    standard_error: float


def estimate(
    examples: np.ndarray, records: np.ndarray, steps: int = _STEPS
) -> tuple[RecordMixture, MixtureLosses]:
    """Fits a mixture by expectation maximisation, from equal weights and widths, and gives its losses.

    A width is drawn to the common one by a prior worth three examples, so that a record with one example, or
    none, has a width too. Only the nearest 100 records have a share in an example, and equal records are one.

    Args:
      examples: artificial, [examples, dimensions].
      records: [records, dimensions].
      steps: of expectation maximisation.

    Raises:
      ValueError: not such arrays of finite numbers.
    """
    _validate.positive_int("steps", steps)
    examples, records = neighbours.checked(examples, records, 1, False)
    unique = np.unique(records, axis=0)
    near = neighbours.nearest(examples, unique, min(_LISTED, len(unique)))
    squared = near.distances**2
    mixture = _start(squared, unique)
    for _ in range(steps):
        mixture = _step(mixture, squared, near.indices)
    return mixture, _losses(mixture, near, records)


def losses(mixture: RecordMixture, examples: np.ndarray, records: np.ndarray) -> MixtureLosses:
    """The expected privacy loss of each record, over examples that are drawn from the mixture or like it.

    Args:
      mixture: around the records.
      examples: artificial, [examples, dimensions].
      records: those of the mixture, in any order and as often as they are there, [records, dimensions].

    Raises:
      ValueError: not such arrays, or other records.
    """
    listed = min(_LISTED, len(mixture.records))
    return _losses(mixture, neighbours.nearest(examples, mixture.records, listed), records)


def group_losses(
    mixture: RecordMixture, examples: np.ndarray, records: np.ndarray, group_size: int
) -> np.ndarray:
    """As `losses`, of each record with its nearest others left out together: a person with several records.

    Shares add up, losses do not: `-E log(1 - sum of shares)`.

    Args:
      mixture: around the records.
      examples: artificial, [examples, dimensions].
      records: those of the mixture, [records, dimensions].
      group_size: as in `estimation.imitate`.

    Returns:
      [records].

    Raises:
      ValueError: not such arrays, or fewer records than a group has.
    """
    groups = estimation.groups_of(mixture.records, group_size)
    size, listed = len(groups), min(_LISTED, len(groups))
    near = neighbours.nearest(examples, mixture.records, listed)
    logs = _logs(mixture, near.distances**2, near.indices)
    shares = _shares(logs)
    total, whole = np.zeros(size), np.zeros(size)
    step = max(1, _DENSE // size)
    for start in range(0, len(examples), step):
        rows = slice(start, start + step)
        dense = np.zeros([len(shares[rows]), size])
        np.put_along_axis(dense, near.indices[rows], shares[rows], axis=1)
        of_groups = sum(dense[:, column] for column in groups.T)
        whole += of_groups.sum(axis=0)
        some, group = np.nonzero(of_groups > _NEARLY_ALL)
        of_groups[some, group] = 0
        total -= np.log1p(-of_groups).sum(axis=0)
        own = near.indices[rows][some][:, :, None] == groups[group][:, None, :]
        np.add.at(total, group, _log_rest(logs[rows][some], own.any(axis=2)))
    total /= len(examples)
    total += np.log(np.maximum(1 - whole / len(examples), 1 / (len(examples) + size)))
    return total[_copies(mixture, records)[0]]


def _losses(
    mixture: RecordMixture, near: neighbours.Neighbours, records: np.ndarray
) -> MixtureLosses:
    logs = _logs(mixture, near.distances**2, near.indices)
    shares = _shares(logs)
    per_share = _losses_of_shares(logs, shares)
    count, size, places = len(logs), len(mixture.records), near.indices.ravel()
    own = np.bincount(places, per_share.ravel(), size) / count
    share = np.bincount(places, shares.ravel(), size) / count
    # What rounds to the whole is known to leave less than an example to the others, and no more.
    own += np.log(np.maximum(1 - share, 1 / (count + size)))
    places_of_records, copies = _copies(mixture, records)
    by_example = (per_share * copies[near.indices]).sum(axis=1) / copies.sum()
    return MixtureLosses(
        losses=own[places_of_records],
        mean=float(own @ copies / copies.sum()),
        standard_error=float(by_example.std() / np.sqrt(count)),
    )


def _copies(mixture: RecordMixture, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every record its place in the mixture; of every place the number of its records."""
    unique, inverse, counts = np.unique(records, axis=0, return_inverse=True, return_counts=True)
    if unique.shape != mixture.records.shape or not np.array_equal(unique, mixture.records):
        raise ValueError("records must be those that the mixture was fitted to")
    return np.ravel(inverse), counts


def _start(squared: np.ndarray, records: np.ndarray) -> RecordMixture:
    variance = squared[:, 0].mean() / records.shape[1]
    # All examples on records: any width does, and none may be zero.
    variance = variance if variance > 0 else max(float(squared.mean()), 1.0) * 1e-12
    count = len(records)
    return RecordMixture(records, np.full(count, 1 / count), np.full(count, variance))


def _step(mixture: RecordMixture, squared: np.ndarray, indices: np.ndarray) -> RecordMixture:
    shares = _shares(_logs(mixture, squared, indices))
    size, dimensions = mixture.records.shape
    places = indices.ravel()
    counts = np.bincount(places, shares.ravel(), size)
    spread = np.bincount(places, (shares * squared).ravel(), size) / dimensions
    common = spread.sum() / len(squared)
    least = 1e-12 * max(float(squared.mean()), float(np.finfo(np.float64).tiny))
    variances = (_PRIOR_EXAMPLES * common + spread) / (_PRIOR_EXAMPLES + counts)
    weights = (counts + 1) / (len(squared) + size)
    return RecordMixture(mixture.records, weights, np.maximum(variances, least))


def _logs(mixture: RecordMixture, squared: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Log densities of each example and record, up to what all records have in common."""
    variances = mixture.variances
    constant = np.log(mixture.weights) - 0.5 * mixture.records.shape[1] * np.log(variances)
    return constant[indices] - squared / (2 * variances)[indices]


def _shares(logs: np.ndarray) -> np.ndarray:
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _log_rest(logs: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Logarithm of all shares over those that are not `own`, [rows]; finite where none is left."""
    others = np.where(own, -np.inf, logs)
    with np.errstate(divide="ignore"):
        rest = special.logsumexp(others, axis=1) - special.logsumexp(logs, axis=1)
    return -np.where(np.isfinite(rest), rest, np.log(_LEAST_REST))


def _losses_of_shares(logs: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """`-log(1 - share)`; for the largest share from the logarithms of all the others, where 1 - share rounds to zero."""
    own = np.zeros(logs.shape, bool)
    np.put_along_axis(own, np.argmax(logs, axis=1)[:, None], True, axis=1)
    with np.errstate(divide="ignore"):
        return np.where(own, _log_rest(logs, own)[:, None], -np.log1p(-shares))
