# SPDX-License-Identifier: Apache-2.0
"""The sampler that runs is the one that is priced."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfartgen import sampling
from tfartgen.data import Split


def identified_split(count):
    """Records whose label is their position."""
    images = np.zeros((count, 8, 8, 1), np.uint8)
    return Split.from_arrays(images, np.arange(count, dtype=np.int32))


def drawn(sampler, split, batches):
    """Labels of the first batches."""
    return [labels.numpy() for _, labels in itertools.islice(iter(sampler.batches(split)), batches)]


def test_promise_3_inclusion_frequencies_match_the_rate_that_is_priced():
    n, b, batches = 200, 30, 400
    sampler = sampling.PoissonSampler(n, b)
    rate = sampler.stretch(1.0, 1.0, batches, 500).sampling_rate
    assert rate == b / n
    included = np.zeros((batches, n))
    for row, labels in enumerate(drawn(sampler, identified_split(n), batches)):
        assert len(set(labels)) == len(labels)
        included[row, labels] = 1
    total = stats.binomtest(int(included.sum()), batches * n, rate)
    assert total.pvalue > 1e-4
    assert stats.binomtest(int(included.sum()), batches * n, rate * 1.1).pvalue < 1e-4
    # Independent records: batch sizes have the binomial's variance, and so has every record's count.
    for counts, trials in ((included.sum(1), n), (included.sum(0), batches)):
        variance = trials * rate * (1 - rate)
        statistic = np.sum((counts - trials * rate) ** 2) / variance
        assert 1e-4 < stats.chi2.cdf(statistic, len(counts)) < 1 - 1e-4
    # Independent of the past: successive batches share q^2 n records on average.
    shared = np.sum(included[1:] * included[:-1])
    assert stats.binomtest(int(shared), (batches - 1) * n, rate**2).pvalue > 1e-4


def test_promise_3_the_event_is_that_of_the_sampler():
    poisson = sampling.PoissonSampler(100, 10).stretch(2.0, 0.5, 7, 500)
    assert "PoissonSampled" in repr(poisson.event())
    assert (poisson.sampler, poisson.batch_size, poisson.steps) == ("poisson", 10, 7)
    assert (poisson.coordinates, poisson.grid) == (500, None)
    shuffled = sampling.ShuffleSampler(100, 10).stretch(2.0, 0.5, 25, 500).event()
    assert "PoissonSampled" not in repr(shuffled)
    assert shuffled.count == 3  # each record is in at most 3 batches of 2.5 passes


@pytest.mark.parametrize("n, b", [(100, 10), (100, 51), (7, 7), (10, 3)])
def test_promise_3_a_shuffled_record_is_in_no_more_batches_than_is_priced(n, b):
    sampler = sampling.ShuffleSampler(n, b)
    for steps in range(1, 12):
        counts = np.bincount(np.concatenate(drawn(sampler, identified_split(n), steps)))
        assert counts.max() <= sampler.stretch(1.0, 1.0, steps, 500).event().count


@pytest.mark.parametrize("n, b, buffer_size", [(10, 3, 10_000), (10, 3, 4), (8, 4, 2), (7, 7, 7)])
def test_promise_3_every_shuffled_pass_has_each_record_once(n, b, buffer_size):
    sampler, batches = sampling.ShuffleSampler(n, b, buffer_size), -(-n // b)
    labels = drawn(sampler, identified_split(n).resized(16), 5 * batches)
    passes = [np.concatenate(labels[i : i + batches]) for i in range(0, 5 * batches, batches)]
    for each in passes:
        assert sorted(each) == list(range(n))
    assert len({each.tobytes() for each in passes}) > 1


@pytest.mark.parametrize("claimed", [7, 9])
@pytest.mark.parametrize("side", [None, 16])
def test_promise_3_shuffling_counts_the_records_before_it_streams_them(claimed, side):
    split = Split(claimed, identified_split(8).stream)
    with pytest.raises(ValueError, match=f"says it has {claimed} records, but 8 could be read"):
        sampling.ShuffleSampler(claimed, 4).batches(split if side is None else split.resized(side))


@pytest.mark.parametrize("later", [7, 9])
def test_promise_3_a_shuffled_pass_that_finds_another_number_ends_the_run(later):
    counts = iter([8, 8, later])  # counted, a first pass, a second

    def generate():
        yield from ((np.zeros([8, 8, 1], np.uint8), i) for i in range(next(counts)))

    spec = tf.TensorSpec([8, 8, 1], tf.uint8), tf.TensorSpec([], tf.int32)
    split = Split(8, lambda: tf.data.Dataset.from_generator(generate, output_signature=spec))
    batches = iter(sampling.ShuffleSampler(8, 4).batches(split))
    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain 8 elements"):
        for _ in range(5):
            next(batches)


def test_promise_10_no_seed_reaches_the_sampling():
    draws = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(0)
        draws += drawn(sampling.PoissonSampler(200, 100), identified_split(200), 2)
    assert len({labels.tobytes() for labels in draws}) == 4


def test_images_and_labels_stay_together_and_uint8():
    labels = np.arange(50, dtype=np.int32)
    images = np.tile(labels[:, None, None, None], (1, 8, 8, 1)).astype(np.uint8)
    for sampler in (sampling.PoissonSampler(50, 20), sampling.ShuffleSampler(50, 20)):
        batch_images, batch_labels = next(iter(sampler.batches(Split.from_arrays(images, labels))))
        assert batch_images.dtype == tf.uint8
        np.testing.assert_array_equal(batch_images[:, 0, 0, 0], batch_labels)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_stripes_make_up_the_batch(replicas):
    batches = tf.data.Dataset.from_tensors((np.zeros((7, 2)), np.arange(7))).repeat(2)
    parts = [labels.numpy() for _, labels in sampling.striped(batches, replicas)]
    assert len(parts) == 2 * replicas
    assert sorted(np.concatenate(parts[:replicas])) == list(range(7))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size 11 exceeds the 10 training records"):
        sampling.PoissonSampler(10, 11)
