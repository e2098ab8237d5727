# SPDX-License-Identifier: Apache-2.0
"""Batches of the Poisson sampler: every record at the rate that is priced, and sizes that nothing cuts."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from tfartgen.data import Split
from tfartgen.sampling import PoissonSampler


def make_split(count):
    images = np.zeros((count, 1, 1, 1), np.uint8)
    return Split.from_arrays(images, np.arange(count, dtype=np.int32))


def drawn(count, batch_size, batches):
    """The records of each batch."""
    sampler = PoissonSampler(count, batch_size)
    dataset = sampler.batches(make_split(count)).take(batches)
    return sampler, [labels for _, labels in dataset.as_numpy_iterator()]


def test_promise_3_the_share_of_records_is_the_rate_to_a_fraction_of_a_percent():
    count, batches = 200_000, 40
    sampler, records = drawn(count, 50_000, batches)
    rate = sampler.stretch(1.0, 1.0, batches, 1).sampling_rate
    found = sum(map(len, records)) / (count * batches)
    error = math.sqrt(rate * (1 - rate) / (count * batches))
    assert error < 0.001 * rate and abs(found - rate) < 5 * error


def test_promise_3_sizes_of_batches_are_binomial_and_none_is_cut():
    count, expected, batches = 40, 4, 3000
    _, records = drawn(count, expected, batches)
    assert all(len(set(batch)) == len(batch) for batch in records)
    sizes = np.bincount([min(len(batch), 10) for batch in records], minlength=11)
    mass = stats.binom.pmf(np.arange(10), count, expected / count)
    mass = np.append(mass, 1 - mass.sum())
    assert stats.chisquare(sizes, mass * batches).pvalue > 1e-5
    assert max(map(len, records)) > 2 * expected and min(map(len, records)) == 0


def test_promise_3_every_record_is_in_as_many_batches_as_any_other():
    count, batches, rate = 400, 2000, 0.1
    _, records = drawn(count, 40, batches)
    per_record = np.bincount(np.concatenate(records), minlength=count)
    variance = batches * rate * (1 - rate)
    statistic = np.sum((per_record - batches * rate) ** 2) / variance
    assert stats.chi2.cdf(statistic, count) > 1e-5 and stats.chi2.sf(statistic, count) > 1e-5
