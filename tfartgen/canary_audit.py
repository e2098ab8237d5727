# SPDX-License-Identifier: Apache-2.0
"""An empirical audit of a training: canaries are planted, the training runs once, and their coins are guessed.

    canaries.npz     the coins, thrown once, before the training starts
    run/, models/    the training, as `bin/train` would leave it; never to be published, for it has learned the canaries
    audit.json       what the guesses say

What is guessed from, the critic and the noised mean embedding, are outputs of the private mechanisms; an auditor who
knows all records but the coins may look at both, and is bound by the same epsilon. So right guesses give a lower bound
on epsilon (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846), to be held against the accountant's upper bound.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from typing import Any, Callable, Optional, Union

import numpy as np
from scipy import stats

from tfartgen import (
    _validate,
    accounting,
    audit,
    canaries,
    embedding,
    environment,
    run_models,
    training,
)
from tfartgen.canaries import Canaries, CoinSource, operating_system_coins
from tfartgen.data import PrivateData, Split, to_float
from tfartgen.matching import Matching
from tfartgen.noise_limits import GRID
from tfartgen.train_config import TrainConfig
from tfartgen.whole_files import write_json

SCHEMA = "tfartgen.canary_audit/1"

CRITIC, RELEASE = "critic", "release"

#: Of the candidates, the share that is guessed, and of the guesses, the share that is "out". A critic that has memorised
#: a record does not call it fake, but it may call others real as well: low scores tell, and high ones do not. Noise
#: is symmetric, so from a noised release both ends tell. Never chosen by what an audit finds: it is on file with the coins.
_GUESSED = {CRITIC: (0.2, 1.0), RELEASE: (0.5, 0.5)}

_ROWS_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """Settings of an audit, all fixed before the coins are thrown.

    Attributes:
      num_canaries: candidates; about half of them are planted. More of them show more and disturb more: a tenth to a
        seventh of the private records serves.
      guesses: of them to guess by each score; None for a fifth by the critic and half by the release.
      confidence: of the lower bound.
      seed: fixes the canaries' images and labels; never their coins.
    """

    num_canaries: int = 200
    guesses: Optional[int] = None
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        _validate.positive_int("--num_canaries", self.num_canaries)
        _validate.probability("--confidence", self.confidence)
        _validate.non_negative("--seed", self.seed)
        if self.guesses is not None:
            _validate.positive_int("--guesses", self.guesses)
            if self.guesses > self.num_canaries:
                raise ValueError(
                    f"--guesses must be at most --num_canaries={self.num_canaries}, got {self.guesses}"
                )


def run(
    data: PrivateData,
    config: TrainConfig,
    folder: Union[str, os.PathLike[str]],
    settings: AuditConfig = AuditConfig(),  # noqa: B008 (frozen)
    *,
    coins: CoinSource = operating_system_coins,
    checkpoint_minutes: float = 5.0,
    progress: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Trains once on the private records and about half of the canaries, and guesses which half; goes on where it was.

    Formal guarantee: if the training of `config` is (epsilon, delta)-differentially private, `lower_bound` exceeds
    epsilon with probability at most `1 - confidence`: canaries enter by independent fair coins, thrown once before the
    training; the scores, and how many of the lowest are guessed "out" and of the highest "in", are on file with the
    coins, and what computes the scores is not given the coins; with two scores each has half of `1 - confidence`,
    whichever finds more. (That holds for one audit. Who repeats audits and shows the largest bound shows more than
    there is.) The number of records, planted canaries included, is treated as public, as everywhere.

    The run's generator, checkpoints and coins must never be published: they tell of the private records as any run does,
    and of images that are none. `folder` is private, and what the audit trains stays in it.

    Args:
      data: the private data; canaries include images of its held-out split.
      config: of the training to be audited.
      folder: private folder of this audit.
      settings: of the audit.
      coins: source of the coins; anything but the default is for tests.
      checkpoint_minutes: minutes between checkpoints.
      progress: called with a line for people at each stage.

    Returns:
      JSON-able: `schema`, where and with which settings, `candidates`, `included`, `confidence`; for each of `scores` its `guesses`, `correct`, `lower_bound`
      and `auc`; `lower_bound`, the largest; the `accountant`'s answer (None for an infinite epsilon); and whether
      the two are `consistent`.

    Raises:
      ValueError: settings out of range, batches that are shuffled, a folder of another audit, damaged coins.
      OSError: a file cannot be written.
      KeyboardInterrupt: a signal stopped the training, which is saved; the same call goes on.
    """
    folder = pathlib.Path(folder)
    if config.sampling != "poisson":
        raise ValueError(
            f"sampling={config.sampling} is priced for records that are zeroed out, and an audit leaves canaries out; "
            "give poisson"
        )
    data.require_memory()
    planted = _plant(data, config, folder, settings, coins)
    progress(f"canaries: {planted.included.sum()} of {len(planted.labels)} planted")
    result = training.train(
        with_canaries(data, planted),
        config,
        folder / "run",
        folder / "models",
        checkpoint_minutes=checkpoint_minutes,
        throwaway=True,
    )
    if result.model_path is None:
        raise KeyboardInterrupt
    progress("guessing")
    values = scores(data.train, planted.images, planted.labels, folder / "run")
    found = verdict(planted, values, settings, result.spent)
    document = {
        "schema": SCHEMA,
        **environment.describe(),
        "dataset": {"name": data.name, "num_train": data.train.num_examples},
        "settings": {"audit": dataclasses.asdict(settings), "train": dataclasses.asdict(config)},
        **found,
    }
    write_json(document, folder / "audit.json")
    return document


def folder_name(config: TrainConfig, settings: AuditConfig) -> str:
    """Of an audit's folder: another training or other settings are another audit."""
    content = [dataclasses.asdict(config), dataclasses.asdict(settings)]
    return f"audit-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]}"


def with_canaries(data: PrivateData, planted: Canaries) -> PrivateData:
    """The data with the included canaries among its training records, under a name that says so."""
    train = Split.from_arrays(*planted.planted(*data.train.arrays()))
    return dataclasses.replace(data, name=f"{data.name}_with_canaries", train=train)


def _plant(
    data: PrivateData,
    config: TrainConfig,
    folder: pathlib.Path,
    settings: AuditConfig,
    coins: CoinSource,
) -> Canaries:
    path = folder / "canaries.npz"
    if not path.exists() and (folder / "run").exists():
        raise ValueError(
            f"{path} is missing beside a training that has started, and coins are thrown once; restore it, or start a new "
            "audit in another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    candidates = canaries.make(
        *data.held_out.arrays(), data.num_classes, settings.num_canaries, settings.seed
    )
    identity = {
        **dataclasses.asdict(settings),
        **{f"guesses_by_{kind}": rule for kind, rule in _rules(settings).items()},
        "dataset": data.name,
        "data_checksum": data.train.checksum(),
        **{f"train_{name}": value for name, value in dataclasses.asdict(config).items()},
    }
    return canaries.throw_once(path, *candidates, identity, coins)


def _rules(settings: AuditConfig) -> dict[str, tuple[int, float]]:
    """Of each score the number of guesses and the share of them that is "out", whatever the coins and the scores say."""
    return {
        kind: (settings.guesses or max(1, round(share * settings.num_canaries)), share_out)
        for kind, (share, share_out) in _GUESSED.items()
    }


def scores(
    private: Split, images: np.ndarray, labels: np.ndarray, run_dir: Union[str, os.PathLike[str]]
) -> dict[str, np.ndarray]:
    """All that a finished run tells of each canary, by what it is read from: `[candidates]`, high for "in".

    Formal guarantee: post-processing of the run's private outputs, the settings and what an auditor may know: the
    private records and the candidates. No coin is looked at: none is given.

    Args:
      private: the records without canaries.
      images: of the candidates, uint8 `[candidates, height, width, channels]`.
      labels: theirs, integers `[candidates]`.
      run_dir: of the run.

    Raises:
      ValueError: the run is not finished, or damaged.
    """
    known = run_models.finished_settings(run_dir)
    found = {}
    if known["steps"]:
        critic = run_models.load_critic(run_dir)
        found[CRITIC] = run_models.critic_scores(critic, images, labels)
    if known["warm_start"]:
        matching = run_models.load_release(run_dir)
        noise = known["warm_start_noise_multiplier"]
        found[RELEASE] = release_scores(private, matching, noise, images, labels)
    return found


def release_scores(
    private: Split,
    matching: Matching,
    noise_multiplier: float,
    images: np.ndarray,
    labels: np.ndarray,
) -> np.ndarray:
    """How much of each canary is in the noised mean embedding of its class, `[candidates]`.

    The release of a class is, up to its scale, the sum of its private records' vectors, which the auditor knows, and
    of the canaries' vectors times their coins, and Gaussian noise. The score is the posterior mean of the coin, less a
    half, as if coins were Gaussian too. Of a single canary it is the inner product with what is left of the release. The
    direction of the known sum is left out, since the scale is not known exactly.

    Args:
      private: the records without canaries.
      matching: holds the release.
      noise_multiplier: of the release.
      images: of the candidates, uint8 `[candidates, height, width, channels]`.
      labels: theirs, integers `[candidates]`.

    Returns:
      The scores, float64.
    """
    features = matching.embedding
    sums = embedding.class_sums(features, private, matching.num_classes) / GRID
    vectors = np.concatenate(
        [features(to_float(images[rows])).numpy() for rows in _parts(len(labels))]
    ).astype(np.float64)
    found = np.zeros(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        known, count = sums[label, :-1], sums[label, -1] / features.constant
        rows = vectors[members]
        left = (count + len(members) / 2) * matching.means.numpy()[label].astype(np.float64) - known
        along = known / max(float(np.linalg.norm(known)), 1e-12)
        rows = rows - np.outer(rows @ along, along)
        left -= (left @ along) * along + rows.sum(axis=0) / 2
        prior = 4 * noise_multiplier**2 * np.eye(len(members))  # a coin's variance is a quarter
        found[members] = np.linalg.solve(rows @ rows.T + prior, rows @ left)
    return found


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE)]


def verdict(
    planted: Canaries,
    found: dict[str, np.ndarray],
    settings: AuditConfig,
    spent: accounting.Spent,
) -> dict[str, Any]:
    """Guesses by each score, and holds the lower bounds against the accountant.

    Args:
      planted: the canaries and their coins.
      found: scores by what they were read from.
      settings: of the audit; 1 - confidence is shared out evenly among the scores.
      spent: the accountant's answer for what ran.

    Returns:
      As `run`.
    """
    confidence = 1 - (1 - settings.confidence) / len(found)
    rules = _rules(settings)
    by_score = {
        kind: _guessed(planted, values, rules[kind], confidence, spent.delta)
        for kind, values in found.items()
    }
    lower = max(result["lower_bound"] for result in by_score.values())
    return {
        "candidates": len(planted.labels),
        "included": int(planted.included.sum()),
        "confidence": settings.confidence,
        "scores": by_score,
        "lower_bound": lower,
        "accountant": {
            "epsilon": spent.epsilon if math.isfinite(spent.epsilon) else None,
            "delta": spent.delta,
            "accountant": spent.accountant,
            "relation": spent.relation,
            "explanation": spent.explanation,
        },
        "consistent": bool(lower <= spent.epsilon),
    }


def _guessed(
    planted: Canaries,
    values: np.ndarray,
    rule: tuple[int, float],
    confidence: float,
    delta: float,
) -> dict[str, Any]:
    candidates, (count, share_out) = len(planted.labels), rule
    guessed = canaries.guess(values, count, share_out)  # blind: coins only count what is right
    correct = int((guessed == np.where(planted.included, 1, -1)).sum())
    return {
        "guesses": count,
        "correct": correct,
        "confidence": confidence,
        "lower_bound": audit.epsilon_lower_bound(correct, count, candidates, delta, confidence),
        "auc": _auc(values, planted.included),
    }


def _auc(values: np.ndarray, included: np.ndarray) -> Optional[float]:
    """Chance that an included canary scores above another one, ties counted half; None where all coins fell alike."""
    ins, outs = values[included], values[~included]
    if not len(ins) or not len(outs):
        return None
    return float(stats.mannwhitneyu(ins, outs).statistic / (len(ins) * len(outs)))
