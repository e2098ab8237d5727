# SPDX-License-Identifier: Apache-2.0
"""Tests of every price: against closed forms, a slow reference, and dp-accounting composed by hand."""

from __future__ import annotations

import dataclasses
import math
import time

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld, rdp
from scipy import optimize, stats

from tfartgen import accounting
from tfartgen.accounting import (
    EpsilonMeter,
    Stretch,
    calibrate_noise_multiplier,
    epsilon,
    kl_bound,
    spent,
)
from tfartgen.rounding import upwards

DELTA = 1e-5


def poisson(rate, noise, steps):
    return Stretch("poisson", rate, noise, 1.0, 64, steps)


def shuffle(rate, noise, steps):
    return Stretch("shuffle", rate, noise, 1.0, 64, steps)


def gaussian_delta(noise, eps):
    """Delta of one Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530, theorem 8)."""
    left = stats.norm.cdf(0.5 / noise - eps * noise)
    return left - math.exp(eps + stats.norm.logcdf(-0.5 / noise - eps * noise))


def gaussian_epsilon(noise, delta):
    return optimize.brentq(lambda eps: gaussian_delta(noise, eps) - delta, 0, 1e4, xtol=1e-12)


def sampled_losses(rate, noise, removed):
    """Privacy loss of one sampled Gaussian step, cut finely: (lowest, highest, probability) of each cell."""
    x = np.linspace(-12 * noise, 1 + 12 * noise, 400_001)
    absent = math.log1p(-rate) if rate < 1 else -math.inf
    loss = np.logaddexp(absent, math.log(rate) + (2 * x - 1) / (2 * noise**2))
    rate_of_shifted = rate if removed else 0.0
    below = (1 - rate_of_shifted) * stats.norm.cdf(x, 0, noise)
    below += rate_of_shifted * stats.norm.cdf(x, 1, noise)
    above = (1 - rate_of_shifted) * stats.norm.sf(x, 0, noise)
    above += rate_of_shifted * stats.norm.sf(x, 1, noise)
    mass = np.where(below[:-1] < 0.5, np.diff(below), -np.diff(above))
    return (loss[:-1], loss[1:], mass) if removed else (-loss[1:], -loss[:-1], mass)


def reference_epsilon(rate, noise, steps, delta, grid, pessimistic):
    """Slow and independent: losses rounded down (a lower bound on epsilon) or up, and convolved in full."""
    worst = 0.0
    for removed in (True, False):
        lowest, highest, mass = sampled_losses(rate, noise, removed)
        cells = np.ceil(highest / grid) if pessimistic else np.floor(lowest / grid)
        first = int(cells.min())
        one = np.bincount((cells - first).astype(int), weights=mass)
        size = (len(one) - 1) * steps + 1
        total = np.maximum(np.fft.irfft(np.fft.rfft(one, size) ** steps, size), 0)
        losses = (np.arange(size) + first * steps) * grid

        def excess(eps, total=total, losses=losses):
            over = losses > eps
            return float(np.sum(total[over] * -np.expm1(eps - losses[over]))) - delta

        if excess(0) > 0:
            worst = max(worst, optimize.brentq(excess, 0, losses[-1], xtol=1e-9))
    return worst


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "grid"),
    [
        (0.01, 1.0, 1, 1e-5, 1e-3),
        (0.01, 0.7, 8, 1e-5, 1e-3),
        pytest.param(0.05, 0.5, 64, 1e-5, 4e-3, marks=pytest.mark.slow),
        (0.3, 2.0, 32, 1e-6, 1e-3),
        (0.5, 0.8, 16, 1e-8, 1e-3),
        pytest.param(0.001, 0.3, 100, 1e-5, 4e-3, marks=pytest.mark.slow),
        (0.001, 0.1, 20, 1e-5, 5e-2),
    ],
)
def test_epsilon_lies_between_independent_bounds(rate, noise, steps, delta, grid):
    low = reference_epsilon(rate, noise, steps, delta, grid, pessimistic=False)
    high = reference_epsilon(rate, noise, steps, delta, grid, pessimistic=True)
    assert low <= epsilon([poisson(rate, noise, steps)], delta) <= high
    assert high - low < 0.04 * high


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0, 40.0])
def test_one_full_step_has_the_closed_form_of_the_gaussian_mechanism(noise, delta):
    exact = gaussian_epsilon(noise, delta) if gaussian_delta(noise, 0) > delta else 0.0
    value = epsilon([poisson(1.0, noise, 1)], delta)
    assert exact <= value <= exact * 1.001 + 1e-4
    assert epsilon([shuffle(0.1, noise, 10)], delta) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("noise", "steps"), [(4.0, 16), (20.0, 300)])
def test_full_steps_compose_to_one_gaussian(noise, steps):
    exact = gaussian_epsilon(noise / math.sqrt(steps), DELTA)
    for stretch in (poisson(1.0, noise, steps), shuffle(1.0, noise, steps)):
        assert exact <= epsilon([stretch], DELTA) <= exact * 1.001


@pytest.mark.parametrize("sampler", ["poisson", "shuffle"])
def test_shuffled_steps_cost_their_passes_without_amplification(sampler):
    stretch = Stretch(sampler, 0.1, 3.0, 1.0, 64, 41)
    cost = epsilon([stretch], DELTA)
    full = gaussian_epsilon(3.0 / math.sqrt(5), DELTA)
    assert (full <= cost <= full * 1.001) if sampler == "shuffle" else cost < full / 2


def by_hand(accountant, events):
    for event in events:
        accountant.compose(event)
    return accountant.get_epsilon(DELTA)


MIXED = [
    poisson(0.01, 0.9, 500),
    shuffle(0.01, 6.0, 250),
    poisson(0.02, 1.1, 300),
    poisson(0.01, 0.9, 100),
    shuffle(0.01, 6.0, 150),
]


def mixed_events():
    def sampled(rate, noise, count):
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        return dp_accounting.SelfComposedDpEvent(event, count)

    full = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(6.0), 5)
    return [sampled(0.01, 0.9, 600), sampled(0.02, 1.1, 300), full]


def test_mixed_stretches_cost_what_dp_accounting_says():
    by_pld = by_hand(pld.PLDAccountant(value_discretization_interval=1e-4), mixed_events())
    by_rdp = by_hand(rdp.RdpAccountant(), mixed_events())
    assert epsilon(MIXED, DELTA) == pytest.approx(by_pld, rel=1e-4)
    assert epsilon(MIXED, DELTA, "rdp") == pytest.approx(by_rdp, rel=1e-6)
    assert epsilon(MIXED, DELTA) < epsilon(MIXED, DELTA, "rdp")


def test_promise_5_order_and_cuts_do_not_matter_and_every_stretch_counts():
    whole = epsilon(MIXED, DELTA)
    assert epsilon(MIXED[::-1], DELTA) == pytest.approx(whole, rel=1e-9)
    cut = [poisson(0.01, 0.9, 1), poisson(0.01, 0.9, 599), *MIXED[1:3], MIXED[4]]
    assert epsilon(cut, DELTA) == pytest.approx(whole, rel=1e-9)
    for left_out in range(len(MIXED)):
        rest = MIXED[:left_out] + MIXED[left_out + 1 :]
        assert epsilon(rest, DELTA, "rdp") < epsilon(MIXED, DELTA, "rdp") - 1e-3
    assert epsilon([poisson(0.01, 0.9, 600)], DELTA) > epsilon([poisson(0.01, 0.9, 599)], DELTA)


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_epsilon_is_monotone(accountant):
    def costs(stretches):
        values = [epsilon([stretch], DELTA, accountant) for stretch in stretches]
        return all(a < b for a, b in zip(values, values[1:]))

    assert costs([poisson(0.01, noise, 1000) for noise in (8, 1, 0.99, 0.5, 0.1, 0.02)])
    assert costs([poisson(0.01, 0.8, steps) for steps in (1, 500, 505, 50_000)])
    assert costs([poisson(rate, 0.8, 500) for rate in (1e-3, 0.01, 0.0101, 0.3, 1.0)])
    assert epsilon(MIXED, 1e-6, accountant) > epsilon(MIXED, 1e-5, accountant)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
@pytest.mark.parametrize(("rate", "steps"), [(1e-3, 1), (1e-3, 50_000), (0.05, 50_000)])
def test_small_noise_is_priced_fast(noise, rate, steps):
    start = time.process_time()
    cost = spent([poisson(rate, noise, steps)], DELTA)
    assert time.process_time() - start < 3
    assert 0 < cost.epsilon <= cost.rdp_epsilon < math.inf
    assert cost.accountant == ("rdp" if cost.rdp_epsilon > 1e8 else "pld")


@pytest.mark.parametrize("noise", [1e-6, 0.01, 0.1])
@pytest.mark.parametrize(("rate", "steps"), [(1e-3, 1), (0.05, 50_000)])
def test_small_noise_has_no_price_where_its_draws_end(noise, rate, steps):
    ideal = poisson(rate, noise, steps)
    start = time.process_time()
    cost = spent([dataclasses.replace(ideal, coordinates=1000)], DELTA)
    assert time.process_time() - start < 3
    assert (cost.epsilon, cost.rdp_epsilon, cost.accountant) == (math.inf, math.inf, "none")
    assert cost.ideal_epsilon == epsilon([ideal], DELTA) < math.inf
    assert cost.taken_off_delta == DELTA and not cost.is_meaningful
    assert cost.explanation.startswith("No formal guarantee: noise was so small that the limit")


def test_many_different_stretches_are_priced_fast():
    stretches = [shuffle(0.001, 5.0, 30)] * 200 + [poisson(0.01, 1.0, 10)] * 200
    start = time.process_time()
    assert epsilon(stretches, DELTA) < math.inf
    assert time.process_time() - start < 3


@pytest.mark.parametrize("delta", [1e-10, 1e-12, 1e-15, 1e-30])
def test_tiny_delta_leaves_no_room_for_rounding(delta):
    cost = spent([poisson(0.01, 1.0, 50_000)], delta)
    assert cost.accountant == "rdp" and cost.epsilon == cost.rdp_epsilon < math.inf
    assert cost.epsilon > epsilon([poisson(0.01, 1.0, 50_000)], 1e-9)


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_noiseless_steps_cost_infinity(accountant):
    assert epsilon([poisson(0.01, 1.0, 5), poisson(0.01, 0.0, 1)], DELTA, accountant) == math.inf
    assert epsilon([poisson(0.01, 0.0, 0)], DELTA, accountant) == 0
    assert epsilon([], DELTA, accountant) == 0


@pytest.mark.parametrize("delta", [0, 1, -0.1, float("nan"), "1e-5", True])
def test_delta_is_checked(delta):
    for price in (epsilon, spent):
        with pytest.raises(ValueError, match="delta must be between 0 and 1"):
            price([poisson(0.01, 0.0, 1)], delta)
    with pytest.raises(ValueError, match="delta must be"):
        EpsilonMeter([], poisson(0.01, 1.0, 1), delta)


def test_accountant_is_checked():
    with pytest.raises(ValueError, match="accountant must be one of pld, rdp, got 'gdp'"):
        epsilon([], DELTA, "gdp")


def test_spent_of_a_meaningful_run():
    cost = spent([poisson(0.01, 1.0, 1000)], DELTA)
    assert cost.is_meaningful and cost.accountant == "pld"
    assert cost.epsilon == epsilon([poisson(0.01, 1.0, 1000)], DELTA) < cost.rdp_epsilon
    assert cost.relation == "add or remove one record" and cost.delta == DELTA
    assert cost.explanation.startswith(
        f"Formal guarantee: epsilon = {upwards(cost.epsilon)} at delta"
    )
    assert cost.version.split(".")[0].isdigit()


def test_spent_of_small_noise_says_that_it_means_nothing():
    cost = spent([poisson(0.01, 0.3, 1000)], DELTA)
    assert not cost.is_meaningful and cost.epsilon > 20
    assert cost.explanation.startswith("No useful worst-case guarantee: epsilon = ")


@pytest.mark.parametrize("coordinates", [None, 1000])
def test_spent_without_noise(coordinates):
    stretch = dataclasses.replace(poisson(0.01, 0.0, 3), coordinates=coordinates)
    cost = spent([poisson(0.01, 1.0, 3), stretch], DELTA)
    assert (cost.epsilon, cost.rdp_epsilon, cost.accountant) == (math.inf, math.inf, "none")
    assert cost.ideal_epsilon == math.inf and cost.taken_off_delta == DELTA
    assert not cost.is_meaningful
    assert cost.explanation.startswith("No formal guarantee: some critic steps ran without noise")


def test_promise_3_shuffled_run_says_which_neighbours_it_means():
    assert spent(MIXED, DELTA).relation == "zero out one record"
    assert "zero out" in spent(MIXED, DELTA).explanation


def calibrate(target, rate, steps, delta=DELTA, sampler="poisson"):
    return calibrate_noise_multiplier(
        target,
        delta,
        sampler=sampler,
        sampling_rate=rate,
        batch_size=64,
        clip_norm=1.0,
        steps=steps,
    )


@pytest.mark.parametrize(
    ("target", "rate", "steps", "delta", "sampler"),
    [
        (10, 512 / 60_000, 3000, 1e-5, "poisson"),
        pytest.param(1, 0.05, 50_000, 1e-5, "poisson", marks=pytest.mark.slow),
        pytest.param(0.1, 0.001, 100, 1e-6, "poisson", marks=pytest.mark.slow),
        (0.002, 0.001, 10, 1e-5, "poisson"),
        pytest.param(500, 0.01, 20_000, 1e-5, "poisson", marks=pytest.mark.slow),
        (1e6, 0.05, 50_000, 1e-5, "poisson"),
        (10, 1.0, 3, 1e-9, "poisson"),
        (4, 0.01, 1000, 1e-12, "poisson"),
        (3, 0.01, 1000, 1e-5, "shuffle"),
    ],
)
def test_promise_6_calibrated_noise_keeps_the_budget_and_wastes_none(
    target, rate, steps, delta, sampler
):
    start = time.process_time()
    noise = calibrate(target, rate, steps, delta, sampler)
    assert time.process_time() - start < 10
    planned = Stretch(sampler, rate, noise, 1.0, 64, steps)
    assert epsilon([planned], delta) <= target
    less = dataclasses.replace(planned, noise_multiplier=noise / 1.0015)
    assert epsilon([less], delta) > target
    parts = [dataclasses.replace(planned, steps=1), dataclasses.replace(planned, steps=steps - 1)]
    assert sampler == "shuffle" or epsilon(parts, delta) <= target


@pytest.mark.parametrize("noise", [0.6, pytest.param(7.0, marks=pytest.mark.slow)])
def test_round_trip_from_noise_to_epsilon_and_back(noise):
    target = epsilon([poisson(0.01, noise, 1000)], DELTA)
    assert calibrate(target, 0.01, 1000) == pytest.approx(noise, rel=1e-3)


def test_calibration_matches_the_closed_form():
    noise = calibrate(1.0, 1.0, 1)
    exact = optimize.brentq(lambda sigma: gaussian_delta(sigma, 1.0) - DELTA, 0.5, 50)
    assert exact * (1 - 1e-6) <= noise <= exact * 1.001


def test_epsilon_beyond_reach_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"--epsilon=1e-09 with delta 1e-30 is out of reach.*raise --epsilon"
    ):
        calibrate(1e-9, 0.01, 50_000, delta=1e-30)


@pytest.mark.parametrize("target", [0, -1, float("nan"), float("inf"), True, "10"])
def test_calibration_refuses_what_is_no_epsilon(target):
    with pytest.raises(ValueError, match="epsilon must be a positive number"):
        calibrate(target, 0.01, 1000)


def test_calibration_refuses_zero_steps():
    with pytest.raises(ValueError, match="steps must be a positive whole number, got 0"):
        calibrate(1.0, 0.01, 0)


def test_hopeless_budget_needs_the_least_noise_only():
    assert calibrate(1e15, 0.01, 10) == accounting.MIN_NOISE_MULTIPLIER


@pytest.mark.parametrize(
    "template", [poisson(0.01, 0.8, 1), shuffle(0.03, 4.0, 1), poisson(0.02, 0.05, 1)]
)
def test_meter_agrees_with_the_renyi_accountant(template):
    meter = EpsilonMeter(MIXED, template, DELTA)
    for steps in (0, 1, 33, 34, 1000, 40_000):
        ran = [*MIXED, dataclasses.replace(template, steps=steps)]
        assert meter.at(steps) == pytest.approx(epsilon(ran, DELTA, "rdp"), rel=1e-9)
    assert meter.at(34) > epsilon([*MIXED, dataclasses.replace(template, steps=34)], DELTA)


def test_meter_is_cheap():
    meter = EpsilonMeter(MIXED, poisson(0.01, 0.8, 1), DELTA)
    start = time.process_time()
    for steps in range(200):
        meter.at(steps)
    assert (time.process_time() - start) / 200 < 1e-3


def test_meter_without_noise():
    assert EpsilonMeter([], poisson(0.01, 0.0, 1), DELTA).at(0) == math.inf
    assert EpsilonMeter([poisson(0.01, 0.0, 1)], poisson(0.01, 1.0, 1), DELTA).at(5) == math.inf
    assert EpsilonMeter([], poisson(0.01, 1.0, 1), DELTA).at(0) == 0


@pytest.mark.parametrize(("noise", "steps"), [(0.02, 50_000), (1.0, 1), (30.0, 700)])
def test_kl_of_full_steps_has_the_closed_form(noise, steps):
    exact = steps / (2 * noise**2)
    assert exact <= kl_bound([poisson(1.0, noise, steps)]) <= exact * (1 + 1e-5)
    assert kl_bound([shuffle(1.0, noise, steps)]) == kl_bound([poisson(1.0, noise, steps)])


def sampled_kl(rate, noise):
    """KL of one sampled step by quadrature, in the direction that is the larger; accurate when it is tiny."""
    x = np.linspace(-14 * noise, 1 + 14 * noise, 400_001)
    loss = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
    base = stats.norm.pdf(x, 0, noise)
    mixture = (1 - rate) * base + rate * stats.norm.pdf(x, 1, noise)
    series = base * (loss**2 / 2 + loss**3 / 3)
    values = np.where(np.abs(loss) < 1e-3, series, mixture * loss - mixture + base)
    return float(np.sum((values[1:] + values[:-1]) / 2) * (x[1] - x[0]))


@pytest.mark.parametrize("rate", [1e-6, 1e-4, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5, 1.0, 5.0, 50.0, 1000.0])
def test_kl_bound_holds_and_is_tight_where_it_is_not_tiny(rate, noise):
    exact, bound = sampled_kl(rate, noise), kl_bound([poisson(rate, noise, 1)])
    assert exact * (1 - 1e-9) <= bound <= exact * 1.015 + 2e-11


def test_kl_adds_up():
    parts = sum(kl_bound([stretch]) for stretch in MIXED)
    assert parts * (1 - 1e-4) <= kl_bound(MIXED) * (1 + 1e-4)
    assert kl_bound(MIXED) == pytest.approx(parts, rel=1e-3)
    assert kl_bound([]) == 0
    assert kl_bound([poisson(0.01, 0.0, 1)]) == math.inf
