# SPDX-License-Identifier: Apache-2.0
"""Bounds on a new loss: by hand, inverted, on every small population, and by simulation."""

from __future__ import annotations

import collections
import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from tfartgen import chebyshev

BOUNDS = [chebyshev.saw_yang_mo, chebyshev.one_sided]

#: Every population of 4 to 6 losses of these values: ties, both tails, one far out.
POPULATIONS = [
    population
    for size in (4, 5, 6)
    for population in itertools.combinations_with_replacement((-3.0, 0.0, 0.1, 1.0, 50.0), size)
]


def plug_in(formula, losses, gamma):
    return formula(np.mean(losses), np.std(losses, ddof=1), gamma)


PLUG_INS = [functools.partial(plug_in, f) for f in (chebyshev.chebyshev, chebyshev.cantelli)]


def shrunk(bound, by, losses, gamma):
    """With fewer standard deviations than the bound takes."""
    return np.mean(losses) + by * (bound(losses, gamma) - np.mean(losses))


def exceeding(bound, population, gamma, both_tails=False):
    """How many losses of a population are above the bound of the others.

    This is all of its orders: that of the others changes nothing, and equal losses are alike.
    """
    count = 0
    for loss, times in collections.Counter(population).items():
        others = np.delete(population, list(population).index(loss))
        limit, middle = bound(others, gamma), np.mean(others)
        below = both_tails and middle - loss > limit - middle + 1e-9
        count += times * bool(loss > limit or below)
    return count


def two_level(size, ones):
    return np.repeat([0.0, 1.0], [size - ones, ones])


def gammas_around(size):
    """At, just below and between all multiples of 1 / size that are supported."""
    whole = [r / size for r in range(1, size)]
    below = [np.nextafter(gamma, 0) for gamma in whole[1:]]
    return whole + below + [(r + 0.4) / size for r in range(1, size)]


def claimed(count, k):
    """The right side of the inequality in exact arithmetic, as a count out of N + 1."""
    tail = Fraction(count + 1, count) * (Fraction(count - 1) / Fraction(k) ** 2 + 1)
    return math.floor(tail)


def test_plug_in_forms_by_hand():
    assert chebyshev.chebyshev(1, 2, 0.25) == pytest.approx(1 + 2 * 2, rel=1e-15)
    assert chebyshev.cantelli(1, 2, 0.2) == pytest.approx(1 + 2 * 2, rel=1e-15)
    assert chebyshev.chebyshev(-1.5, 0, 0.01) == chebyshev.cantelli(-1.5, 0, 0.01) == -1.5


@pytest.mark.parametrize(
    "gamma, two_tails, upper_tail",
    [
        (0.25, 3 + 4 * math.sqrt(3), 3 + 2 * math.sqrt(3)),
        (0.49, 3 + 4 * math.sqrt(3), 3 + 2 * math.sqrt(3)),
        (0.5, 3 + math.sqrt(1.6 * 12), 3 + math.sqrt(3)),
        (0.75, 3 + math.sqrt(12), 3),
    ],
)
def test_three_losses_by_hand(gamma, two_tails, upper_tail):
    # m = 3, s = 3, Q^2 = 12; k^2 = 8 / (3 r - 1); one-sided 9 * 2 * (3 - r) / (3 r).
    losses = np.array([6, 0, 3])
    assert chebyshev.saw_yang_mo(losses, gamma) == pytest.approx(two_tails, rel=1e-14)
    assert chebyshev.one_sided(losses, gamma) == pytest.approx(upper_tail, rel=1e-14)


@pytest.mark.parametrize("count", [2, 3, 10, 48, 97])
def test_saw_yang_mo_takes_the_smallest_k_of_its_inequality(count):
    losses = np.arange(count, dtype=np.float64)
    q = np.std(losses, ddof=1) * math.sqrt((count + 1) / count)
    for gamma in gammas_around(count + 1):
        k = (chebyshev.saw_yang_mo(losses, gamma) - np.mean(losses)) / q
        assert k >= 1 - 1e-12
        assert claimed(count, k * (1 + 1e-9)) / (count + 1) <= gamma
        assert claimed(count, k * (1 - 1e-9)) / (count + 1) > gamma


@pytest.mark.parametrize("count", [2, 5, 100])
def test_the_inequality_falls_with_k_from_one_to_the_smallest_gamma(count):
    counts = [claimed(count, k) for k in np.geomspace(1, 1e3, 2000)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (count + 1, 1)
    assert chebyshev.smallest_gamma(count) == 1 / (count + 1)


@pytest.mark.parametrize("bound", BOUNDS)
def test_no_small_population_exceeds_its_bounds_more_often_than_gamma(bound):
    for population in POPULATIONS:
        size = len(population)
        for gamma in gammas_around(size):
            assert exceeding(bound, population, gamma) / size <= gamma, (population, gamma)


def test_no_small_population_leaves_the_two_tails_of_saw_yang_mo_more_often_than_gamma():
    for population in POPULATIONS:
        size = len(population)
        for gamma in gammas_around(size):
            outside = exceeding(chebyshev.saw_yang_mo, population, gamma, both_tails=True)
            assert outside / size <= gamma, (population, gamma)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("size", [3, 11, 101])
def test_no_two_level_population_exceeds_its_bounds_more_often_than_gamma(bound, size):
    for ones in range(size + 1):
        for gamma in gammas_around(size)[:: max(1, size // 10)]:
            population = two_level(size, ones)
            assert exceeding(bound, population, gamma) / size <= gamma, (ones, gamma)


@pytest.mark.parametrize("size, ones", [(4, 2), (6, 2), (6, 5), (11, 2), (101, 30)])
def test_no_fewer_deviations_than_those_of_one_sided_are_enough(size, ones):
    gamma = (ones - 0.1) / size
    smaller = functools.partial(shrunk, chebyshev.one_sided, 0.999)
    assert exceeding(chebyshev.one_sided, two_level(size, ones), gamma) == 0
    assert exceeding(smaller, two_level(size, ones), gamma) / size == ones / size > gamma


@pytest.mark.parametrize("size", [4, 5, 12])
def test_saw_yang_mo_with_s_for_q_would_be_wrong(size):
    population = [-1.0, *np.zeros(size - 2), 1.0]
    uncorrected = math.sqrt((size - 1) / size)
    smaller = functools.partial(shrunk, chebyshev.saw_yang_mo, uncorrected)
    assert exceeding(smaller, population, 1.9 / size, both_tails=True) / size > 1.9 / size


@pytest.mark.parametrize("formula", PLUG_INS)
def test_plug_in_forms_fail_between_whole_numbers_and_not_at_them(formula):
    size, gamma = 11, 0.13
    assert exceeding(formula, two_level(size, 2), gamma) / size > gamma
    assert exceeding(formula, two_level(1001, 1), 5e-4) / 1001 > 5e-4
    for population in POPULATIONS:
        for r in range(1, len(population)):
            # A little more, since a plug-in form at a loss may be rounded to below it.
            limit = functools.partial(shrunk, formula, 1 + 1e-12)
            assert exceeding(limit, population, r / len(population)) <= r


def test_the_bounds_are_in_order():
    for population in POPULATIONS:
        losses, m, s = np.array(population), np.mean(population), np.std(population, ddof=1)
        for r in range(1, len(losses) + 1):
            gamma = r / (len(losses) + 1)
            upper, both = (bound(losses, gamma) for bound in (chebyshev.one_sided, BOUNDS[0]))
            rounding = 1e-12 * (1 + s)
            assert np.sort(losses)[-r] <= upper <= chebyshev.cantelli(m, s, gamma) + rounding
            assert chebyshev.cantelli(m, s, gamma) <= chebyshev.chebyshev(m, s, gamma)
            assert chebyshev.chebyshev(m, s, gamma) <= both + rounding


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_falls_with_gamma_and_moves_with_the_losses(bound):
    losses = np.random.RandomState(0).exponential(size=50)
    gammas = np.linspace(chebyshev.smallest_gamma(50), 0.99, 300)
    bounds = [bound(losses, gamma) for gamma in gammas]
    assert bounds == sorted(bounds, reverse=True) and bounds[0] > bounds[-1]
    for scale, shift in [(3.0, -7.0), (1e-200, 0.0), (1e290, 0.0)]:
        moved = bound(scale * losses + shift, 0.05)
        assert moved == pytest.approx(scale * bound(losses, 0.05) + shift, rel=1e-12)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_order_of_the_records_changes_nothing(bound):
    draws = np.random.RandomState(1)
    losses = draws.standard_t(2.5, size=200)
    assert {bound(draws.permutation(losses), 0.03) for _ in range(20)} == {bound(losses, 0.03)}


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e16, 1e-300])
def test_equal_losses_give_that_loss(bound, value):
    for count in (2, 3, 49):
        assert bound(np.full(count, value), 0.4) == value


@pytest.mark.parametrize("bound, formula", list(zip(BOUNDS, PLUG_INS)))
def test_many_losses_give_the_plug_in_forms(bound, formula):
    losses = np.random.RandomState(2).exponential(size=200_000)
    for gamma in (0.01, 0.2):
        assert bound(losses, gamma) == pytest.approx(formula(losses, gamma), rel=1e-4)


def test_the_smallest_gamma_is_supported_for_every_number_of_losses():
    for count in range(2, 1500):
        losses = two_level(count, 1)
        gamma = chebyshev.smallest_gamma(count)
        assert chebyshev.one_sided(losses, gamma) >= 1
        with pytest.raises(ValueError, match="^gamma must be at least"):
            chebyshev.one_sided(losses, np.nextafter(gamma, 0))


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    "distribution",
    [
        stats.norm(),
        stats.expon(),
        stats.pareto(2.1),
        stats.t(2.5),
        stats.bernoulli(0.01),
        stats.bernoulli(0.05),
    ],
    ids=["normal", "exponential", "pareto", "student", "rare", "less rare"],
)
def test_coverage_at_a_hundred_losses(bound, distribution):
    samples = distribution.rvs(size=(1000, 100), random_state=np.random.RandomState(3))
    for gamma in (0.01, 0.05, 0.2):
        tails = distribution.sf([bound(losses, gamma) for losses in samples])
        assert 0 < np.mean(tails) <= gamma


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_guarantee_is_over_samples_and_not_for_the_one_at_hand(bound):
    rare, gamma = stats.bernoulli(0.011), 0.01
    samples = rare.rvs(size=(2000, 100), random_state=np.random.RandomState(4))
    tails = rare.sf([bound(losses, gamma) for losses in samples])
    assert np.mean(tails > gamma) == pytest.approx(0.989**100, abs=0.04)
    assert np.mean(tails) <= gamma


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_gamma_that_the_losses_do_not_support_is_refused(bound):
    with pytest.raises(
        ValueError,
        match="^gamma must be at least 0.25 with 3 losses, got 0.2; "
        "give more records or a larger gamma$",
    ):
        bound(np.array([0.0, 3.0, 6.0]), 0.2)


@pytest.mark.parametrize("bound", BOUNDS + PLUG_INS)
@pytest.mark.parametrize("gamma", [0, 1, -0.1, 1.5, math.nan, "0.1", True, None])
def test_wrong_gammas(bound, gamma):
    with pytest.raises(ValueError, match="^gamma must be between 0 and 1"):
        bound(np.arange(5.0), gamma)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    "losses, message",
    [
        ([1.0, math.nan, 2.0], "losses must be finite .* got nan"),
        ([1.0, -math.inf], "losses must be finite .* got -inf"),
        ([1.0, 1e301], r"losses must be finite and at most 1e\+300 in size, got 1e\+301"),
        ([1.0], "losses must be those of at least 2 records, got 1"),
        (np.empty(0), "losses must be those of at least 2 records, got 0"),
        ([[1.0, 2.0]], r"losses must be numbers \[records\], got float64 \(1, 2\)"),
        ([True, False], r"losses must be numbers \[records\], got bool"),
        (["1", "2"], r"losses must be numbers \[records\], got <U1"),
    ],
)
def test_wrong_losses(bound, losses, message):
    with pytest.raises(ValueError, match=message):
        bound(losses, 0.5)


@pytest.mark.parametrize("formula", [chebyshev.chebyshev, chebyshev.cantelli])
def test_wrong_moments(formula):
    for mean in (math.nan, math.inf, "0", None):
        with pytest.raises(ValueError, match="^mean must be a finite number, got"):
            formula(mean, 1.0, 0.1)
    for std in (-1e-9, math.nan, math.inf):
        with pytest.raises(ValueError, match="^std must be a non-negative number, got"):
            formula(0.0, std, 0.1)


def test_wrong_counts():
    for count in (0, -1, 2.5, True, math.nan):
        with pytest.raises(ValueError, match="^count must be a positive whole number, got"):
            chebyshev.smallest_gamma(count)


@pytest.mark.parametrize("count", [1, 2, 20, 1438])
def test_the_limit_of_saturated_records_by_hand(count):
    assert chebyshev.saturated_limit(count, 0) == pytest.approx(1 - 0.01 ** (1 / count), rel=1e-9)
    assert chebyshev.saturated_limit(count, count) == 1
    limits = [chebyshev.saturated_limit(count, seen) for seen in range(count + 1)]
    assert limits == sorted(limits)
    for seen, limit in enumerate(limits[:-1]):
        assert limit > seen / count
        assert stats.binom.cdf(seen, count, limit) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("count", [5, 100])
def test_the_limit_of_saturated_records_is_below_the_share_in_one_percent_at_most(count):
    limits = np.array([chebyshev.saturated_limit(count, seen) for seen in range(count + 1)])
    chances = []
    for share in np.concatenate([np.linspace(0, 1, 301), np.nextafter(limits, 2)[:-1]]):
        drawn = stats.binom.pmf(np.arange(count + 1), count, share)
        chances.append(drawn[limits < share].sum())
    assert 0.0099 < max(chances) <= 0.01 * (1 + 1e-9)


def test_saturated_records_leave_less_of_gamma_by_hand():
    assert chebyshev.gamma_left(0.05, 200, 0) == pytest.approx(0.05 - 0.0227626, abs=1e-6)
    assert chebyshev.gamma_left(0.05, 50, 0) == 0
    assert chebyshev.gamma_left(0.05, 100, 100) == 0


def test_what_is_left_of_gamma_is_never_more_than_saturated_losses_of_infinity_leave():
    for count in (2, 3, 20, 200, 1001):
        for gamma in (0.01, 0.05, 0.2, 0.5, 0.9, 0.999):
            for saturated in range(count):
                others = count - saturated
                left = chebyshev.gamma_left(gamma, count, saturated)
                if left >= chebyshev.smallest_gamma(others):
                    r, e = chebyshev._exceeding(count, gamma), chebyshev._exceeding(others, left)
                    assert 1 <= e <= r - saturated and others >= 2


@pytest.mark.parametrize("bound", BOUNDS)
def test_no_population_has_more_records_above_mu_than_gamma_if_saturated_ones_always_are(bound):
    size, given = 31, 0
    for saturated, gamma in itertools.product(range(10), (0.25, 0.4, 0.6, 0.9)):
        for ones in range(size - saturated + 1):
            above = 0
            # Each kind of record in turn is the new one: saturated, at 1, at 0.
            kinds = (saturated, ones, size - saturated - ones)
            for kind, times in enumerate(kinds):
                others = np.array(kinds) - np.eye(3, dtype=int)[kind]
                left = times and chebyshev.gamma_left(gamma, size - 1, int(others[0]))
                if left and left >= chebyshev.smallest_gamma(size - 1 - others[0]):
                    limit = bound(np.repeat([1.0, 0.0], others[1:]), left)
                    above += times * ((math.inf, 1.0, 0.0)[kind] > limit)
                    given += 1
            assert above / size <= gamma
    assert given > 500


@pytest.mark.parametrize("gamma", [0, 1, math.nan, None])
def test_wrong_gammas_of_which_something_is_left(gamma):
    with pytest.raises(ValueError, match="^gamma must be between 0 and 1"):
        chebyshev.gamma_left(gamma, 10, 1)


@pytest.mark.parametrize(
    "count, saturated, message",
    [
        (0, 0, "^count must be a positive whole number, got 0"),
        (5, 6, "^saturated must be at most 5, the records, got 6"),
        (5, -1, "^saturated must be a positive whole number, got -1"),
        (5, 1.5, "^saturated must be a positive whole number, got 1.5"),
    ],
)
def test_wrong_numbers_of_saturated_records(count, saturated, message):
    with pytest.raises(ValueError, match=message):
        chebyshev.saturated_limit(count, saturated)
