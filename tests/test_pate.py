# SPDX-License-Identifier: Apache-2.0
"""PATE: parts that depend on each record alone, votes counted by hand, noise and price as stated."""

from __future__ import annotations

import dataclasses
import math
import random

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from data_samples import bright_or_dark
from scipy import stats

from tfartgen import accounting, pate, students
from tfartgen.pate import PateConfig
from tfartgen.students import StudentConfig

FAST = StudentConfig(architecture="logistic_regression", steps=30, batch_size=8)


def test_a_record_less_moves_no_other_record():
    images, labels = bright_or_dark(200, seed=0)
    whole = pate.assign_teachers(images, labels, 7, seed=3)
    without = pate.assign_teachers(np.delete(images, 50, 0), np.delete(labels, 50), 7, seed=3)
    np.testing.assert_array_equal(np.delete(whole, 50), without)
    order = np.random.default_rng(1).permutation(200)
    shuffled = pate.assign_teachers(images[order], labels[order], 7, seed=3)
    np.testing.assert_array_equal(shuffled, whole[order])


def test_parts_are_of_like_size_and_another_seed_gives_others():
    images, labels = bright_or_dark(4000, seed=0)
    parts = [pate.assign_teachers(images, labels, 10, seed) for seed in (0, 1)]
    for part in parts:
        assert stats.chisquare(np.bincount(part, minlength=10)).pvalue > 1e-4
    assert 0.05 < np.mean(parts[0] == parts[1]) < 0.15


def test_votes_are_counted():
    predictions = np.array([[0, 2], [0, 1], [1, 2]])
    np.testing.assert_array_equal(pate.count_votes(predictions, 3), [[2, 1, 0], [0, 1, 2]])


def test_one_record_changes_the_votes_by_the_sensitivity_at_most():
    images, labels = bright_or_dark(60, seed=0)
    queries, _ = bright_or_dark(20, seed=1)
    config = PateConfig(1.0, 1e-5, num_teachers=6, num_queries=20, teacher=FAST)
    whole = pate.teacher_votes(images, labels, 2, queries, config)
    images[10] = 255 - images[10]
    labels = labels.copy()
    kept = np.arange(60) != 10
    without = pate.teacher_votes(images[kept], labels[kept], 2, queries, config)
    assert whole.sum(axis=1).tolist() == without.sum(axis=1).tolist() == [6] * 20
    assert np.linalg.norm(whole - without, axis=1).max() <= pate.SENSITIVITY + 1e-12


def test_a_teacher_does_not_remember_the_one_before():
    images, labels = bright_or_dark(40, seed=0)
    queries, _ = bright_or_dark(30, seed=1)
    config = PateConfig(1.0, 1e-5, num_teachers=3, num_queries=30, teacher=FAST, seed=2)
    parts = pate.assign_teachers(images, labels, 3, seed=2)
    alone = []
    for number in range(3):
        student = students.train_student(
            images[parts == number],
            labels[parts == number],
            2,
            dataclasses.replace(FAST, seed=2),
        )
        alone.append(np.argmax(students.logits(student, queries), axis=1))
    np.testing.assert_array_equal(
        pate.teacher_votes(images, labels, 2, queries, config),
        pate.count_votes(np.stack(alone), 2),
    )


def test_teachers_without_records_vote_and_nothing_breaks():
    images, labels = bright_or_dark(3, seed=0)
    config = PateConfig(1.0, 1e-5, num_teachers=3, num_queries=30, teacher=FAST)
    seeds = (s for s in range(50) if len(set(pate.assign_teachers(images, labels, 3, s))) < 3)
    config = dataclasses.replace(config, seed=next(seeds))
    votes = pate.teacher_votes(images, labels, 2, images, config)
    assert votes.sum(axis=1).tolist() == [3, 3, 3]


def test_the_first_record_of_a_teacher_moves_its_vote_alone():
    """With dropout: the random numbers of a teacher must not depend on whether others have records."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(60, 8, 8, 1)).astype(np.uint8)
    labels = rng.integers(3, size=60).astype(np.int32)
    queries = rng.integers(256, size=(200, 8, 8, 1)).astype(np.uint8)
    config = PateConfig(
        1.0,
        1e-5,
        num_teachers=4,
        num_queries=200,
        teacher=StudentConfig(architecture="mlp", steps=20, batch_size=8),
    )
    parts = pate.assign_teachers(images, labels, 4, config.seed)
    others = parts != 0
    one_more = others | (np.arange(60) == np.flatnonzero(parts == 0)[0])
    votes = [
        pate.teacher_votes(images[kept], labels[kept], 3, queries, config)
        for kept in (others, one_more)
    ]
    assert np.linalg.norm(votes[0] - votes[1], axis=1).max() <= pate.SENSITIVITY + 1e-12
    assert (votes[0] != votes[1]).any()


def test_the_noise_has_the_stated_standard_deviation():
    """Two-sided: a lead of `noise` wins with probability Phi(1 / sqrt 2) against one other class."""
    noise, count = 5.0, 4000
    votes = np.tile([[noise, 0.0]], (count, 1))
    wins = np.mean(pate.noisy_labels(votes, noise) == 0)
    expected, error = stats.norm.cdf(1 / math.sqrt(2)), 0.5 / math.sqrt(count)
    assert abs(wins - expected) < 5 * error
    for wrong in (2 / 3, 3 / 2):
        assert abs(wins - stats.norm.cdf(1 / math.sqrt(2) / wrong)) > 5 * error


def test_promise_10_no_seed_reaches_the_noise():
    votes = np.zeros((200, 10))
    draws = []
    for _ in range(2):
        random.seed(0)
        np.random.seed(0)
        tf.keras.utils.set_random_seed(0)
        draws.append(pate.noisy_labels(votes, 1.0))
    assert np.mean(draws[0] == draws[1]) < 0.3


def test_the_price_is_that_of_an_independent_composition():
    config = PateConfig(3.0, 1e-5, num_teachers=5, num_queries=40, teacher=FAST)
    public, _ = bright_or_dark(50, seed=1)
    answers = pate.label_publicly(*bright_or_dark(100, seed=0), 2, public, config)
    assert answers.labels.shape == (40,)
    # 40 Gaussians of L2 sensitivity sqrt(2) and deviation s are one of noise multiplier s / sqrt(2 * 40).
    single = answers.vote_noise / math.sqrt(2 * 40)
    outside = dp_accounting.pld.PLDAccountant().compose(dp_accounting.GaussianDpEvent(single))
    assert outside.get_epsilon(1e-5) == pytest.approx(3.0, rel=2e-3)
    # Balle and Wang 2018, theorem 8, the exact delta of one Gaussian mechanism.
    epsilon = accounting.epsilon([answers.stretch], 1e-5)
    a, b = 1 / (2 * single), epsilon * single
    delta = stats.norm.cdf(a - b) - math.exp(epsilon) * stats.norm.cdf(-a - b)
    assert delta == pytest.approx(1e-5, rel=0.02) and delta <= 1e-5
    assert epsilon <= 3.0


def test_teachers_label_what_they_can():
    images, labels = bright_or_dark(400, seed=0)
    public, truth = bright_or_dark(40, seed=1)
    config = PateConfig(8.0, 1e-5, num_teachers=40, num_queries=30, teacher=FAST)
    steps = []
    answers = pate.label_publicly(images, labels, 2, public, config, steps.append)
    assert np.mean(answers.labels == truth[:30]) > 0.9
    assert steps == [1] * 40


def test_default_queries_by_hand():
    # One Gaussian mechanism of epsilon 3 and delta 1e-5 has the noise multiplier sigma. A lead of 0.7 * 300 = 210 is
    # three deviations of 70 = sigma * sqrt(2 * queries).
    sigma = accounting.calibrate_noise_multiplier(
        3.0, 1e-5, sampler="poisson", sampling_rate=1.0, batch_size=1, clip_norm=1.0, steps=1
    )
    expected = math.floor(70**2 / (2 * sigma**2))
    assert pate.default_queries(3.0, 1e-5, 300, 10, 10_000) == expected > 1000
    assert pate.default_queries(3.0, 1e-5, 300, 10, 1000) == 1000
    assert pate.default_queries(3.0, 1e-5, 2, 10, 1000) == 40


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_teachers": 101}, "--num_teachers=101 exceeds the 100 records"),
        ({"num_queries": 51}, "--num_queries=51 exceeds the 50 public images"),
    ],
)
def test_more_than_there_is_is_refused(changes, message):
    config = PateConfig(
        **{"epsilon": 1.0, "delta": 1e-5, "num_teachers": 2, "num_queries": 9, **changes}
    )
    public, _ = bright_or_dark(50, seed=1)
    with pytest.raises(ValueError, match=message):
        pate.label_publicly(*bright_or_dark(100, seed=0), 2, public, config)


@pytest.mark.parametrize(
    "settings",
    [{"epsilon": 0.0}, {"delta": 1.0}, {"num_teachers": 0}, {"num_queries": 1.5}],
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        PateConfig(
            **{"epsilon": 1.0, "delta": 1e-5, "num_teachers": 2, "num_queries": 9, **settings}
        )
