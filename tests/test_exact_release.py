# SPDX-License-Identifier: Apache-2.0
"""The release of the mean embedding: whole numbers whatever the order, and noise of its own in every coordinate."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest
from scipy import stats

from tfartgen import data, embedding, noise, pate
from tfartgen.artificial import LabelPolicy
from tfartgen.data import Split
from tfartgen.embedding import Embedding
from tfartgen.noise_limits import GRID

CLASSES = 10
MNIST = pathlib.Path(__file__).parents[2] / "shared" / "data" / "tensorflow_datasets"


@pytest.fixture(name="digits", scope="module")
def _digits():
    images, labels = data.load("digits").train.arrays()
    return images, labels


@pytest.fixture(name="features", scope="module")
def _features():
    return Embedding((8, 8, 1), fourier_features=300)


def sums_of(features, images, labels, **settings):
    return embedding.class_sums(features, Split.from_arrays(images, labels), CLASSES, **settings)


def check_any_order(features, images, labels, batch_sizes):
    expected = sums_of(features, images, labels)
    assert expected.dtype == np.int64
    for seed, batch_size in enumerate(batch_sizes):
        order = np.random.default_rng(seed).permutation(len(labels))
        found = sums_of(features, images[order], labels[order], batch_size=batch_size)
        np.testing.assert_array_equal(found, expected)
    return expected


def test_promise_15_sums_are_the_same_in_any_order_and_batch_size(digits, features):
    check_any_order(features, *digits, (1, 7, 359, 2000))


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}")
def test_promise_15_sums_of_mnist_are_the_same_in_any_order_and_batch_size():
    images, labels = data.load("mnist", data_dir=str(MNIST)).train.arrays()
    check_any_order(Embedding((28, 28, 1)), images, labels, (500, 333))


@pytest.mark.parametrize("position", [0, 700, -1])
def test_promise_15_a_record_left_out_takes_its_own_vector_and_nothing_else(
    digits, features, position
):
    images, labels = digits
    whole = sums_of(features, images, labels)
    without = sums_of(features, np.delete(images, position, 0), np.delete(labels, position))
    own = sums_of(features, images[[position]], labels[[position]])
    np.testing.assert_array_equal(whole - without, own)
    assert sum(int(step) ** 2 for step in own.ravel()) <= GRID**2


def test_promise_16_every_coordinate_of_a_release_has_noise_of_its_own(monkeypatch, features):
    """What `release` adds to the sums: no class, column or count shares it, lacks it, or has another variance."""
    sigma, seen = 0.5, []
    take = embedding._means

    def means(noised, *rest):
        seen.append(noised)
        return take(noised, *rest)

    monkeypatch.setattr(embedding, "_means", means)
    monkeypatch.setattr(
        embedding, "class_sums", lambda f, s, classes: np.zeros((classes, f.dim + 1), np.int64)
    )
    split = Split.from_arrays(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1))
    for _ in range(60):
        embedding.release(features, split, CLASSES, sigma)
    drawn = np.stack(seen) / sigma  # [releases, classes, dim + 1]
    count, columns = len(drawn), drawn.shape[-1]
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / drawn.size)
    counts = drawn[:, :, -1].ravel()  # the column that counts records
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], counts.size)
    assert low < np.sum(counts**2) < high
    by_column = np.sum(drawn**2, axis=(0, 1))  # chi-squared, classes x releases
    rare = 1e-6 / columns
    low, high = stats.chi2.ppf([rare, 1 - rare], count * CLASSES)
    assert low < by_column.min() and by_column.max() < high
    rows = drawn.transpose(1, 0, 2).reshape(CLASSES, -1)
    between_classes = np.corrcoef(rows)[~np.eye(CLASSES, dtype=bool)]
    assert np.abs(between_classes).max() < 6 / math.sqrt(rows.shape[1])
    between_releases = np.corrcoef(drawn.reshape(count, -1))[~np.eye(count, dtype=bool)]
    assert np.abs(between_releases).max() < 6 / math.sqrt(drawn[0].size)
    neighbours = drawn[:, :, 1:] * drawn[:, :, :-1]  # columns side by side
    assert abs(neighbours.mean()) < 6 / math.sqrt(neighbours.size)


def test_promise_9_the_divisor_is_the_noised_count_and_not_the_records_own(digits, features):
    """With much noise a mean's length follows the noised count; the true counts appear in nothing."""
    images, labels = digits
    split, sigma = Split.from_arrays(images, labels), 2.0
    counts = np.stack([embedding.release(features, split, CLASSES, sigma).counts for _ in range(3)])
    true = np.bincount(labels, minlength=CLASSES)
    assert np.all(counts != true) and len(np.unique(counts)) == counts.size
    sums = sums_of(features, images, labels)
    shifted = sums.astype(float) / GRID
    shifted[:, -1] *= 2.0  # a count that noise has doubled
    released = embedding._means(shifted, features.constant, 1e-9, len(labels) / CLASSES)
    np.testing.assert_allclose(released.counts, 2.0 * true, rtol=1e-6)
    np.testing.assert_allclose(released.means, shifted[:, :-1] / (2.0 * true)[:, None], rtol=1e-5)


# The other sums: class histogram, votes


def test_promise_9_the_class_histogram_has_exact_noise_on_every_count():
    counts, sigma = [400] * 6, 5.0
    drawn = []
    for _ in range(200):
        probabilities = np.array(LabelPolicy.noised(counts, sigma).probabilities)
        drawn.append(probabilities * 2400)
    drawn = np.array(drawn)
    # Scaled to sum 1, so that one direction of six is lost.
    spread = np.sum((drawn - 400) ** 2) / sigma**2
    low, high = stats.chi2.ppf([1e-5, 1 - 1e-5], 200 * 5)
    assert low < spread < high
    off = np.corrcoef(drawn, rowvar=False)[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(off.mean(), -0.2, atol=0.05)


def test_promise_2_votes_have_the_noise_that_pate_is_priced_at(monkeypatch):
    seen = []
    take = noise.with_exact_noise
    monkeypatch.setattr(
        pate.noise, "with_exact_noise", lambda *a: seen.append((a, take(*a))) or seen[-1][1]
    )
    labels = pate.noisy_labels(np.tile([3, 90, 7], (4000, 1)), 20.0)
    (sums, sigma, sensitivity), noised = seen[0]
    assert sigma * sensitivity == pytest.approx(20.0) and sensitivity == math.sqrt(2)
    np.testing.assert_array_equal(sums[0], np.array([3, 90, 7]) * GRID)
    off = (noised - [3, 90, 7]) / 20.0
    assert abs(off.var() - 1) < 5 * math.sqrt(2 / off.size)
    assert np.all(labels == noised.argmax(axis=1))
