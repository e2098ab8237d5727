# SPDX-License-Identifier: Apache-2.0
"""What the limits of draws cost, against sums and integrals taken directly; and that accounting takes it off delta."""

from __future__ import annotations

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld
from scipy import stats

from tfartgen import accounting, noise_limits
from tfartgen.accounting import Stretch
from tfartgen.noise_limits import GRID

CRITIC = Stretch("poisson", 0.02, 1.1, 1.0, batch_size=20, steps=300, coordinates=90_000)
EXACT = Stretch(
    "poisson",
    1.0,
    4.0,
    1.0,
    batch_size=1,
    steps=1,
    stage="mean embedding",
    coordinates=80_000,
    grid=GRID,
)


def ideal(*stretches):
    return [dataclasses.replace(s, coordinates=None, grid=None) for s in stretches]


@pytest.mark.parametrize("scale", [1.0, 1.7, 3.0, 10.0, 50.0])
def test_rounded_and_discrete_noise_differ_by_less_than_is_taken_off(scale):
    steps = np.arange(-math.ceil(40 * scale), math.ceil(40 * scale) + 1)
    discrete = np.exp(-(steps**2) / (2 * scale**2))
    rounded = stats.norm.cdf((steps + 0.5) / scale) - stats.norm.cdf((steps - 0.5) / scale)
    variation = 0.5 * np.abs(discrete / discrete.sum() - rounded).sum()
    bound = noise_limits.rounding_variation(scale, 1)
    assert variation <= bound <= 10 * variation


def test_where_the_grid_is_too_coarse_for_the_bound_all_of_delta_is_taken():
    assert noise_limits.rounding_variation(0.9, 1) == 1.0


@pytest.mark.parametrize("coordinates", [1, 3])
@pytest.mark.parametrize("move", [0.3, 1.0, 2.5])
def test_outputs_that_are_impossible_without_the_record_are_bounded(monkeypatch, move, coordinates):
    """With a limit of 4 in place of 9.2 they are counted by drawing; spread over coordinates, or all in one."""
    limit = 4.0
    monkeypatch.setattr(noise_limits, "LIMIT", limit)
    monkeypatch.setattr(noise_limits, "_TAIL", stats.norm.sf(limit))
    bound = noise_limits.impossible(1 / move, coordinates)
    rng = np.random.default_rng(0)
    for direction in (
        [1.0] + [0.0] * (coordinates - 1),
        [1 / math.sqrt(coordinates)] * coordinates,
    ):
        chance = 1 - math.prod(
            1 - (stats.norm.cdf(move * a - limit) - stats.norm.sf(limit)) for a in direction
        )
        assert chance <= bound * (1 + 1e-9)
        found = np.any(
            np.abs(rng.normal(size=(200_000, coordinates)) + move * np.array(direction)) > limit,
            axis=1,
        )
        assert found.mean() <= bound + 5 * math.sqrt(
            bound / 200_000
        ) + 2 * coordinates * stats.norm.sf(limit)


def test_a_record_that_moves_the_sum_past_the_limit_leaves_nothing_to_say():
    assert noise_limits.impossible(0.1, 10) == 1.0
    assert noise_limits.impossible(1.0, 90_000) < 1e-15


def test_promise_12_noise_small_beside_its_limit_has_no_epsilon():
    """The auditor's point: outputs beyond the limit are impossible without the record, whatever epsilon."""
    small = dataclasses.replace(CRITIC, noise_multiplier=0.02)
    spent = accounting.spent([small], 1e-5)
    assert math.isinf(spent.epsilon) and spent.accountant == "none" and not spent.is_meaningful
    assert spent.ideal_epsilon == pytest.approx(accounting.epsilon(ideal(small), 1e-5))
    assert spent.taken_off_delta == 1e-5 and "9.2 standard deviations" in spent.explanation
    assert math.isinf(accounting.EpsilonMeter([], small, 1e-5).at(300))


def by_hand(stretches, epsilon):
    """dp-accounting's delta at an epsilon, of continuous Gaussian noise, on a finer grid than ours."""
    accountant = pld.PLDAccountant(
        dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-5
    )
    for stretch in stretches:
        accountant.compose(
            dp_accounting.PoissonSampledDpEvent(
                stretch.sampling_rate, dp_accounting.GaussianDpEvent(stretch.noise_multiplier)
            ),
            stretch.steps,
        )
    return accountant.get_delta(epsilon)


@pytest.mark.parametrize("stretches", [[CRITIC], [EXACT], [EXACT, CRITIC]])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_epsilon_is_dp_accountings_at_what_is_left_of_delta(stretches, delta):
    epsilon = accounting.epsilon(stretches, delta)
    taken = accounting.spent(stretches, delta).taken_off_delta
    assert 0 <= taken < 1e-4 * delta
    assert by_hand(stretches, epsilon) <= delta - taken
    assert by_hand(stretches, epsilon * (1 - 2e-3)) > delta - taken


def test_the_price_of_exact_noise_solves_for_its_own_epsilon():
    """On a coarse grid, where what is taken off depends on epsilon: delta(epsilon) + (1 + e^epsilon) tau <= delta."""
    coarse = dataclasses.replace(EXACT, grid=2000)
    tau = noise_limits.rounding_variation(coarse.scale, coarse.coordinates)
    delta = 3.0 * (1 + math.e) * tau
    epsilon = accounting.epsilon([coarse], delta)
    assert by_hand([coarse], epsilon) + (1 + math.exp(epsilon)) * tau <= delta * (1 + 1e-6)
    assert epsilon > accounting.epsilon(ideal(coarse), delta)
    spent = accounting.spent([coarse], delta)
    assert spent.taken_off_delta == pytest.approx((1 + math.exp(epsilon)) * tau, rel=1e-6)


def test_where_the_grid_takes_all_of_delta_the_exact_renyi_price_remains():
    """Of discrete noise the Renyi curve is the Gaussian's, with nothing taken off (arXiv 2004.00010, proposition 5)."""
    coarse = dataclasses.replace(EXACT, grid=8)
    assert accounting.epsilon([coarse], 1e-5) == accounting.epsilon(ideal(coarse), 1e-5, "rdp")


@pytest.mark.parametrize("target", [0.5, 3.0, 15.0])
def test_calibration_counts_the_limits(target):
    settings = dict(sampler="poisson", sampling_rate=0.05, batch_size=50, clip_norm=1.0, steps=100)
    found = accounting.calibrate_noise_multiplier(target, 1e-6, coordinates=50_000, **settings)
    stretch = Stretch(noise_multiplier=found, coordinates=50_000, **settings)
    assert accounting.epsilon([stretch], 1e-6) <= target
    less = dataclasses.replace(stretch, noise_multiplier=found * 0.998)
    assert accounting.epsilon([less], 1e-6) > target


def test_the_meter_never_shows_less_than_the_price():
    meter = accounting.EpsilonMeter([EXACT], CRITIC, 1e-5)
    assert meter.at(CRITIC.steps) >= accounting.epsilon([EXACT, CRITIC], 1e-5)
