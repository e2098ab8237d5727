# SPDX-License-Identifier: Apache-2.0
"""Losses from the divergences of retrained generators, and their comparison with imitated ones: arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from scipy import stats

from tfartgen import validation_study


def above_floor(between: np.ndarray, without: np.ndarray) -> dict[str, Any]:
    """Losses of records from divergences of generators.

    With R baselines b and N records i, divergences are `K(b, i) = a_b + c_i + e_bi`: how unusual either generator is,
    and what is particular to the pair. The loss is `L_i = mean_b K(b, i) - floor`, the floor the mean of
    `K(b, b')` over b != b'. There `a_b` cancels. The standard errors follow from `S^2`, the variance of the losses over records,
    and `E^2`, that of the `e`, estimated by the residuals of two-way analysis of variance:

        floor_error^2 = max(0, S^2 - E^2 / R) / R + 2 E^2 / (R (R - 1)),
        error of one loss^2 = S^2 + floor_error^2,  error of the mean^2 = S^2 / N + floor_error^2,

    with the factor 2 for `K(b, b')` and `K(b', b)`, which are as good as one. As S holds true differences between
    records besides the noise of training, the errors are too large rather than too small where records differ.

    Args:
      between: K(b, b'), `[R, R]`, R at least 2; the diagonal is not read.
      without: K(b, i), `[R, N]`, N at least 2.

    Returns:
      `floor` (its mean, the standard deviation over ordered pairs, its standard error, and the divergences), `losses`,
      their `mean_loss`, its `standard_error`, `record_standard_error`, that of one loss, and `divergences` of each
      record from each baseline. JSON-able; nats per artificial example.
    """
    repeats, count = without.shape
    pairs = between[~np.eye(repeats, dtype=bool)]
    losses = without.mean(axis=0) - pairs.mean()
    spread = float(np.var(losses, ddof=1))
    residuals = without - without.mean(axis=0) - without.mean(axis=1, keepdims=True)
    residuals += without.mean()
    pair = float(np.sum(residuals**2)) / ((repeats - 1) * (count - 1))
    floor = max(0.0, spread - pair / repeats) / repeats + 2 * pair / (repeats * (repeats - 1))
    return {
        "floor": {
            "mean": float(pairs.mean()),
            "standard_deviation": float(np.std(pairs, ddof=1)),
            "standard_error": math.sqrt(floor),
            "divergences": [
                [None if i == j else float(between[i, j]) for j in range(repeats)]
                for i in range(repeats)
            ],
        },
        "losses": losses.tolist(),
        "mean_loss": float(losses.mean()),
        "standard_error": math.sqrt(spread / count + floor),
        "record_standard_error": math.sqrt(spread + floor),
        "divergences": without.T.tolist(),
    }


def compare(
    retrained: Sequence[float], imitated: Sequence[float], floor_error: float = 0.0
) -> dict[str, Any]:
    """Losses by retraining beside the imitated losses of the same records.

    Source: for the interval of the ratio of means, Fieller 1954, "Some problems in interval estimation", with
    Student's t. It assumes normal means; beyond them the losses may be anything.

    Args:
      retrained: `losses` of `Retraining.run`, at least 3.
      imitated: of the same records in the same order.
      floor_error: `floor.standard_error`, which all of the retrained losses share.

    Returns:
      What `validation_study.correlation` does; `retrained` and `imitated`, each with `losses`, `mean` and its 95%
      interval `low` to `high`; `ratio` of the means, retrained over imitated, with `ratio_low` and `ratio_high`, None
      where they do not exist; `distinguishable`, whether the retrained mean's interval leaves out zero; `notes`, lines
      for people. JSON-able.

    Raises:
      ValueError: not two lists of as many finite numbers, or too few.
    """
    first, second = _losses("retrained", retrained), _losses("imitated", imitated)
    if len(first) != len(second):
        raise ValueError(
            f"imitated must have the {len(first)} losses of retrained, got {len(second)}: one for each record"
        )
    covariance = np.cov(first, second) / len(first)
    covariance[0, 0] += floor_error**2
    t = float(stats.t.ppf(0.975, len(first) - 1))
    means = np.array([first.mean(), second.mean()])
    ratio, (low, high) = _ratio(means, covariance, t)
    summaries = [
        {
            "losses": losses.tolist(),
            "mean": float(mean),
            "low": float(mean - half),
            "high": float(mean + half),
        }
        for losses, mean, half in zip((first, second), means, t * np.sqrt(np.diag(covariance)))
    ]
    distinguishable = bool(summaries[0]["low"] > 0 or summaries[0]["high"] < 0)
    notes = []
    if not distinguishable:
        notes.append(
            "the mean loss by retraining cannot be told from zero: the ratio says at most how large it may be"
        )
    if low is None:
        notes.append("the mean imitated loss cannot be told from zero: the ratio has no interval")
    return {
        **validation_study.correlation(first.tolist(), second.tolist()),
        "retrained": summaries[0],
        "imitated": summaries[1],
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "distinguishable": distinguishable,
        "notes": notes,
    }


def _losses(name: str, values: Sequence[float]) -> np.ndarray:
    losses = np.asarray(values, np.float64)
    if losses.ndim != 1 or len(losses) < 3 or not np.isfinite(losses).all():
        raise ValueError(f"{name} must be at least 3 finite losses, got {values!r}")
    return losses


def _ratio(
    means: np.ndarray, covariance: np.ndarray, t: float
) -> tuple[Optional[float], tuple[Optional[float], Optional[float]]]:
    """First over second, and where `(a - r b)^2 <= t^2 var(a - r b)`, if that is an interval."""
    (a, b), square = means, t * t
    quadratic = b * b - square * covariance[1, 1]
    if not quadratic > 0:
        return (float(a / b) if b else None), (None, None)
    middle = a * b - square * covariance[0, 1]
    root = math.sqrt(max(0.0, middle**2 - quadratic * (a * a - square * covariance[0, 0])))
    return float(a / b), (float((middle - root) / quadratic), float((middle + root) / quadratic))
