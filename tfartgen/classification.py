# SPDX-License-Identifier: Apache-2.0
"""How well a classifier does: confusion, recall, calibration, and intervals over seeds. NumPy in, numbers out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from scipy import special, stats

#: Bins of confidence, of equal width (Guo et al. 2017, arXiv 1706.04599, section 2).
CONFIDENCE_BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a classifier did on a test set, in counts: outcomes of several seeds add up.

    Attributes:
      confusion: int64 `[classes, classes]`, examples of class i (row) that were taken for class j (column).
      count: int64 `[CONFIDENCE_BINS]`, examples whose predicted class had a probability in that bin.
      confidence: float64 `[CONFIDENCE_BINS]`, sum of those probabilities.
      correct: int64 `[CONFIDENCE_BINS]`, how many of those predictions were right.
    """

    confusion: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    def __add__(self, other: Outcome) -> Outcome:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return Outcome(*(one + another for one, another in pairs))

    @property
    def accuracy(self) -> float:
        """Share of right predictions, in [0, 1]."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recalls(self) -> np.ndarray:
        """Share of each class that was found, float64 `[classes]`; NaN for a class that the test set does not have."""
        counts = self.confusion.sum(axis=1)
        found = np.diag(self.confusion).astype(float)
        return np.divide(found, counts, out=np.full(len(counts), np.nan), where=counts > 0)

    @property
    def macro_recall(self) -> float:
        """Mean of `recalls`: every class that is tested counts alike, whatever its size."""
        return float(np.nanmean(self.recalls))

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, `sum_b |correct_b - confidence_b| / n` (Guo et al. 2017, equation 3)."""
        return float(np.abs(self.correct - self.confidence).sum() / self.count.sum())

    def as_json(self) -> dict[str, Any]:
        """Plain lists, for `from_json`."""
        fields = dataclasses.fields(self)
        return {field.name: getattr(self, field.name).tolist() for field in fields}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Outcome:
        """Inverse of `as_json`."""
        return cls(
            **{field.name: np.array(content[field.name]) for field in dataclasses.fields(cls)}
        )


def score(logits: np.ndarray, labels: np.ndarray) -> Outcome:
    """Compares predictions with labels.

    Args:
      logits: float `[n, classes]`, finite.
      labels: integers `[n]`.

    Raises:
      ValueError: a logit is not finite: the classifier diverged.
    """
    if not np.isfinite(logits).all():
        raise ValueError("the classifier's outputs are not finite: its training diverged")
    classes = logits.shape[1]
    probabilities = special.softmax(logits.astype(np.float64), axis=1)
    predicted = np.argmax(logits, axis=1)
    confidence = probabilities[np.arange(len(labels)), predicted]
    bins = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    right = predicted == labels
    return Outcome(
        confusion,
        np.bincount(bins, minlength=CONFIDENCE_BINS),
        np.bincount(bins, confidence, CONFIDENCE_BINS),
        np.bincount(bins[right], minlength=CONFIDENCE_BINS),
    )


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds, and its interval.

    Attributes:
      mean: of the values.
      half_width: half of the interval; None for a single value, which has none.
    """

    mean: float
    half_width: Optional[float]


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean and Student's t interval, which supposes that the values of the seeds are about normal.

    The interval says how far another set of seeds could be off, not how far another test set could.

    Args:
      values: one for each seed.
      level: probability with which such intervals cover the mean.
    """
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Interval(mean, None)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(mean, float(stats.t.ppf(0.5 + level / 2, count - 1)) * error)


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927), which holds near 0 and 1 too."""
    z = float(stats.norm.ppf(0.5 + level / 2))
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / trials / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(successes: int, trials: int, level: float = 0.95) -> dict[str, Any]:
    """A proportion with `wilson_interval`, JSON-able: successes, trials, rate, low, high."""
    low, high = wilson_interval(successes, trials, level)
    return {
        "successes": int(successes),
        "trials": int(trials),
        "rate": successes / trials,
        "low": low,
        "high": high,
    }
