# SPDX-License-Identifier: Apache-2.0
"""Membership inference: scores of candidate records, and how well scores tell members from non-members.

The higher a score, the more a record looks like one that was trained on. A better attack may achieve more than these:
chance is no proof of privacy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from scipy import optimize, special, stats

from tfartgen import _validate, neighbours
from tfartgen.classification import proportion

#: Where there are non-members enough.
DEFAULT_FALSE_POSITIVE_RATES = (0.01, 0.001)
#: Points of an ROC curve.
_ROC_POINTS = 1000
#: By which a product or quotient that should be whole may be off.
_ROUNDING = 1e-9
#: At least, with each record and without it: one alone does not vary.
_SHADOW_MODELS = 2


def measurable_rates(
    num_non_members: int, asked: Optional[Sequence[float]] = None
) -> tuple[float, ...]:
    """The false-positive rates that so many non-members can show: a rate r takes 1 / r of them.

    Args:
      num_non_members: that will have scores.
      asked: rates that a user wants; without, those of `DEFAULT_FALSE_POSITIVE_RATES` that can be measured.

    Raises:
      ValueError: a rate that was asked for cannot be measured, or is none.
    """
    _validate.positive_int("num_non_members", num_non_members)
    if asked is None:
        rates = DEFAULT_FALSE_POSITIVE_RATES
        return tuple(rate for rate in rates if _needed(rate) <= num_non_members)
    for rate in asked:
        needed = _needed(_validate.probability("--false_positive_rates", rate))
        if not num_non_members >= needed:
            raise ValueError(
                f"--false_positive_rates={rate:g} needs at least {needed} non-members, and there are"
                f" {num_non_members}; give more with --non_members, or ask for a larger rate"
            )
    return tuple(asked)


def _needed(rate: float) -> int:
    """Non-members of which one is that share."""
    return math.ceil(1 / rate - _ROUNDING)


def refuse_overlap(members: np.ndarray, non_members: np.ndarray, where: str) -> None:
    """No image is in both sets, pixel for pixel: who attacks a member as a non-member finds too little.

    Args:
      members: uint8 `[m, height, width, channels]`.
      non_members: uint8 `[n, height, width, channels]`.
      where: names the non-members in the message, such as a flag and its value.

    Raises:
      ValueError: images are in both, or have different shapes or types.
    """
    one, another = (f"{images.dtype} {images.shape[1:]}" for images in (members, non_members))
    if not one == another == f"uint8 {members.shape[1:]}":
        raise ValueError(
            f"{where}: non-members are {another} and members {one}; give uint8 images of one shape"
        )
    known = {image.tobytes() for image in members}
    shared = sum(image.tobytes() in known for image in non_members)
    if shared:
        raise ValueError(
            f"{where}: {shared} of the {len(non_members)} non-members are members too; leave them out, or give"
            " records that were not trained on"
        )


def success(
    members: np.ndarray,
    non_members: np.ndarray,
    false_positive_rates: Sequence[float],
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """How well scores tell members from non-members: higher scores should be the members'.

    Args:
      members: float `[m]`, scores of records that were trained on.
      non_members: float `[n]`, scores of records of the same population that were not.
      false_positive_rates: such as `measurable_rates` returns.
      level: probability with which intervals cover; those of accuracy and true positives take thresholds as given.
      seed: draws the halves in which thresholds are chosen and tested, whatever the order of the records.

    Returns:
      JSON-able, with num_members and num_non_members:
      auc (value, low, high): chance that a member's score is above a non-member's, ties counting one half, with the
        interval of Newcombe 2006 (Statistics in Medicine 25:559-573), method 5.
      accuracy (rate, low, high): members and non-members weigh the same; a threshold is chosen on one half of the
        records and tested on the other, both ways. The halves are random. The interval combines those of two
        proportions as Newcombe 1998 (Statistics in Medicine 17:873-890), method 10.
      true_positive_rates: for each rate a `classification.proportion` of members strictly above a threshold that at
        most this share of non-members is above (Carlini et al. 2022, arXiv 2112.03570), with false_positive_rate
        and threshold_false_positives, a count. Ties count against the attacker.
      roc (false_positive_rate, true_positive_rate): vertices from (0, 0) to (1, 1), of more than 1,000 a choice that
        is dense where rates are low.

    Raises:
      ValueError: scores are not two or more finite numbers each, or a rate needs more non-members.
    """
    _validate.probability("level", level)
    members, non_members = _scores("members", members), _scores("non-members", non_members)
    rates = measurable_rates(len(non_members), false_positive_rates)
    return {
        "num_members": len(members),
        "num_non_members": len(non_members),
        "auc": _auc(members, non_members, level),
        "accuracy": _accuracy(members, non_members, level, np.random.default_rng(seed)),
        "true_positive_rates": [_true_positives(members, non_members, r, level) for r in rates],
        "roc": _roc(members, non_members),
    }


def _scores(name: str, values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) >= 2:
        raise ValueError(
            f"scores of {name} must be a list of two or more, got shape {array.shape}: give more {name}"
        )
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        raise ValueError(
            f"scores of {name} must be finite, got {wrong} of {len(array)} that are not: what is attacked diverged"
        )
    return array


def _auc(members: np.ndarray, non_members: np.ndarray, level: float) -> dict[str, float]:
    m, n = len(members), len(non_members)
    ranks = stats.rankdata(np.concatenate([members, non_members]))
    value = (float(ranks[:m].sum()) - m * (m + 1) / 2) / (m * n)
    # The variance is the same at theta and at 1 - theta.
    low, high = 1 - _auc_bound(1 - value, m, n, level), _auc_bound(value, m, n, level)
    return {"value": value, "low": low, "high": high}


def _auc_bound(auc: float, m: int, n: int, level: float) -> float:
    """The upper bound: the largest theta that is `z` of its own standard deviations from the AUC."""
    z, size = float(stats.norm.ppf(0.5 + level / 2)), (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + size * (1 - theta) / (2 - theta) + size * theta / (1 + theta)
        return theta - auc - z * math.sqrt(theta * (1 - theta) * spread / (m * n))

    if auc >= 1:
        return 1.0
    # At zero itself there is no variance, and a root that is no bound.
    return float(optimize.brentq(excess, max(auc, 1e-12), 1.0))


def _accuracy(
    members: np.ndarray, non_members: np.ndarray, level: float, rng: np.random.Generator
) -> dict[str, float]:
    shuffled = rng.permutation(members), rng.permutation(non_members)
    halves = [(shuffled[0][start::2], shuffled[1][start::2]) for start in (0, 1)]
    found = rejected = 0
    for tested, other in (halves, halves[::-1]):
        threshold = _best_threshold(*other)
        found += int((tested[0] > threshold).sum())
        rejected += int((tested[1] <= threshold).sum())
    pair = proportion(found, len(members), level), proportion(rejected, len(non_members), level)
    rate = sum(each["rate"] for each in pair) / 2
    below = math.hypot(*(each["rate"] - each["low"] for each in pair))
    above = math.hypot(*(each["rate"] - each["high"] for each in pair))
    return {"rate": rate, "low": rate - below / 2, "high": rate + above / 2}


def _best_threshold(members: np.ndarray, non_members: np.ndarray) -> float:
    """Of the thresholds above which members are best told from non-members the lowest, midway between two scores."""
    values = np.unique(np.concatenate([members, non_members]))
    thresholds = np.concatenate([[-np.inf], values[:-1] / 2 + values[1:] / 2])
    missed, rejected = (
        np.searchsorted(np.sort(each), thresholds, side="right") / len(each)
        for each in (members, non_members)
    )
    return float(thresholds[np.argmax(rejected - missed)])


def _true_positives(
    members: np.ndarray, non_members: np.ndarray, rate: float, level: float
) -> dict[str, Any]:
    """At the score of the first non-member too many: what is tied with it is not above it."""
    allowed = min(math.floor(rate * len(non_members) + _ROUNDING), len(non_members) - 1)
    threshold = np.sort(non_members)[-1 - allowed]
    return {
        **proportion(int((members > threshold).sum()), len(members), level),
        "false_positive_rate": float(rate),
        "threshold_false_positives": int((non_members > threshold).sum()),
    }


def _roc(members: np.ndarray, non_members: np.ndarray) -> dict[str, list[float]]:
    thresholds = np.unique(np.concatenate([members, non_members]))[::-1]
    # Records at or above each threshold, and none above all of them.
    counts = np.zeros([len(thresholds) + 1, 2], np.int64)
    for column, scores in enumerate((non_members, members)):
        counts[1:, column] = len(scores) - np.searchsorted(np.sort(scores), thresholds)
    steps = np.diff(counts, axis=0)
    turns = steps[:-1, 0] * steps[1:, 1] != steps[1:, 0] * steps[:-1, 1]
    counts = counts[np.concatenate([[True], turns, [True]])]
    if len(counts) > _ROC_POINTS:
        last, half = len(counts) - 1, _ROC_POINTS // 2
        places = np.concatenate([np.linspace(0, last, half), np.geomspace(1, last, half)])
        counts = counts[np.unique(places.round().astype(int))]
    false, true = counts.T / [[len(non_members)], [len(members)]]
    return {"false_positive_rate": false.tolist(), "true_positive_rate": true.tolist()}


def nearest_scores(
    candidates: np.ndarray, release: np.ndarray, references: Optional[np.ndarray] = None
) -> np.ndarray:
    """Minus the distance to the nearest artificial example; with references, calibrated by theirs.

    Calibrated, a score is the distance to the nearest reference minus that to the nearest artificial example.

    Source: Chen et al. 2020 (GAN-Leaks, arXiv 1909.03935), the full black-box attack and its calibration. There the
    reference is a second generator, trained on other data; here it is real records of the same population, which
    tell how isolated a record is, and not what any generator would have come up with. The more points, the nearer the
    nearest: sets of the same size are up to the caller.

    Args:
      candidates: `[n, dimensions]`, members and non-members; scores are float64 `[n]`.
      release: `[r, dimensions]`, artificial examples.
      references: `[q, dimensions]`, real records that are neither candidates nor trained on.

    Raises:
      ValueError: as `neighbours.nearest`.
    """
    distances = neighbours.nearest(candidates, release, 1).distances[:, 0]
    if references is None:
        return -distances
    return neighbours.nearest(candidates, references, 1).distances[:, 0] - distances


def loss_scores(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Minus the cross-entropy of each record (Yeom et al. 2018, arXiv 1709.01604).

    Args:
      logits: float `[n, classes]` of the attacked model, finite; scores are float64 `[n]`.
      labels: integers `[n]`.

    Raises:
      ValueError: not such logits and labels.
    """
    logits, rows = _checked(logits, labels)
    return special.log_softmax(logits, axis=1)[rows, labels]


def confidence_logits(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`log p_y - log(1 - p_y)` of the label y, which is about normal over models, without cancellation.

    Source: Carlini et al. 2022 (arXiv 2112.03570), section IV-C.

    Args:
      logits: float `[n, classes]`, finite; results are float64 `[n]`.
      labels: integers `[n]`.

    Raises:
      ValueError: not such logits and labels.
    """
    logits, rows = _checked(logits, labels)
    own = logits[rows, labels]
    logits[rows, labels] = -np.inf
    return own - special.logsumexp(logits, axis=1)


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A copy of the logits in float64, and their rows."""
    logits, labels = np.array(logits, np.float64), np.asarray(labels)
    if not np.isfinite(logits).all():
        raise ValueError("the classifier's outputs are not finite: its training diverged")
    whole = logits.shape[:-1] == labels.shape == (len(labels),) and labels.dtype.kind in "iu"
    if not (whole and ((labels >= 0) & (labels < logits.shape[1])).all()):
        raise ValueError(f"labels must be a class for each row of logits, {logits.shape}")
    return logits, np.arange(len(labels))


def likelihood_ratio_scores(
    target: np.ndarray, shadow: np.ndarray, trained_on: np.ndarray, online: bool = True
) -> np.ndarray:
    """How much more likely a model's outputs are if it was trained on each record than if not.

    Outputs for a record are taken for normal over models, with means of its own and variances that all records share,
    as is advised for few shadow models. Online, a score is the log of the ratio of densities. Offline, it is how many
    standard deviations the target is above the mean of the models that were not trained on the record, which ranks as
    the one-sided test does.

    Source: Carlini et al. 2022 (arXiv 2112.03570), section IV.

    Args:
      target: float `[n]`, `confidence_logits` of the attacked model; scores are float64 `[n]`.
      shadow: float `[models, n]`, those of models that were trained like it.
      trained_on: bool `[models, n]`, which shadow models were trained on which records.
      online: whether models that were trained on a record are used.

    Raises:
      ValueError: shapes differ, numbers are not finite or do not vary, or a record has fewer than two models a side.
    """
    if trained_on.dtype != bool or not trained_on.shape == shadow.shape == (
        len(shadow),
        *target.shape,
    ):
        shapes = f"{target.shape}, {shadow.shape}, {trained_on.dtype} {trained_on.shape}"
        raise ValueError(f"target, shadow and trained_on must match, the last bool, got {shapes}")
    if not (np.isfinite(target).all() and np.isfinite(shadow).all()):
        raise ValueError("outputs of target or shadow models are not finite: training diverged")
    target, shadow = target.astype(np.float64), shadow.astype(np.float64)
    outside, out_variance = _moments(shadow, ~trained_on, "not trained on it")
    if not online:
        return (target - outside) / math.sqrt(out_variance)
    inside, in_variance = _moments(shadow, trained_on, "trained on it")
    with_it = (target - inside) ** 2 / in_variance + math.log(in_variance)
    return ((target - outside) ** 2 / out_variance + math.log(out_variance) - with_it) / 2


def _moments(shadow: np.ndarray, chosen: np.ndarray, what: str) -> tuple[np.ndarray, float]:
    """Means over the chosen models, `[n]`, and the pooled variance around them."""
    count = chosen.sum(axis=0)
    few = np.flatnonzero(count < _SHADOW_MODELS)
    if few.size:
        raise ValueError(
            f"record {few[0]} has {count[few[0]]} shadow models that were {what}, and {_SHADOW_MODELS} are needed:"
            " train more shadow models, each on a half of all records"
        )
    means = np.sum(shadow, axis=0, where=chosen) / count
    variance = float(np.sum((shadow - means) ** 2, where=chosen) / (count - 1).sum())
    if not variance > 0:
        raise ValueError(
            f"shadow models that were {what} all give the same outputs: train them with different seeds"
        )
    return means, variance
