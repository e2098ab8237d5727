# SPDX-License-Identifier: Apache-2.0
"""A lower bound on epsilon, from guesses who was in the training data."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from tfartgen import _validate

#: Halvings of the interval of epsilon.
_HALVINGS = 40
#: No audit of a size that fits in memory can show more.
_MOST = 100.0


def chosen_by_coins(
    trained_on: int, others: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates for an audit of a training whose records were split before any coin was thrown.

    Of such records a fixed number was trained on, so that who knows some of the answers knows the last one. A coin for
    each candidate says whether the next one is a record that was trained on or another one, both in random order; there
    are as many candidates as there are records of the smaller kind, so that no coin is ever without a record.

    Formal guarantee: if chance alone decided which of all these records were trained on, the coins are fair and
    independent, given the candidates. A coin replaces a record by another one: bounds are `replaced`.

    Args:
      trained_on: records that were trained on.
      others: records that were not.
      rng: throws the coins and draws the order. Nothing that is computed from the training may reach it.

    Returns:
      The coins, bool `[candidates]`, True for "trained on", and int64 `[candidates]`, each candidate's position among
      those of its kind.
    """
    count = min(trained_on, others)
    coins = rng.random(count) < 0.5
    positions = np.empty(count, np.int64)
    for kind, size in ((True, trained_on), (False, others)):
        positions[coins == kind] = rng.permutation(size)[: int((coins == kind).sum())]
    return coins, positions


def epsilon_lower_bound(
    correct: int,
    guesses: int,
    candidates: int,
    delta: float,
    confidence: float = 0.95,
    replaced: bool = False,
) -> float:
    """The least epsilon that so many right guesses leave possible, at a confidence level.

    Each of `candidates` records was in the training data or not by a fair coin of its own; `guesses` of them were
    guessed and the others left open. If training is (epsilon, delta)-differentially private, the chance of that
    many right guesses is at most `f(v) + 2 m delta max_i (f(v - i) - f(v)) / i`, where f is the upper tail of a
    binomial of `guesses` trials with probability `1 / (1 + exp(-epsilon))`.

    Where a coin replaces a record by another one (`replaced`), that is two steps of a training whose neighbours differ by
    one record that is there or not: (2 epsilon, (1 + exp(epsilon)) delta).

    Formal guarantee: epsilon of the training is at least the result with probability `confidence`, if the coins were
    fair, independent and thrown before it, and the scores, their direction and the number of guesses were fixed
    without looking at the coins.

    Source: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2 and appendix D.

    Args:
      correct: guesses that were right.
      guesses: made.
      candidates: records that could be guessed.
      delta: of the training.
      confidence: of the bound.
      replaced: whether a coin that falls out puts another record in the place of its candidate, see `chosen_by_coins`.

    Raises:
      ValueError: not `0 <= correct <= guesses <= candidates`, or delta or confidence out of range.
    """
    _validate.probability("confidence", confidence)
    _validate.probability("delta", delta)
    _validate.positive_int("guesses", guesses)
    if not 0 <= correct <= guesses <= candidates:
        raise ValueError(
            f"correct, guesses and candidates must not fall, got {correct}, {guesses} and {candidates}"
        )

    def possible(epsilon: float) -> bool:
        spent = (2 * epsilon, (1 + math.exp(epsilon)) * delta) if replaced else (epsilon, delta)
        return _chance(correct, guesses, candidates, *spent) > 1 - confidence

    low, high = 0.0, _MOST
    if possible(low):
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if possible(middle) else (middle, high)
    return low


def _chance(correct: int, guesses: int, candidates: int, epsilon: float, delta: float) -> float:
    """Bound on the chance of at least so many right guesses."""
    right = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
    tail = right.sf(correct - 1)
    below = np.arange(1, correct + 1)
    steepest = float(np.max(np.cumsum(right.pmf(correct - below)) / below, initial=0.0))
    return min(1.0, float(tail + 2 * candidates * delta * steepest))
