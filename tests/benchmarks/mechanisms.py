# SPDX-License-Identifier: Apache-2.0
"""Mechanisms that turn records into artificial examples, and whose privacy loss is known.

Each takes records [n, d] and a scale s; `draw` gives examples, `true_losses` the expected privacy loss of leaving each
record out, exactly or by Monte Carlo on exact densities.
"""

from __future__ import annotations

import numpy as np
from scipy import special

#: Examples of the Monte Carlo sums.
_MONTE_CARLO = 20_000


def _squared(points, centres):
    inner = points @ centres.T
    squares = (points**2).sum(axis=1)[:, None] - 2 * inner + (centres**2).sum(axis=1)
    return np.maximum(squares, 0)


class Average:
    """A Gaussian around the mean of the records: `N(mean, s^2)`. Every record moves every example a little."""

    def __init__(self, records, scale, rng):
        del rng  # nothing is left to chance
        self._records, self._scale = records, scale

    def draw(self, count, rng):
        noise = rng.standard_normal([count, self._records.shape[1]])
        return self._records.mean(axis=0) + self._scale * noise

    def true_losses(self, rng):
        """`|x - mean|^2 / (2 s^2 (n - 1)^2)`, the KL of two Gaussians whose means differ by `(x - mean) / (n - 1)`."""
        del rng
        moved = (self._records - self._records.mean(axis=0)) / (len(self._records) - 1)
        return (moved**2).sum(axis=1) / (2 * self._scale**2)


class Parzen:
    """A random record plus noise: what a generator that memorised does."""

    def __init__(self, records, scale, rng):
        self._records = records
        self._scales = self._scales_of(len(records), scale, rng)

    def _scales_of(self, count, scale, rng):
        del rng
        return np.full(count, scale)

    def draw(self, count, rng):
        chosen = rng.integers(0, len(self._records), count)
        noise = rng.standard_normal([count, self._records.shape[1]])
        return self._records[chosen] + self._scales[chosen][:, None] * noise

    def true_losses(self, rng):
        """`-E log(1 - r_x) + log(1 - 1/n)`, `r_x` the record's share of the density."""
        examples = self.draw(_MONTE_CARLO, rng)
        dimensions = self._records.shape[1]
        logs = -_squared(examples, self._records) / (2 * self._scales**2)
        logs -= dimensions * np.log(self._scales)
        return _without(logs).mean(axis=0) + np.log1p(-1 / len(self._records))


class OwnNoise(Parzen):
    """As Parzen, but one record in ten has noise s and the others noise 1: some are memorised, most are not."""

    def _scales_of(self, count, scale, rng):
        return np.where(rng.permutation(count) < count // 10, scale, 1.0)


class PartialCopier:
    """Half of the examples copy one record in ten, plus noise s; the other half are fresh from the population.

    A generator of good quality that memorised some of its records.
    """

    def __init__(self, records, scale, rng):
        del rng
        self._records, self._scale = records, scale
        self._copied = records[: len(records) // 10]

    def draw(self, count, rng):
        examples = rng.standard_normal([count, self._records.shape[1]])
        copies = rng.random(count) < 0.5
        chosen = self._copied[rng.integers(0, len(self._copied), copies.sum())]
        examples[copies] = chosen + self._scale * examples[copies]
        return examples

    def true_losses(self, rng):
        """KL to the mechanism whose half of copies is of one record fewer; zero for records that are not copied."""
        examples, copied = self.draw(_MONTE_CARLO, rng), len(self._copied)
        dimensions = self._records.shape[1]
        logs = -_squared(examples, self._copied) / (2 * self._scale**2)
        logs += np.log(0.5 / copied) - dimensions * np.log(self._scale)
        fresh = np.log(0.5) - (examples**2).sum(axis=1) / 2
        whole = np.logaddexp(special.logsumexp(logs, axis=1), fresh)
        losses = np.zeros(len(self._records))
        for i in range(copied):
            others = special.logsumexp(np.delete(logs, i, axis=1), axis=1)
            without = np.logaddexp(others + np.log(copied / (copied - 1)), fresh)
            losses[i] = (whole - without).mean()
        return losses


class Mixup:
    """The mean of two random records, plus noise s: influence that is not near the record."""

    def __init__(self, records, scale, rng):
        del rng
        self._records, self._scale = records, scale

    def draw(self, count, rng):
        size = len(self._records)
        one = rng.integers(0, size, count)
        other = (one + rng.integers(1, size, count)) % size
        noise = rng.standard_normal([count, self._records.shape[1]])
        return (self._records[one] + self._records[other]) / 2 + self._scale * noise

    def true_losses(self, rng):
        """KL to the mixture of the pairs without the record."""
        one, other = np.triu_indices(len(self._records), 1)
        centres = (self._records[one] + self._records[other]) / 2
        examples = self.draw(1500, rng)
        logs = -_squared(examples, centres) / (2 * self._scale**2)
        whole = special.logsumexp(logs, axis=1)
        losses = np.empty(len(self._records))
        for i in range(len(losses)):
            pairs = (one != i) & (other != i)
            without = special.logsumexp(logs[:, pairs], axis=1)
            losses[i] = (whole - without).mean() + np.log(pairs.mean())
        return losses


def _without(logs):
    """`-log(1 - share)` of every example and record."""
    rows, top = np.arange(len(logs)), np.argmax(logs, axis=1)
    total = special.logsumexp(logs, axis=1)
    with np.errstate(divide="ignore"):
        result = -np.log1p(-np.exp(logs - total[:, None]))
    others = logs.copy()
    others[rows, top] = -np.inf
    result[rows, top] = total - special.logsumexp(others, axis=1)
    return result
