# SPDX-License-Identifier: Apache-2.0
"""Counts of a classifier's answers, and intervals around what they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics

from tfartgen import classification

# Softmax gives these probabilities back. Bins are fifteenths: 0.9 is in bin 13, 0.75 in bin 11.
LOGITS = np.log([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.25, 0.75], [0.75, 0.25]])
LABELS = np.array([0, 1, 1, 1, 0])


def random_answers(seed, count=500, classes=4):
    """Logits of which some are right and some sure of themselves, and labels of every class."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=count - classes)])
    logits = rng.normal(0, 1.5, (count, classes)) + 2 * (labels[:, None] == np.arange(classes))
    return logits.astype(np.float32), labels.astype(np.int32)


def slow_calibration_error(logits, labels):
    """Bin by bin: share of its examples times the distance between accuracy and mean confidence."""
    bins = [[] for _ in range(15)]
    for row, label in zip(logits.astype(np.float64), labels):
        weights = [math.exp(value) for value in row]
        confidence, guess = max((w / sum(weights), i) for i, w in enumerate(weights))
        (place,) = (b for b in range(15) if b / 15 <= confidence < (b + 1) / 15)
        bins[place].append((confidence, guess == label))
    error = 0.0
    for members in filter(None, bins):
        confidence = sum(c for c, _ in members) / len(members)
        accuracy = sum(right for _, right in members) / len(members)
        error += len(members) / len(labels) * abs(accuracy - confidence)
    return error


def test_five_answers_are_counted_as_by_hand():
    outcome = classification.score(LOGITS, LABELS)
    assert outcome.confusion.tolist() == [[2, 0], [1, 2]]
    assert outcome.accuracy == pytest.approx(4 / 5)
    np.testing.assert_allclose(outcome.recalls, [1, 2 / 3])
    assert outcome.macro_recall == pytest.approx(5 / 6)
    assert {b: n for b, n in enumerate(outcome.count) if n} == {11: 2, 13: 3}
    assert {b: n for b, n in enumerate(outcome.correct) if n} == {11: 2, 13: 2}
    np.testing.assert_allclose(outcome.confidence[[11, 13]], [1.5, 2.7])
    # |2 - 1.5| and |2 - 2.7| of five.
    assert outcome.calibration_error == pytest.approx(1.2 / 5)


def test_classes_count_alike_in_the_macro_recall_whatever_their_size():
    logits = np.repeat([[5.0, 0.0]], 10, axis=0)
    outcome = classification.score(logits, np.array([0] * 9 + [1]))
    assert (outcome.accuracy, outcome.macro_recall) == (0.9, 0.5)


def test_a_sure_answer_is_in_the_last_bin_and_is_calibrated_when_right():
    outcome = classification.score(np.array([[1000.0, -1000.0]]), np.array([0]))
    assert outcome.count.tolist() == [0] * 14 + [1]
    assert outcome.calibration_error == 0
    assert classification.score(np.array([[1000.0, 0.0]]), np.array([1])).calibration_error == 1


def test_a_class_that_is_not_tested_has_no_recall_and_no_part_in_the_mean():
    logits = np.array([[2.0, 0, 0], [0, 1, 0], [3, 0, 0]])
    outcome = classification.score(logits, np.array([0, 1, 1]))
    np.testing.assert_array_equal(outcome.recalls, [1, 0.5, np.nan])
    assert outcome.macro_recall == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_confusion_and_recalls_are_those_of_scikit_learn(seed):
    logits, labels = random_answers(seed)
    outcome, predicted = classification.score(logits, labels), logits.argmax(axis=1)
    np.testing.assert_array_equal(outcome.confusion, metrics.confusion_matrix(labels, predicted))
    recalls = metrics.recall_score(labels, predicted, average=None)
    np.testing.assert_allclose(outcome.recalls, recalls)
    macro = metrics.recall_score(labels, predicted, average="macro")
    assert outcome.macro_recall == pytest.approx(macro)
    assert outcome.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_is_that_of_a_slow_loop(seed):
    logits, labels = random_answers(seed)
    outcome = classification.score(logits, labels)
    assert outcome.calibration_error == pytest.approx(slow_calibration_error(logits, labels))
    assert (outcome.count > 0).sum() > 8


def test_outcomes_of_two_seeds_add_up_to_that_of_all_their_answers():
    one, other = random_answers(0), random_answers(1, count=70)
    total = classification.score(*one) + classification.score(*other)
    together = classification.score(*(np.concatenate(pair) for pair in zip(one, other)))
    assert total.confusion.sum() == 570
    for name in ("confusion", "count", "correct"):
        np.testing.assert_array_equal(getattr(total, name), getattr(together, name))
    np.testing.assert_allclose(total.confidence, together.confidence)


def test_an_outcome_comes_back_from_json_as_it_was():
    outcome = classification.score(*random_answers(0))
    again = classification.Outcome.from_json(json.loads(json.dumps(outcome.as_json())))
    for name in ("confusion", "count", "confidence", "correct"):
        found, expected = getattr(again, name), getattr(outcome, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value):
    logits = LOGITS.copy()
    logits[3, 1] = value
    with pytest.raises(ValueError, match="outputs are not finite: its training diverged"):
        classification.score(logits, LABELS)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("values", [[0.9, 0.8], [3.0, -1.0, 4.0, 1.5, 9.25]])
def test_mean_interval_is_students(values, level):
    found = classification.mean_interval(values, level)
    low, high = scipy.stats.t.interval(
        level, len(values) - 1, np.mean(values), scipy.stats.sem(values)
    )
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_mean_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered, trials = 0, 3000
    for values in rng.normal(5, 2, (trials, 4)):
        found = classification.mean_interval(values)
        covered += abs(found.mean - 5) <= found.half_width
    assert scipy.stats.binomtest(covered, trials, 0.95).pvalue > 1e-3


def test_one_value_has_no_interval_and_equal_ones_have_none_to_speak_of():
    assert classification.mean_interval([0.7]) == classification.Interval(0.7, None)
    assert classification.mean_interval([0.5, 0.5, 0.5]) == classification.Interval(0.5, 0.0)


@pytest.mark.parametrize(
    "successes, trials, low, high",
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_of_published_examples(successes, trials, low, high):
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3."""
    found = classification.wilson_interval(successes, trials)
    assert found == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("successes, trials", [(0, 3), (3, 3), (1, 2), (17, 40), (999, 1000)])
def test_wilson_bounds_are_where_the_score_test_turns(successes, trials, level):
    """Roots of (share - p)^2 = z^2 p (1 - p) / n, multiplied out."""
    share, z = successes / trials, scipy.stats.norm.isf((1 - level) / 2)
    roots = np.roots([1 + z**2 / trials, -2 * share - z**2 / trials, share**2])
    found = classification.wilson_interval(successes, trials, level)
    assert found == pytest.approx(sorted(roots), abs=1e-12)


def test_wilson_bounds_are_probabilities_at_none_and_at_all():
    for trials in range(1, 300):
        for successes in (0, trials):
            low, high = classification.wilson_interval(successes, trials)
            assert 0 <= low < high <= 1
