# SPDX-License-Identifier: Apache-2.0
"""The mean embedding: what a record can change, the noise that is priced, what is estimated from it."""

from __future__ import annotations

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from dp_accounting import pld
from scipy import stats

from tfartgen import accounting, embedding
from tfartgen.data import Split, to_float
from tfartgen.noise_limits import GRID

SHAPE, CLASSES = (8, 8, 1), 3


def make_split(images, labels):
    return Split.from_arrays(np.asarray(images, np.uint8), np.asarray(labels, np.int32))


def random_records(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(count, *SHAPE)), rng.integers(CLASSES, size=count)


ODD_RECORDS = {
    "black": np.zeros(SHAPE),
    "white": np.full(SHAPE, 255),
    "one pixel": np.eye(8)[0][:, None, None] * np.eye(8)[3][None, :, None] * 255,
    "stripes": np.tile([[0], [255]], (8, 4, 1)).reshape(SHAPE),
    "noise": np.random.default_rng(5).integers(256, size=SHAPE),
}


@pytest.mark.parametrize("fourier", [0, 40])
@pytest.mark.parametrize("record", ODD_RECORDS)
def test_one_record_changes_the_class_sums_by_at_most_the_sensitivity(record, fourier):
    features = embedding.Embedding(SHAPE, fourier)
    images, labels = random_records(20)
    for label in range(CLASSES):
        before = embedding.class_sums(features, make_split(images, labels), CLASSES)
        more = np.concatenate([images, ODD_RECORDS[record][None]])
        after = embedding.class_sums(features, make_split(more, [*labels, label]), CLASSES)
        change = after - before
        assert change.dtype == np.int64
        assert 0.01 * GRID**2 < exact_square(change) <= (embedding.SENSITIVITY * GRID) ** 2
        assert np.all(change[np.arange(CLASSES) != label] == 0)
        alone = make_split(ODD_RECORDS[record][None], [label])
        np.testing.assert_array_equal(embedding.class_sums(features, alone, CLASSES), change)


def exact_square(steps):
    """Sum of squares of whole numbers, in Python's, which do not round."""
    return sum(value**2 for value in steps.ravel().tolist())


def test_a_record_that_is_no_number_or_of_no_class_adds_nothing(monkeypatch):
    features = embedding.Embedding(SHAPE, 10)
    images, labels = random_records(4)
    expected = embedding.class_sums(features, make_split(images[1:], labels[1:]), CLASSES)
    wrong = make_split(images, [CLASSES, *labels[1:]])
    np.testing.assert_array_equal(embedding.class_sums(features, wrong, CLASSES), expected)

    call, first = embedding.Embedding.__call__, to_float(tf.constant(images[:1], tf.uint8))

    def spoiled(self, batch):
        is_first = tf.reduce_all(tf.abs(batch - first) < 1e-3, axis=[1, 2, 3])
        return tf.where(is_first[:, None], float("nan"), call(self, batch))

    monkeypatch.setattr(embedding.Embedding, "__call__", spoiled)
    with_it, without_it = (
        embedding.class_sums(features, make_split(images[skipped:], labels[skipped:]), CLASSES)
        for skipped in (0, 1)
    )
    np.testing.assert_array_equal(with_it, without_it)
    np.testing.assert_allclose(with_it / GRID, expected / GRID, atol=1e-6)


def test_vectors_have_length_one_and_depend_on_their_image_alone():
    features = embedding.Embedding(SHAPE, 30)
    images = to_float(tf.constant(random_records(5)[0], tf.uint8))
    rows = features(images).numpy()
    assert rows.shape == (5, features.dim)
    lengths = np.sqrt(np.sum(rows.astype(float) ** 2, 1) + features.constant**2)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)
    np.testing.assert_allclose(features(images[2:3])[0], rows[2], atol=1e-6)
    np.testing.assert_array_equal(embedding.Embedding(SHAPE, 30)(images), rows)


def test_inner_products_of_fourier_features_are_the_gaussian_kernel():
    """Rahimi and Recht 2007, claim 1, up to the random projection and as many draws as here."""
    bandwidth = 0.5
    with_fourier = embedding.Embedding(SHAPE, 20_000, bandwidth)
    images = to_float(tf.constant(random_records(6)[0] // 4, tf.uint8))
    images = tf.concat([images[:3], 0.7 * images[:3] + 0.3 * images[3:]], 0)
    rows = with_fourier(images).numpy().astype(float)
    waves = rows[:, -20_000:]
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    projected = with_fourier.projected(images).numpy().astype(float)
    squares = np.sum((projected[:, None] - projected[None]) ** 2, -1)
    kernel = np.exp(-squares / (2 * bandwidth**2))
    np.testing.assert_allclose(waves @ waves.T, kernel, atol=0.03)
    assert kernel.min() < 0.9


def test_the_noise_is_that_which_is_priced():
    sigma = 3.0
    features = embedding.Embedding(SHAPE, 2000)
    images, labels = random_records(30)
    split = make_split(images, labels)
    sums = embedding.class_sums(features, split, CLASSES)
    released = embedding.release(features, split, CLASSES, sigma)
    noise = (released.means * released.counts[:, None] - sums[:, :-1] / GRID).ravel()
    for factor, low, high in ((1, 1e-4, 1 - 1e-4), (2 / 3, 1 - 1e-9, 1.1), (3 / 2, -1, 1e-9)):
        tail = stats.chi2.cdf(np.sum(noise**2) / (factor * sigma) ** 2, noise.size)
        assert low < tail < high
    again = embedding.release(features, split, CLASSES, sigma)
    assert np.all(again.means != released.means)
    noised = embedding.coordinates(features, CLASSES)
    stretch = embedding.stretch(sigma, noised)
    assert (stretch.noise_multiplier, stretch.steps, stretch.grid) == (sigma, 1, GRID)
    assert stretch.coordinates == noised == sums.size


def test_but_for_noise_means_and_counts_are_the_records_own():
    features = embedding.Embedding(SHAPE, 25)
    images, _ = random_records(12)
    labels = np.array([0] * 7 + [1] * 3 + [2] * 2)
    released = embedding.release(features, make_split(images, labels), CLASSES, 1e-9)
    np.testing.assert_allclose(released.counts, [7, 3, 2], rtol=1e-6)
    rows = features(to_float(tf.constant(images, tf.uint8))).numpy()
    for label in range(CLASSES):
        np.testing.assert_allclose(released.means[label], rows[labels == label].mean(0), atol=1e-6)


def test_a_release_without_noise_is_refused():
    features = embedding.Embedding(SHAPE, 5)
    for noise in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="noise_multiplier must be a positive number"):
            embedding.release(features, make_split(*random_records(4)), CLASSES, noise)


def test_counts_lean_on_the_average_class_where_noise_drowns_them():
    features = embedding.Embedding(SHAPE, 5)
    images, labels = random_records(30)
    released = embedding.release(features, make_split(images, labels), CLASSES, 1e5)
    np.testing.assert_allclose(released.counts, 10.0, rtol=0.1)
    assert np.all(np.isfinite(released.means))


def test_the_price_of_the_stages_is_dp_accountings_by_hand():
    stretches = [
        embedding.stretch(5.0, 900),
        accounting.Stretch("poisson", 0.02, 1.1, 1.0, 20, 300, coordinates=5000),
    ]
    by_hand = dp_accounting.ComposedDpEvent(
        [
            dp_accounting.GaussianDpEvent(5.0),
            dp_accounting.SelfComposedDpEvent(
                dp_accounting.PoissonSampledDpEvent(0.02, dp_accounting.GaussianDpEvent(1.1)), 300
            ),
        ]
    )
    expected = pld.PLDAccountant().compose(by_hand).get_epsilon(1e-5)
    assert accounting.epsilon(stretches, 1e-5) == pytest.approx(expected, rel=1e-3)
    alone = accounting.epsilon(stretches[1:], 1e-5)
    assert (
        alone
        < accounting.epsilon(stretches, 1e-5)
        < alone + accounting.epsilon(stretches[:1], 1e-5)
    )


def test_noise_calibrated_beside_a_release_keeps_the_sum_within_the_budget():
    before = (embedding.stretch(4.0, 900),)
    noise = accounting.calibrate_noise_multiplier(
        2.0,
        1e-5,
        sampler="poisson",
        sampling_rate=0.05,
        batch_size=50,
        clip_norm=1.0,
        steps=200,
        coordinates=5000,
        before=before,
    )
    critic = accounting.Stretch("poisson", 0.05, noise, 1.0, 50, 200, coordinates=5000)
    assert 1.99 < accounting.epsilon([*before, critic], 1e-5) <= 2.0
