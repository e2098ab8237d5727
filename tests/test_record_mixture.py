# SPDX-License-Identifier: Apache-2.0
"""The mixture around records, against direct densities and mechanisms whose loss is known."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import mechanisms
from scipy import special

from tfartgen import record_mixture


def normal(seed, rows, dimensions, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, [rows, dimensions])


def densities(mixture, examples):
    """Of every record's part, weight included, [examples, records]."""
    parts = []
    for record, weight, variance in zip(mixture.records, mixture.weights, mixture.variances):
        squared = ((examples - record) ** 2).sum(axis=1)
        scale = (2 * np.pi * variance) ** (len(record) / 2)
        parts.append(weight * np.exp(-squared / (2 * variance)) / scale)
    return np.array(parts).T


def direct_losses(mixture, examples):
    """Mean log ratio of the densities with and without each record; the share left is that of the examples."""
    parts = densities(mixture, examples)
    whole, losses = parts.sum(axis=1), []
    for record in range(parts.shape[1]):
        others = np.delete(parts, record, axis=1).sum(axis=1)
        rest = (others / whole).mean()
        losses.append(np.log(whole / (others / rest)).mean())
    return np.array(losses)


def direct_step(mixture, examples):
    """Expectation maximisation, with the priors of one example's weight and three examples' width."""
    parts = densities(mixture, examples)
    shares = parts / parts.sum(axis=1, keepdims=True)
    squared = ((examples[:, None] - mixture.records) ** 2).sum(axis=2) / examples.shape[1]
    common = (shares * squared).sum() / len(examples)
    counts = shares.sum(axis=0)
    variances = (3 * common + (shares * squared).sum(axis=0)) / (3 + counts)
    weights = (counts + 1) / (len(examples) + len(mixture.records))
    return record_mixture.RecordMixture(mixture.records, weights, variances)


def copies_of(records, per_record, scale, seed):
    repeated = np.repeat(records, per_record, axis=0)
    return repeated + normal(seed, len(repeated), records.shape[1], scale)


@pytest.mark.parametrize("dimensions, size", [(1, 6), (2, 40), (3, 100)])
def test_losses_are_those_of_the_densities(dimensions, size):
    records = normal(0, size, dimensions)
    examples = copies_of(records, 5, 0.4, 1)
    mixture, got = record_mixture.estimate(examples, records)
    expected = direct_losses(mixture, examples)
    places = [int(np.flatnonzero((mixture.records == each).all(axis=1))[0]) for each in records]
    np.testing.assert_allclose(got.losses, expected[places], rtol=1e-7, atol=1e-10)
    assert got.mean == pytest.approx(expected.mean())
    assert mixture.weights.sum() == pytest.approx(1)
    assert got.losses.min() >= 0


def test_a_fit_is_expectation_maximisation():
    records = normal(2, 12, 2)
    examples = copies_of(records, 8, 0.5, 3)
    one, two = (record_mixture.estimate(examples, records, steps)[0] for steps in (1, 2))
    expected = direct_step(one, examples)
    np.testing.assert_allclose(two.weights, expected.weights, rtol=1e-9)
    np.testing.assert_allclose(two.variances, expected.variances, rtol=1e-9)
    assert np.abs(one.variances / two.variances - 1).max() > 1e-3


@pytest.mark.parametrize("dimensions, scale", [(2, 0.1), (8, 0.2), (32, 0.2)])
def test_a_memoriser_loses_what_is_known(dimensions, scale):
    rng = np.random.default_rng(4)
    records = rng.standard_normal([300, dimensions])
    mechanism = mechanisms.Parzen(records, scale, rng)
    truth = mechanism.true_losses(rng).mean()
    examples = mechanism.draw(4000 * (1 + (dimensions == 2)), rng)
    got = record_mixture.estimate(examples, records)[1]
    assert got.mean == pytest.approx(truth, rel=0.08)
    assert 0 < got.standard_error < 0.1 * truth


def test_the_standard_error_is_that_of_other_examples():
    rng = np.random.default_rng(5)
    records = rng.standard_normal([60, 4])
    mechanism = mechanisms.Parzen(records, 0.3, rng)
    mixture = record_mixture.estimate(mechanism.draw(1000, rng), records)[0]
    each = [record_mixture.losses(mixture, mixture.draw(300, rng), records) for _ in range(60)]
    told = np.mean([one.standard_error for one in each])
    assert np.std([one.mean for one in each]) == pytest.approx(told, rel=0.35)


def test_tiny_noise_gives_large_finite_losses():
    records = normal(6, 100, 32)
    examples = copies_of(records, 10, 0.001, 7)
    mixture, got = record_mixture.estimate(examples, records)
    assert np.isfinite(got.losses).all() and got.losses.min() > 1e4
    assert np.isfinite([got.mean, got.standard_error]).all()
    assert np.sqrt(mixture.variances) == pytest.approx(0.001, rel=0.2)


@pytest.mark.parametrize("per_record", [1, 5])
@pytest.mark.parametrize("size", [2, 30])
def test_exact_copies_give_large_finite_losses(size, per_record):
    records = normal(8, size, 3)
    mixture, got = record_mixture.estimate(np.repeat(records, per_record, axis=0), records)
    assert np.isfinite(got.losses).all() and got.losses.min() > 1e4
    assert (mixture.variances > 0).all()


def test_constant_data_are_finite():
    got = record_mixture.estimate(np.ones([20, 2]), np.ones([5, 2]))[1]
    assert np.isfinite(got.losses).all() and np.isfinite(got.mean)


def test_equal_records_are_one():
    records = normal(9, 30, 2)
    examples = copies_of(records, 10, 0.2, 10)
    alone = record_mixture.estimate(examples, records)[1]
    twice = record_mixture.estimate(examples, np.concatenate([records, records[:10]]))[1]
    np.testing.assert_array_equal(twice.losses, np.append(alone.losses, alone.losses[:10]))
    assert twice.mean == pytest.approx(twice.losses.mean())
    assert twice.mean != pytest.approx(alone.mean)


def test_without_a_single_record_nothing_is_left():
    got = record_mixture.estimate(normal(11, 50, 2), np.zeros([1, 2]))[1]
    assert np.isfinite(got.losses).all() and got.losses.min() > 100


def test_a_record_that_everything_copies_loses_much():
    """Its share rounds to one in every example."""
    records = np.concatenate([np.zeros([1, 4]), 10 + normal(12, 20, 4)])
    got = record_mixture.estimate(normal(13, 200, 4), records)[1]
    assert got.losses[0] > 20 and got.losses.min() >= 0
    assert got.losses[1:].max() < 1e-3


def test_permuting_records_permutes_losses():
    records = normal(14, 120, 3)
    examples = copies_of(records, 4, 0.3, 15)
    order = np.random.default_rng(16).permutation(120)
    plain = record_mixture.estimate(examples, records)[1]
    moved = record_mixture.estimate(examples, records[order])[1]
    np.testing.assert_array_equal(moved.losses, plain.losses[order])


def test_draws_have_the_weights_and_the_variances():
    rng = np.random.default_rng(17)
    weights, variances = np.array([0.6, 0.3, 0.1]), np.array([1.0, 0.25, 4.0])
    records = 1000.0 * np.arange(3)[:, None] * np.ones(5)
    mixture = record_mixture.RecordMixture(records, weights, variances)
    examples = mixture.draw(20_000, rng)
    owner = np.rint(examples[:, 0] / 1000).astype(int)
    counts = np.bincount(owner, minlength=3)
    assert (np.abs(counts - 20_000 * weights) < 4 * np.sqrt(20_000 * weights)).all()
    for record in range(3):
        noise = examples[owner == record] - records[record]
        assert noise.var() == pytest.approx(variances[record], rel=4 * np.sqrt(2 / noise.size))
        assert abs(noise.mean()) < 4 * np.sqrt(variances[record] / noise.size)
    assert (
        mixture.draw(5, np.random.default_rng(0)) == mixture.draw(5, np.random.default_rng(0))
    ).all()


def test_losses_of_the_fit_are_those_of_estimate():
    records = normal(18, 20, 2)
    examples = copies_of(records, 5, 0.3, 19)
    mixture, got = record_mixture.estimate(examples, records)
    again = record_mixture.losses(mixture, examples, records)
    np.testing.assert_array_equal(again.losses, got.losses)


@pytest.mark.parametrize(
    "other", [normal(18, 20, 2) + 1e-9, normal(18, 20, 2)[:19], normal(18, 20, 3)]
)
def test_losses_of_other_records_are_refused(other):
    records = normal(18, 20, 2)
    examples = copies_of(records, 5, 0.3, 19)
    mixture = record_mixture.estimate(examples, records)[0]
    with pytest.raises(ValueError, match="records must be those that the mixture was fitted to"):
        record_mixture.losses(mixture, examples, other)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="others must have the 2 dimensions of points, got 3"):
        record_mixture.estimate(normal(0, 9, 2), normal(0, 9, 3))
    with pytest.raises(ValueError, match="points must be finite"):
        record_mixture.estimate(np.full([9, 2], np.nan), normal(0, 9, 2))
    with pytest.raises(ValueError, match="steps must be a positive whole number, got 0"):
        record_mixture.estimate(normal(0, 9, 2), normal(0, 9, 2), 0)


def test_the_loss_of_a_person_is_that_of_all_records_together():
    rng = np.random.default_rng(5)
    one = rng.normal(size=(30, 8))
    pairs = np.concatenate([one, one + 0.002 * rng.normal(size=one.shape)])
    examples = pairs[rng.integers(0, 60, 3000)] + 0.3 * rng.normal(size=(3000, 8))
    mixture, alone = record_mixture.estimate(examples, pairs)
    together = record_mixture.group_losses(mixture, examples, pairs, 2)
    squared = ((examples[:, None] - mixture.records) ** 2).sum(axis=2)
    log_density = (
        np.log(mixture.weights) - 4 * np.log(mixture.variances) - squared / (2 * mixture.variances)
    )
    for position in (0, 7, 45):
        left = np.ones(60, bool)
        for record in (position, (position + 30) % 60):
            left[np.flatnonzero((mixture.records == pairs[record]).all(axis=1))] = False
        loss = special.logsumexp(log_density, axis=1) - special.logsumexp(
            log_density[:, left], axis=1
        )
        share = np.exp(
            special.logsumexp(log_density[:, ~left], axis=1)
            - special.logsumexp(log_density, axis=1)
        )
        np.testing.assert_allclose(
            together[position], loss.mean() + np.log1p(-share.mean()), rtol=1e-6
        )
    # Each alone is hidden by its twin.
    assert together.mean() > 10 * alone.losses.mean()
    np.testing.assert_allclose(
        record_mixture.group_losses(mixture, examples, pairs, 1), alone.losses, atol=1e-9
    )
