# SPDX-License-Identifier: Apache-2.0
"""Scores of membership inference and what is said of them, against counts by hand, simulations and slow references."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics

from tfartgen import classification, membership

# Descending: member 9, non-member 8, member and non-member 7, member 5, non-member 1.
MEMBERS, NON_MEMBERS = np.array([7.0, 9.0, 5.0]), np.array([1.0, 8.0, 7.0])


def normal(rng, count, mean=0.0):
    return rng.normal(mean, 1, count)


def best_in_sample(members, non_members):
    """The largest balanced accuracy of any threshold, on the records it is chosen on."""
    return max(
        (np.mean(members > t) + np.mean(non_members <= t)) / 2
        for t in np.concatenate([members, non_members])
    )


def records(seed, models=16, count=400, difference=2.5):
    """Outputs for records of very different difficulty: target `[n]`, its members, shadows, and theirs."""
    rng = np.random.default_rng(seed)
    trained_on = np.zeros([models, count], bool)
    for column in trained_on.T:
        column[rng.permutation(models)[: models // 2]] = True
    seen, difficulty = rng.random(count) < 0.5, rng.normal(0, 3, count)
    target = normal(rng, count) + difficulty + difference * seen
    return (
        target,
        seen,
        normal(rng, (models, count)) + difficulty + difference * trained_on,
        trained_on,
    )


def auc(scores, seen):
    return membership.success(scores[seen], scores[~seen], ())["auc"]["value"]


def test_six_scores_are_counted_as_by_hand():
    found = membership.success(MEMBERS, NON_MEMBERS, (0.4, 0.7))
    # Of nine pairs 9 wins three, 7 wins one and ties one, 5 wins one.
    assert found["auc"]["value"] == pytest.approx(5.5 / 9)
    # A tie of a member and a non-member is a slope; (1/3, 1/3) to (2/3, 2/3) to (2/3, 1) to (1, 1).
    np.testing.assert_allclose(found["roc"]["false_positive_rate"], [0, 0, 1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(found["roc"]["true_positive_rate"], [0, 1 / 3, 1 / 3, 2 / 3, 1, 1])
    one, two = found["true_positive_rates"]
    # One false positive of three: above 7, where 9 is. Two: above 1, where all three are.
    assert (one["successes"], one["trials"], one["threshold_false_positives"]) == (1, 3, 1)
    assert (two["successes"], two["trials"], two["threshold_false_positives"]) == (3, 3, 2)
    assert (one["false_positive_rate"], two["false_positive_rate"]) == (0.4, 0.7)
    assert (one["low"], one["high"]) == classification.wilson_interval(1, 3)
    assert (found["num_members"], found["num_non_members"]) == (3, 3)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("seed", [0, 5])
def test_halves_test_each_others_thresholds(seed):
    # One half has 3, 1 and 2, 0: above 0.5 and above 2.5 are as good, and the lower is taken.
    sides = np.array([3.0, 9.0, 1.0, 0.1]), np.array([2.0, 9.0, 0.0, 1.0])
    # The other has 9, 0.1 and 9, 1: only taking all, or none, is as good as chance, and all is the lowest.
    rng = np.random.default_rng(seed)
    members, non_members = (each[np.argsort(rng.permutation(4))] for each in sides)
    found = membership.success(members, non_members, (), seed=seed)["accuracy"]
    # By 0.5: member 9 found, 0.1 missed, non-members 9 and 1 not rejected. By taking all: 3 and 1 found.
    assert found["rate"] == pytest.approx((3 / 4 + 0 / 4) / 2)
    low, high = classification.wilson_interval(3, 4), classification.wilson_interval(0, 4)
    below, above = math.hypot(0.75 - low[0], 0) / 2, math.hypot(low[1] - 0.75, high[1]) / 2
    assert (found["low"], found["high"]) == pytest.approx((0.375 - below, 0.375 + above))


@pytest.mark.parametrize("seed", range(4))
def test_auc_and_roc_are_those_of_scikit_learn_with_ties(seed):
    rng = np.random.default_rng(seed)
    members, non_members = rng.integers(3, 12, 60).astype(float), rng.integers(0, 10, 43) * 1.0
    found = membership.success(members, non_members, ())
    labels, scores = np.repeat([1, 0], [60, 43]), np.concatenate([members, non_members])
    assert found["auc"]["value"] == pytest.approx(metrics.roc_auc_score(labels, scores))
    false, true, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    curve = found["roc"]["false_positive_rate"], found["roc"]["true_positive_rate"]
    assert set(zip(*np.round(curve, 9))) <= set(zip(*np.round([false, true], 9)))
    assert metrics.auc(*curve) == pytest.approx(found["auc"]["value"])


def test_a_long_curve_is_thinned_where_rates_are_high():
    rng = np.random.default_rng(0)
    found = membership.success(normal(rng, 20_000, 0.5), normal(rng, 20_000), ())
    false, true = (
        np.array(found["roc"][key]) for key in ("false_positive_rate", "true_positive_rate")
    )
    assert 500 < len(false) == len(true) <= 1000
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    # The first vertices are all there, each right of the one before or above it; of later ones few are.
    assert (np.diff(false[:30]) * np.diff(true[:30]) == 0).all() and false[30] < 1e-3
    assert (np.diff(false[-300:]) * np.diff(true[-300:]) > 0).mean() > 0.9 and false[-300] < 0.5
    assert metrics.auc(false, true) == pytest.approx(found["auc"]["value"], abs=1e-3)


@pytest.mark.parametrize("value", [0.5, 0.8])
def test_the_interval_of_the_auc_covers(value):
    rng, mean = np.random.default_rng(1), math.sqrt(2) * scipy.stats.norm.ppf(value)
    trials, covered = 400, 0
    for _ in range(trials):
        found = membership.success(normal(rng, 50, mean), normal(rng, 50), ())["auc"]
        covered += found["low"] <= value <= found["high"]
    assert 0.92 <= covered / trials <= 0.985


@pytest.mark.parametrize("m, n", [(2, 2), (50, 50), (7, 3000)])
def test_bounds_of_the_auc_are_where_its_score_test_turns(m, n):
    rng = np.random.default_rng(m)
    found = membership.success(normal(rng, m, 0.3), normal(rng, n), (), level=0.9)["auc"]
    size, z = (m + n) / 2 - 1, scipy.stats.norm.isf(0.05)
    for theta in (found["low"], found["high"]):
        spread = 1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        error = math.sqrt(theta * (1 - theta) * spread / (m * n))
        assert abs(theta - found["value"]) == pytest.approx(z * error, rel=1e-6)
    assert 0 < found["low"] < found["value"] <= found["high"] <= 1


def test_an_auc_of_none_or_all_has_an_interval_on_one_side():
    above, below = np.arange(20.0) + 100, np.arange(20.0)
    one = membership.success(above, below, ())["auc"]
    nought = membership.success(below, above, ())["auc"]
    assert (one["value"], one["high"]) == (1, 1) and 0.85 < one["low"] < 0.95
    assert (nought["value"], nought["low"]) == (0, 0)
    assert nought["high"] == pytest.approx(1 - one["low"])


def test_accuracy_on_noise_is_chance_where_the_best_threshold_in_sample_is_above_it():
    rng = np.random.default_rng(2)
    rates, naive, covered = [], [], 0
    for _ in range(300):
        members, non_members = normal(rng, 30), normal(rng, 30)
        found = membership.success(members, non_members, ())["accuracy"]
        rates.append(found["rate"])
        naive.append(best_in_sample(members, non_members))
        covered += found["low"] <= 0.5 <= found["high"]
    assert abs(np.mean(rates) - 0.5) < 4 * np.std(rates) / math.sqrt(300) < 0.02
    assert min(naive) >= 0.5 and np.mean(naive) > 0.58
    assert covered / 300 >= 0.92


def test_promise_14_halves_are_random_whatever_the_order_of_the_records():
    """In order of time, say, every other one from one of two sources: of both a threshold at 1.5 finds half, or 9.5."""
    members, non_members = np.tile([10.0, 2.0], 200), np.tile([9.0, 1.0], 200)
    found = [
        membership.success(*sides, (), seed=seed)["accuracy"]["rate"]
        for seed in range(5)
        for sides in ((members, non_members), (np.sort(members), np.sort(non_members)))
    ]
    assert np.abs(np.array(found) - 0.75).max() < 0.06  # by fixed halves 0.5
    assert len(set(found)) > 1
    again = [membership.success(members, non_members, (), seed=3)["accuracy"] for _ in "ab"]
    assert again[0] == again[1]


def test_accuracy_nears_the_best_there_is():
    rng = np.random.default_rng(3)
    found = membership.success(normal(rng, 4000, 2), normal(rng, 1000), ())["accuracy"]
    best = scipy.stats.norm.cdf(1)
    assert found["low"] < best < found["high"] and found["high"] - found["low"] < 0.04


def test_members_and_non_members_weigh_the_same_in_accuracy():
    found = membership.success(np.ones(1000), np.ones(10), ())["accuracy"]
    assert found["rate"] == 0.5 and found["low"] < 0.5 < found["high"]


def test_ties_at_the_threshold_count_against_the_attacker():
    non_members = np.concatenate([np.full(3, 5.0), np.zeros(97)])
    members = np.array([5.0, 5.0, 5.0, 6.0, 1.0])
    found = membership.success(members, non_members, (0.01, 0.02, 0.03))["true_positive_rates"]
    # At 5 there are three non-members: whoever may accuse fewer must stay above.
    assert [each["successes"] for each in found] == [1, 1, 5]
    assert [each["threshold_false_positives"] for each in found] == [0, 0, 3]


def test_a_score_that_is_the_same_for_all_finds_nobody():
    found = membership.success(np.ones(100), np.ones(100), (0.01, 0.5, 0.999))
    assert [each["successes"] for each in found["true_positive_rates"]] == [0, 0, 0]
    assert found["auc"]["value"] == 0.5
    assert found["roc"] == {"false_positive_rate": [0, 1], "true_positive_rate": [0, 1]}


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_within_the_rate_finds_more_members(seed):
    rng = np.random.default_rng(seed)
    members, non_members = normal(rng, 150, 1).round(1), normal(rng, 100).round(1)
    rates = (0.01, 0.07, 0.29, 0.58)
    for rate, found in zip(
        rates, membership.success(members, non_members, rates)["true_positive_rates"]
    ):
        allowed = [
            t for t in [*non_members, *members] if (non_members > t).sum() <= round(rate * 100)
        ]
        assert found["successes"] == max((members > t).sum() for t in allowed)


def test_a_perfect_memoriser_is_found_out():
    rng = np.random.default_rng(4)
    found = membership.success(normal(rng, 200, 20), normal(rng, 200), (0.01,))
    assert found["auc"]["value"] == found["accuracy"]["rate"] == 1
    assert found["true_positive_rates"][0]["rate"] == 1
    assert found["roc"] == {"false_positive_rate": [0, 0, 1], "true_positive_rate": [0, 1, 1]}


def test_rates_that_can_be_measured():
    found = [membership.measurable_rates(n) for n in (1, 99, 100, 999, 1000)]
    assert found == [(), (), (0.01,), (0.01,), (0.01, 0.001)]
    assert membership.measurable_rates(180, [0.05, 0.01]) == (0.05, 0.01)
    # 1 / 0.003 is 333 and a third; 1 / 0.07 is 14.3.
    assert membership.measurable_rates(334, [0.003]) == (0.003,)
    with pytest.raises(ValueError, match="=0.07 needs at least 15 non-members, and there are 14"):
        membership.measurable_rates(14, [0.5, 0.07])


@pytest.mark.parametrize("count", [3, 49, 93, 103, 1000, 12345])
def test_one_over_a_whole_number_needs_just_that_many(count):
    assert membership.measurable_rates(count, [1 / count]) == (1 / count,)
    with pytest.raises(ValueError, match=f"needs at least {count} non-members"):
        membership.measurable_rates(count - 1, [1 / count])


def test_a_rate_that_cannot_be_measured_is_refused_with_the_remedy():
    message = (
        "^--false_positive_rates=0.001 needs at least 1000 non-members, and there are 180; give more with"
        " --non_members, or ask for a larger rate$"
    )
    with pytest.raises(ValueError, match=message):
        membership.measurable_rates(180, [0.01, 0.001])
    with pytest.raises(ValueError, match=message):
        membership.success(np.zeros(10), np.zeros(180), [0.001])


@pytest.mark.parametrize("rate", [0, 1, -0.1, math.nan, True])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match="--false_positive_rates must be between 0 and 1"):
        membership.measurable_rates(100, [rate])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="non-members must be finite, got 1 of 3"):
        membership.success(MEMBERS, np.array([1, value, 2]), ())


@pytest.mark.parametrize("scores", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]]])
def test_too_few_scores_are_refused(scores):
    with pytest.raises(ValueError, match="scores of members must be a list of two or more"):
        membership.success(np.array(scores), NON_MEMBERS, ())


def test_members_among_the_non_members_are_counted_and_refused():
    images = np.random.default_rng(5).integers(0, 256, (9, 4, 3, 1)).astype(np.uint8)
    membership.refuse_overlap(images[:5], images[5:], "--non_members")
    with pytest.raises(
        ValueError, match="^--non_members=x.npz: 2 of the 6 non-members are members too; leave them"
    ):
        membership.refuse_overlap(images[:5], images[3:], "--non_members=x.npz")
    almost = images.copy()
    almost[:, 0, 0, 0] ^= 1
    membership.refuse_overlap(images, almost, "--non_members")


def test_overlap_of_arrays_that_are_laid_out_differently_is_seen():
    images = np.random.default_rng(5).integers(0, 256, (6, 4, 3, 2)).astype(np.uint8)
    with pytest.raises(ValueError, match="6 of the 6"):
        membership.refuse_overlap(images, np.asfortranarray(images), "--non_members")


@pytest.mark.parametrize(
    "others", [np.zeros([2, 3, 4, 1], np.uint8), np.zeros([2, 4, 3, 1]), np.zeros(2, np.uint8)]
)
def test_non_members_of_another_kind_are_refused(others):
    with pytest.raises(ValueError, match="give uint8 images of one shape"):
        membership.refuse_overlap(np.zeros([2, 4, 3, 1], np.uint8), others, "--non_members")


def test_copies_in_the_release_have_the_highest_scores():
    release = np.array([[0.0, 0.0], [10.0, 0.0]])
    candidates = np.array([[10.0, 0.0], [3.0, 4.0], [10.0, 1.0]])
    assert membership.nearest_scores(candidates, release).tolist() == [0, -5, -1]
    references = np.array([[3.0, 5.0], [10.0, 3.0]])
    found = membership.nearest_scores(candidates, release, references)
    # 3 to the reference and 0 to the release; 1 and 5; 2 and 1.
    assert found.tolist() == [3, -4, 1]


def test_calibration_helps_where_records_differ_in_how_isolated_they_are():
    rng = np.random.default_rng(6)
    points = rng.normal(0, 1, (900, 4)) * rng.lognormal(0, 1, (900, 1))
    members, non_members, references = np.split(points, 3)
    release = members + rng.normal(0, 0.1, members.shape) * np.linalg.norm(members, axis=1)[:, None]
    candidates, seen = points[:600], np.arange(600) < 300
    plain = auc(membership.nearest_scores(candidates, release), seen)
    calibrated = auc(membership.nearest_scores(candidates, release, references), seen)
    assert calibrated > plain + 0.05 and calibrated > 0.8
    assert abs(auc(membership.nearest_scores(candidates, references), seen) - 0.5) < 0.07


def test_losses_and_confidences_are_logs_of_probabilities():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    labels, logits = np.array([0, 1]), np.log(probabilities) + [[3], [-40]]
    before = logits.copy()
    np.testing.assert_allclose(membership.loss_scores(logits, labels), np.log([0.7, 0.25]))
    found = membership.confidence_logits(logits, labels)
    np.testing.assert_allclose(found, np.log([0.7 / 0.3, 0.25 / 0.75]))
    np.testing.assert_array_equal(logits, before)


def test_confidences_near_certainty_are_not_rounded_to_infinity():
    logits = np.array([[60.0, 0.0, 0.0], [0.0, 1000.0, 0.0]], np.float32)
    found = membership.confidence_logits(logits, np.array([0, 0]))
    np.testing.assert_allclose(found, [60 - math.log(2), -1000])
    assert found.dtype == membership.loss_scores(logits, np.array([0, 1])).dtype == np.float64


@pytest.mark.parametrize("function", [membership.loss_scores, membership.confidence_logits])
def test_logits_and_labels_that_are_none_are_refused(function):
    with pytest.raises(ValueError, match="outputs are not finite: its training diverged"):
        function(np.array([[1.0, math.nan]]), np.array([0]))
    for labels in ([2, 0], [0, -1], [0], [0.0, 1.0], [[0], [1]]):
        with pytest.raises(ValueError, match="labels must be a class for each row"):
            function(np.zeros([2, 2]), np.array(labels))


def test_the_likelihood_ratio_is_not_misled_by_difficulty_as_the_loss_is():
    target, seen, shadow, trained_on = records(0)
    loss = membership.loss_scores(np.stack([target, 0 * target], 1), np.zeros(len(seen), int))
    online = membership.likelihood_ratio_scores(target, shadow, trained_on)
    offline = membership.likelihood_ratio_scores(target, shadow, trained_on, online=False)
    assert auc(loss, seen) < 0.8
    assert auc(online, seen) >= 0.93 and auc(offline, seen) >= 0.9


def test_likelihood_ratios_are_those_of_a_slow_loop():
    target, _, shadow, trained_on = records(1, models=7, count=12)
    sides = {}
    for side in (True, False):
        groups = [shadow[trained_on[:, i] == side, i] for i in range(12)]
        squares = sum(((group - group.mean()) ** 2).sum() for group in groups)
        deviation = math.sqrt(squares / sum(len(group) - 1 for group in groups))
        sides[side] = [(group.mean(), deviation) for group in groups]
    density = scipy.stats.norm.logpdf
    expected = [
        density(t, *a) - density(t, *b) for t, a, b in zip(target, sides[True], sides[False])
    ]
    found = membership.likelihood_ratio_scores(target, shadow, trained_on)
    np.testing.assert_allclose(found, expected)
    found = membership.likelihood_ratio_scores(target, shadow, trained_on, online=False)
    np.testing.assert_allclose(found, [(t - m) / s for t, (m, s) in zip(target, sides[False])])


@pytest.mark.parametrize("online", [True, False])
def test_a_target_that_saw_nothing_gives_nothing_away(online):
    target, seen, shadow, trained_on = records(2, count=1500)
    never, blank = target - 2.5 * seen, np.random.default_rng(3).random(1500) < 0.5
    found = membership.likelihood_ratio_scores(never, shadow, trained_on, online)
    interval = membership.success(found[blank], found[~blank], ())["auc"]
    assert interval["low"] < 0.5 < interval["high"] and interval["high"] - interval["low"] < 0.07
    informed = membership.likelihood_ratio_scores(target, shadow, trained_on, online)
    assert auc(informed, seen) > 0.9


def test_records_with_too_few_shadow_models_are_named():
    target, _, shadow, trained_on = records(0, models=4, count=6)
    few = trained_on.copy()
    few[:, 3] = [True, False, False, False]
    with pytest.raises(
        ValueError, match="^record 3 has 1 shadow models that were trained on it, and 2"
    ):
        membership.likelihood_ratio_scores(target, shadow, few)
    assert membership.likelihood_ratio_scores(target, shadow, few, online=False).shape == (6,)
    few[:, 2] = True
    for online in (True, False):
        with pytest.raises(ValueError, match="^record 2 has 0 shadow models that were not trained"):
            membership.likelihood_ratio_scores(target, shadow, few, online)


def test_shadow_models_that_do_not_match_are_refused():
    target, _, shadow, trained_on = records(0, models=4, count=6)
    for wrong in (
        (target[:5], shadow, trained_on),
        (target, shadow[:3], trained_on),
        (target, shadow[:, :5], trained_on[:, :5]),
        (target, shadow, trained_on.astype(int)),
    ):
        with pytest.raises(ValueError, match="target, shadow and trained_on must match"):
            membership.likelihood_ratio_scores(*wrong)
    with pytest.raises(ValueError, match="not finite: training diverged"):
        membership.likelihood_ratio_scores(target, shadow * math.inf, trained_on)
    with pytest.raises(ValueError, match="all give the same outputs: train them with different"):
        membership.likelihood_ratio_scores(target, shadow * 0, trained_on)
