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


def epsilon_lower_bound(
    correct: int, guesses: int, candidates: int, delta: float, confidence: float = 0.95
) -> float:
    """The least epsilon that so many right guesses leave possible, at a confidence level.

    Each of `candidates` records was in the training data or not by a fair coin of its own; `guesses` of them were
    guessed and the others left open. If training is (epsilon, delta)-differentially private, the chance of that
    many right guesses is at most `f(v) + 2 m delta max_i (f(v - i) - f(v)) / i`, where f is the upper tail of a
    binomial of `guesses` trials with probability `1 / (1 + exp(-epsilon))`.

    Formal guarantee: epsilon of the training is at least the result with probability `confidence`, if the coins were
    thrown before it and the number of guesses was fixed before the coins were looked at.

    Source: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2 and appendix D.

    Args:
      correct: guesses that were right.
      guesses: made.
      candidates: records that could be guessed.
      delta: of the training.
      confidence: of the bound.

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
    low, high = 0.0, _MOST
    if _chance(correct, guesses, candidates, low, delta) > 1 - confidence:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        possible = _chance(correct, guesses, candidates, middle, delta) > 1 - confidence
        low, high = (low, middle) if possible else (middle, high)
    return low


def _chance(correct: int, guesses: int, candidates: int, epsilon: float, delta: float) -> float:
    """Bound on the chance of at least so many right guesses."""
    right = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
    tail = right.sf(correct - 1)
    below = np.arange(1, correct + 1)
    steepest = float(np.max(np.cumsum(right.pmf(correct - below)) / below, initial=0.0))
    return min(1.0, float(tail + 2 * candidates * delta * steepest))
