# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from tfartgen import calibration, estimation


def gaussian(count, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal([count, dimensions])


def calibrated(sample, count, seed=1, **settings):
    rng = np.random.default_rng(seed)
    return calibration.calibrate(sample, count, count, 5, rng, **settings)


def figures(result):
    ratios = [(each.ratio, each.ratio_std, each.divergence) for each in result.references]
    return np.array([*np.ravel(ratios), result.ratio, result.ratio_low, result.worst_high])


def one_gaussian(dimensions):
    return calibration._Mixture(
        np.ones(1), np.zeros([1, dimensions]), np.diag(np.linspace(1, 0.1, dimensions))
    )


def normal_kl(mean, first_covariance, second_covariance):
    """KL of N(0, first) from N(mean, second), the textbook's closed form."""
    inverse = np.linalg.inv(second_covariance)
    logs = np.linalg.slogdet(second_covariance)[1] - np.linalg.slogdet(first_covariance)[1]
    trace = np.trace(inverse @ first_covariance)
    return (trace + mean @ inverse @ mean - len(mean) + logs) / 2


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_kl_of_a_shifted_gaussian_is_the_closed_form(axis):
    p = one_gaussian(3)
    change = calibration._shifts(p, axis, 0.4)(np.random.default_rng(0))
    covariance = p.factor @ p.factor.T
    moved = change.apply(np.zeros(3))
    assert normal_kl(moved, covariance, covariance) == pytest.approx(0.4)
    assert (change.divergence, change.error) == (0.4, 0.0)


@pytest.mark.parametrize("wider", [True, False])
@pytest.mark.parametrize("divergence", [1e-3, 0.125, 50.0])
def test_kl_of_a_scaled_gaussian_is_the_closed_form(wider, divergence):
    p = one_gaussian(3)
    change = calibration._scales(p, wider, divergence)(np.random.default_rng(0))
    factor = change.apply(np.ones(1))[0]
    covariance = p.factor @ p.factor.T
    assert (factor > 1) == wider
    truth = normal_kl(np.zeros(3), covariance, factor**2 * covariance)
    assert truth == pytest.approx(divergence, rel=1e-6)


def test_kl_of_a_shifted_mixture_is_its_integral():
    p = calibration._Mixture(np.array([0.3, 0.7]), np.array([[-2.0], [1.0]]), np.array([[0.5]]))
    change = calibration._shifts(p, None, 0.3)(np.random.default_rng(0))
    grid = np.linspace(-15, 15, 300_001)

    def density(x):
        parts = p.weights * np.exp(-((x[:, None] - p.centres[:, 0]) ** 2) / 0.5)
        return parts.sum(axis=1) / math.sqrt(0.5 * math.pi)

    first, second = density(grid), density(grid - change.apply(np.zeros(1)))
    kept = (first > 0) & (second > 0)
    integrand = np.where(kept, first * np.log(np.where(kept, first / second, 1)), 0)
    truth = np.sum(integrand) * (grid[1] - grid[0])
    assert change.divergence == pytest.approx(0.3, rel=1e-3)
    assert 0 < change.error < 0.02 * 0.3
    assert truth == pytest.approx(change.divergence, abs=4 * change.error)


def test_all_rows_give_the_estimators_own_answer(monkeypatch):
    first, second = gaussian(300, 3), gaussian(200, 3, 1) + 0.5
    assert calibration._estimate(first, second, 5, 3) == estimation.kl_divergence(first, second, 5)
    monkeypatch.setattr(calibration, "_PAIRS", 500 * 150)
    part = calibration._estimate(first, second, 5, 3)
    assert part == pytest.approx(estimation.kl_divergence(first, second, 5), abs=0.2)
    assert part != estimation.kl_divergence(first, second, 5)


# .119, .093 of .125 were measured at n = 5,000 (d = 2, 8). Six repeats of n = 1,500 leave a standard error of the mean
# of four kinds of shift of about .05, and the smaller n a few hundredths of bias.
@pytest.mark.parametrize("dimensions, ratio", [(2, 0.119 / 0.125), (8, 0.093 / 0.125)])
def test_ratio_of_shifts_is_near_what_was_measured(dimensions, ratio):
    result = calibrated(gaussian(1500, dimensions), 1500, repeats=6)
    assert result.ratio == pytest.approx(ratio, abs=0.2)


def test_estimates_of_another_mixture_are_where_they_were_predicted():
    rng = np.random.default_rng(3)
    centres = np.array([[3.0, 0, 0], [0, 0, 0], [0, 2, 2]])

    def draw():
        return centres[rng.choice(3, 1500, p=[0.2, 0.5, 0.3])] + rng.standard_normal([1500, 3])

    moved = np.array([0.6, -0.4, 0.3])

    def log_density(points):
        squared = np.sum((points[:, None] - centres) ** 2, axis=2)
        return np.log(np.exp(-squared / 2) @ [0.2, 0.5, 0.3])

    points = np.concatenate([draw() for _ in range(20)])
    truth = np.mean(log_density(points) - log_density(points - moved))
    result = calibrated(draw(), 1500, divergence=0.2, repeats=6)
    mean = np.mean([estimation.kl_divergence(draw(), draw() + moved) for _ in range(4)])
    assert result.supported
    assert result.ratio_low * truth <= mean <= result.ratio_high * truth


def test_changes_of_scale_are_outside_the_range_of_shifts_and_shown():
    result = calibrated(gaussian(500, 16), 500, divergence=0.5, repeats=4)
    by_name = {each.name: each for each in result.references}
    assert by_name["Gaussian, q wider"].ratio > result.ratio_high
    assert by_name["Gaussian, q narrower"].ratio < 0
    assert result.worst_low < result.ratio_low and result.worst_high > result.ratio_high
    assert result.worst_low <= by_name["Gaussian, q narrower"].ratio


def test_many_dimensions_with_few_examples_are_refused():
    result = calibrated(gaussian(200, 32), 200, repeats=4)
    assert not result.supported
    match = (
        r"^--dimensions=32 cannot be supported with 200 and 200 examples: a shift of 0\.125 nats is"
        r" estimated as -?[\d.]+ to [\d.]+, .*; lower --dimensions or give more artificial examples$"
    )
    with pytest.raises(ValueError, match=match):
        result.require_supported()


def test_few_dimensions_with_many_examples_are_supported():
    result = calibrated(gaussian(1500, 2), 1500, divergence=0.5, repeats=4)
    assert result.supported and result.ratio_low >= calibration.MINIMUM_RATIO
    result.require_supported()


def test_constant_data_support_nothing():
    result = calibrated(np.full([50, 3], 1e9), 50)
    assert (result.rank, result.references, result.supported) == (0, (), False)
    with pytest.raises(ValueError, match="all artificial examples are equal in this space"):
        result.require_supported()


@pytest.mark.parametrize(
    "sample",
    [
        np.insert(gaussian(300, 2), 1, 7.0, axis=1),
        gaussian(300, 2) @ gaussian(2, 3, 1),
        np.repeat(gaussian(3, 3), 100, axis=0),
        np.repeat([[0.0, 0, 0], [1, 1, 1]], 5, axis=0),
        1e8 + 1e-3 * gaussian(300, 3),
        1e50 * gaussian(300, 3),
        gaussian(2, 3),
    ],
    ids=["constant column", "plane", "clumps", "two points", "far away", "huge", "two rows"],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_data_give_finite_figures(sample):
    result = calibrated(sample, 100, repeats=2)
    assert np.all(np.isfinite(figures(result)))
    assert 0 < result.rank <= result.dimensions == 3
    json.dumps(result.to_json(), allow_nan=False)


def test_neither_order_nor_origin_unit_or_rotation_of_the_sample_matters():
    sample = gaussian(300, 3) * [3, 2, 1]
    expected = figures(calibrated(sample, 300, repeats=2))
    shuffled = np.random.default_rng(5).permutation(sample)
    assert np.array_equal(figures(calibrated(shuffled, 300, repeats=2)), expected)
    other = calibrated(5 + 1e-4 * sample @ rotation(), 300, repeats=4)
    one = calibrated(sample, 300, repeats=4)
    assert other.ratio == pytest.approx(one.ratio, abs=0.3)


def rotation():
    return np.linalg.qr(gaussian(3, 3, 9))[0]


def test_a_seed_fixes_the_result_and_the_sample_is_left_alone():
    sample = gaussian(300, 3)
    sample.flags.writeable = False
    one, other = (calibrated(sample, 300, repeats=2) for _ in range(2))
    assert one == other
    assert one != calibrated(sample, 300, seed=2, repeats=2)


def test_counts_may_differ_and_part_of_the_rows_may_be_searched_for(monkeypatch):
    sample, rng = gaussian(600, 2), np.random.default_rng(1)
    result = calibration.calibrate(sample, 600, 300, 5, rng, divergence=0.5, repeats=4)
    assert (result.first_count, result.second_count) == (600, 300)
    monkeypatch.setattr(calibration, "_PAIRS", 900 * 200)
    part = calibration.calibrate(sample, 600, 300, 5, rng, divergence=0.5, repeats=4)
    assert part.ratio == pytest.approx(result.ratio, abs=0.25)


def test_json_has_every_field():
    result = calibrated(gaussian(100, 2), 100, repeats=2)
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert set(written) == {field.name for field in dataclasses.fields(result)}
    assert written["references"][0]["name"] == "Gaussian, random shift"


@pytest.mark.parametrize(
    "change, match",
    [
        ({"divergence": math.nan}, "divergence must be a positive number, got nan"),
        ({"divergence": 101.0}, "divergence must be at most 100 nats, got 101"),
        ({"repeats": 1}, "repeats must be at least 2, got 1"),
        ({"k": 0}, "k must be a positive whole number, got 0"),
        ({"k": 50}, "k must be at most 49"),
        ({"second_count": 3}, "k must be at most 3"),
        ({"first_count": 0}, "first_count must be a positive whole number, got 0"),
        ({"sample": np.zeros([1, 2])}, "sample must have at least 2 rows, got 1"),
        ({"sample": np.full([5, 2], np.nan)}, "must be finite"),
    ],
)
def test_wrong_arguments_are_refused(change, match):
    settings = {"sample": gaussian(50, 2), "first_count": 50, "second_count": 50, "k": 5, **change}
    with pytest.raises(ValueError, match=match):
        calibration.calibrate(**settings, rng=np.random.default_rng(0))
