# SPDX-License-Identifier: Apache-2.0
"""The lower bound on epsilon: against the theorem written out, a closed form, and simulated guesses."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from scipy import stats

from tfartgen import audit

TINY = 1e-200


def direct_chance(correct, guesses, candidates, epsilon, delta):
    """Theorem 5.2 of arXiv 2305.08846, sums of binomial coefficients."""
    right = 1 / (1 + math.exp(-epsilon))

    def tail(least):
        return sum(
            math.comb(guesses, i) * right**i * (1 - right) ** (guesses - i)
            for i in range(max(least, 0), guesses + 1)
        )

    slopes = [(tail(correct - i) - tail(correct)) / i for i in range(1, correct + 1)]
    return tail(correct) + 2 * candidates * delta * max([0.0, *slopes])


def direct_bound(correct, guesses, candidates, delta, confidence, step=1e-3):
    """The first epsilon of a grid that is possible."""
    epsilon = 0.0
    while direct_chance(correct, guesses, candidates, epsilon, delta) <= 1 - confidence:
        epsilon += step
    return epsilon


@functools.cache
def bound(correct, guesses, candidates, delta=1e-5, confidence=0.95):
    return audit.epsilon_lower_bound(correct, guesses, candidates, delta, confidence)


@pytest.mark.parametrize(
    "correct, guesses, candidates, delta, confidence",
    [
        (9, 10, 10, 1e-5, 0.95),
        (10, 10, 40, 1e-5, 0.95),
        (18, 20, 100, 1e-4, 0.95),
        (19, 20, 100, 1e-3, 0.9),
        (28, 30, 30, 1e-2, 0.99),
        (20, 20, 1000, 1e-4, 0.95),
        (0, 5, 10, 1e-5, 0.95),
        (12, 20, 20, 1e-5, 0.95),
    ],
)
def test_the_bound_is_the_theorem(correct, guesses, candidates, delta, confidence):
    expected = direct_bound(correct, guesses, candidates, delta, confidence)
    got = bound(correct, guesses, candidates, delta, confidence)
    assert expected - 1.1e-3 <= got <= expected + 1e-9


@pytest.mark.parametrize("guesses", [5, 10, 100, 2000])
def test_nothing_but_right_guesses_has_a_closed_form(guesses):
    right = 0.05 ** (1 / guesses)
    expected = math.log(right / (1 - right))
    assert bound(guesses, guesses, guesses, TINY) == pytest.approx(expected, abs=1e-6)
    assert bound(guesses, guesses, 3 * guesses, TINY) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("guesses", [2, 20, 1000])
def test_half_right_shows_nothing(guesses):
    assert bound(guesses // 2, guesses, guesses) == 0
    assert bound(0, guesses, guesses) == 0


def test_more_right_guesses_show_more_and_more_delta_or_candidates_less():
    by_correct = [bound(correct, 100, 200) for correct in range(101)]
    assert (np.diff(by_correct) >= 0).all() and by_correct[100] > by_correct[80] > by_correct[
        70
    ] > 0
    by_delta = [bound(95, 100, 200, delta) for delta in (1e-9, 1e-4, 1e-3, 1e-2)]
    assert (np.diff(by_delta) < 0).all()
    assert bound(95, 100, 200, 1e-3) > bound(95, 100, 2000, 1e-3)
    assert bound(95, 100, 200, 1e-5, 0.9) > bound(95, 100, 200, 1e-5, 0.99)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_the_bound_exceeds_the_truth_no_more_often_than_it_says(epsilon):
    """Randomised response: every candidate tells its coin with the chance that epsilon allows."""
    rng, repeats, candidates = np.random.default_rng(0), 2000, 300
    coins = rng.random([repeats, candidates]) < 0.5
    told = coins ^ (rng.random(coins.shape) > 1 / (1 + math.exp(-epsilon)))
    right = (told == coins)[:, :200].sum(axis=1)
    above = np.mean([bound(int(each), 200, candidates, TINY) > epsilon for each in right])
    assert above <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert above > 0.01  # as sharp as the steps of the binomial let it be
    possible = [bound(each, 200, candidates, TINY) > epsilon for each in range(201)]
    chance = stats.binom(200, 1 / (1 + math.exp(-epsilon))).pmf(np.arange(201))[possible].sum()
    assert chance <= 0.05


def test_where_coins_replace_records_a_bound_is_of_two_steps():
    for correct, guesses, candidates in ((20, 20, 60), (55, 60, 200), (11, 20, 40)):
        one = audit.epsilon_lower_bound(correct, guesses, candidates, TINY)
        both = audit.epsilon_lower_bound(correct, guesses, candidates, TINY, replaced=True)
        assert both == pytest.approx(one / 2, abs=1e-6)
    bound = audit.epsilon_lower_bound(20, 20, 60, 1e-3, replaced=True)
    at = [direct_chance(20, 20, 60, 2 * e, (1 + math.exp(e)) * 1e-3) for e in (bound, bound + 0.01)]
    assert at[0] <= 0.05 + 1e-6 < at[1]


def test_coins_among_records_that_were_split_before_are_fair_whatever_the_candidates_are():
    """Two of four records were trained on, by chance: each pair of candidates is as likely with each pair of coins."""
    rng, counts, repeats = np.random.default_rng(0), np.zeros([4, 4, 4], int), 24_000
    for _ in range(repeats):
        order = rng.permutation(4)
        coins, positions = audit.chosen_by_coins(2, 2, rng)
        one, other = (order[2 * (not coin) + place] for coin, place in zip(coins, positions))
        counts[one, other, 2 * coins[0] + coins[1]] += 1
    assert not counts[np.arange(4), np.arange(4)].any()  # no record twice
    seen = counts[~np.eye(4, dtype=bool)]
    assert seen.shape == (12, 4) and stats.chisquare(seen.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("trained_on, others", [(50, 20), (20, 50), (1, 1)])
def test_candidates_are_as_many_as_no_coin_can_exhaust(trained_on, others):
    drawn = [audit.chosen_by_coins(trained_on, others, np.random.default_rng(i)) for i in range(40)]
    heads = set()
    for coins, positions in drawn:
        assert len(coins) == len(positions) == min(trained_on, others)
        for kind, size in ((True, trained_on), (False, others)):
            own = positions[coins == kind]
            assert len(set(own)) == len(own) and ((own >= 0) & (own < size)).all()
        heads.add(int(coins.sum()))
    assert len(heads) > 1  # no fixed half


@pytest.mark.parametrize(
    "correct, guesses, candidates", [(6, 5, 10), (-1, 5, 10), (3, 11, 10), (math.nan, 5, 10)]
)
def test_numbers_that_do_not_nest_are_refused(correct, guesses, candidates):
    with pytest.raises(
        ValueError, match=f"must not fall, got {correct}, {guesses} and {candidates}"
    ):
        audit.epsilon_lower_bound(correct, guesses, candidates, 1e-5)


@pytest.mark.parametrize("name", ["delta", "confidence"])
@pytest.mark.parametrize("wrong", [0, 1, -0.1, math.nan])
def test_probabilities_out_of_range_are_refused(name, wrong):
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1"):
        audit.epsilon_lower_bound(3, 5, 10, **{"delta": 1e-5, name: wrong})


@pytest.mark.parametrize("guesses", [0, 2.5])
def test_no_guesses_are_refused(guesses):
    with pytest.raises(ValueError, match="guesses must be a positive whole number"):
        audit.epsilon_lower_bound(0, guesses, 10, 1e-5)
