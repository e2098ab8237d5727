# SPDX-License-Identifier: Apache-2.0
"""The room of noise: keys that cannot be guessed, tails that are there, sums whose noise is exact."""

from __future__ import annotations

import importlib.util
import math
import secrets

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfartgen import noise, noise_limits

LARGEST = 2**32 - 1


def fixed_key(word=7):
    return tf.constant([word, 11], tf.int64)


def draws(count, key=None):
    return noise.gaussian(count, noise.operating_system_keys() if key is None else key).numpy()


# Keys


def test_promise_17_a_key_is_128_bits_of_the_operating_system(monkeypatch):
    """By construction: every bit of a key is a bit that `secrets` gave for this key and no other."""
    given = []

    def token_bytes(count):
        given.append(secrets.SystemRandom().randbytes(count))
        return given[-1]

    monkeypatch.setattr(noise.secrets, "token_bytes", token_bytes)

    @tf.function
    def key():
        return noise.operating_system_keys()

    keys = [key().numpy().tobytes() for _ in range(5)] + [
        noise.operating_system_keys().numpy().tobytes()
    ]
    assert keys == given and all(8 * len(content) >= 128 for content in given)


def test_promise_17_every_bit_of_a_key_is_random_and_no_key_comes_twice():
    @tf.function
    def many():
        return tf.map_fn(
            lambda _: noise.operating_system_keys(), tf.range(4000), fn_output_signature=tf.int64
        )

    keys = many().numpy()
    assert len({key.tobytes() for key in keys}) == len(keys)  # 16 bits: a hundred would come twice
    ones = np.unpackbits(keys.view(np.uint8), axis=1).mean(axis=0)
    assert ones.shape == (128,)
    z = (ones - 0.5) / (0.5 / math.sqrt(len(keys)))
    assert np.abs(z).max() < 5.5


def test_promise_10_no_seed_reaches_a_key():
    keys = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(3)
        keys.append(noise.operating_system_keys().numpy().tobytes())
    assert keys[0] != keys[1]


# A critic's draws


@pytest.mark.parametrize(
    "words, expected",
    [
        ((0, 0, 0), -noise_limits.LIMIT),
        ((0, 0, LARGEST), noise_limits.LIMIT),
        ((0, 1, 0), stats.norm.ppf(1.5 * 2.0**-65)),
        ((1, 0, LARGEST), -stats.norm.ppf((2**32 + 0.5) * 2.0**-65)),
        ((2**31, 0, 0), stats.norm.ppf(0.25)),
        ((LARGEST, LARGEST, 0), 0.0),
    ],
)
def test_promise_16_the_extremes_of_the_source_give_the_extremes_of_a_gaussian(
    monkeypatch, words, expected
):
    monkeypatch.setattr(
        noise, "_words", lambda count, key: tf.constant([[w] for w in words], tf.uint32)
    )
    assert draws(1)[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert noise_limits.LIMIT > 9


def check_gaussian(samples):
    """Two-sided: mean, variance, kurtosis, and how many are beyond 4 and 5 standard deviations."""
    n = samples.size
    assert abs(samples.mean()) < 5 / math.sqrt(n)
    assert abs(np.mean(samples**2) - 1) < 5 * math.sqrt(2 / n)
    assert abs(np.mean(samples**4) - 3) < 5 * math.sqrt(96 / n)
    for beyond in (4, 5):
        expected = 2 * n * stats.norm.sf(beyond)
        found = int(np.sum(np.abs(samples) > beyond))
        low, high = stats.poisson.ppf([1e-6, 1 - 1e-6], expected)
        assert low <= found <= high, (beyond, found, expected)


def test_promise_16_draws_are_gaussian_in_their_tails():
    samples = draws(4_000_000)
    check_gaussian(samples)
    assert stats.kstest(samples[:200_000], "norm").pvalue > 1e-4


@pytest.mark.slow
def test_promise_16_a_hundred_million_draws_are_gaussian_in_their_tails():
    samples = np.concatenate([draws(10_000_000) for _ in range(10)])
    check_gaussian(samples)
    assert np.abs(samples).max() > 5.45  # 0.99 of such samples; TensorFlow's own ends at 5.68


def test_promise_16_no_two_coordinates_share_a_draw():
    """In one variable, in two of the same size, and in two of other sizes, whose draws begin alike under one key."""
    shapes = [(3, 1000), (1000,), (2, 500), (1700,)]
    values = [tf.zeros(shape) for shape in shapes]
    steps = []
    for _ in range(200):
        parts = noise.gaussians_like(values, noise.operating_system_keys())
        assert [tuple(part.shape) for part in parts] == shapes
        flat = [part.numpy().ravel() for part in parts]
        assert len(np.unique(np.abs(np.concatenate(flat)))) == sum(map(len, flat))
        first = np.stack([part[:1000] for part in flat])
        for sizes in (first, np.abs(first)):
            off = np.corrcoef(sizes)[~np.eye(len(sizes), dtype=bool)]
            assert np.abs(off).max() < 6.5 / math.sqrt(1000)
        steps.append(np.concatenate(flat)[::97])
    rows = np.array(steps)  # [steps, some coordinates of every variable]
    assert len(np.unique(rows)) == rows.size
    check_uncorrelated(rows)
    check_uncorrelated(rows.T)


def check_uncorrelated(rows):
    """No two columns are correlated, nor do they have another variance than one."""
    n, columns = rows.shape
    correlation = np.corrcoef(rows, rowvar=False)
    off = correlation[~np.eye(columns, dtype=bool)]
    assert np.abs(off).max() < 6.5 / math.sqrt(n)
    assert abs(np.mean(off**2) * n - 1) < 0.2
    assert np.abs(np.var(rows, axis=0) - 1).max() < 6.5 * math.sqrt(2 / n)


def test_latents_and_mixes_follow_their_key():
    latents = noise.latents(4, 3, fixed_key()).numpy()
    np.testing.assert_array_equal(latents, noise.latents(4, 3, fixed_key()).numpy())
    assert latents.shape == (4, 3) and not np.allclose(latents, noise.latents(4, 3, fixed_key(8)))
    mixes = noise.mixes(1000, fixed_key()).numpy()
    assert mixes.min() >= 0 and mixes.max() < 1 and abs(mixes.mean() - 0.5) < 0.05


# Poisson batches


def test_promise_3_a_record_is_chosen_with_the_rate_and_never_with_more(monkeypatch):
    rate, count = 0.3, 4_000_000
    share = noise.chosen(count, rate, noise.operating_system_keys()).numpy().mean()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / count)
    threshold = math.floor(rate * 2**64)
    words = tf.constant([0, threshold - 1, threshold, 2**64 - 1], tf.uint64)
    monkeypatch.setattr(noise.tf.random, "stateless_uniform", lambda *a, **k: words)
    assert noise.chosen(4, rate, None).numpy().tolist() == [True, True, False, False]


def test_promise_3_at_rate_one_every_record_is_chosen():
    assert noise.chosen(50, 1.0, noise.operating_system_keys()).numpy().all()
    with pytest.raises(ValueError, match="rate must be above 0 and at most 1, got 1.02"):
        noise.chosen(50, 1.02, noise.operating_system_keys())


# Exact noise on sums


def hostile_rows():
    rng = np.random.default_rng(0)
    rows = [
        np.full(50, 1 / math.sqrt(50)),
        np.full(50, 1.0),
        np.eye(50)[3],
        -np.eye(50)[3] * 7,
        np.full(50, 1e200),
        np.full(50, 1e-200),
        np.zeros(50),
        np.eye(50)[0] * (1 + 2**-52),
    ]
    return np.array([*rows, *(row / np.linalg.norm(row) for row in rng.normal(size=(500, 50)))])


def test_promise_1_squared_lengths_on_the_grid_are_at_most_its_square():
    steps = noise.on_grid(hostile_rows())
    assert steps.dtype == np.int64
    squares = [sum(int(step) ** 2 for step in row) for row in steps]  # Python's integers
    assert max(squares) <= noise_limits.GRID**2
    assert max(squares) > (1 - 1e-6) * noise_limits.GRID**2  # a length of nearly one is kept


def test_promise_1_coordinates_are_truncated_towards_zero():
    rows = hostile_rows()
    unit = rows / np.maximum(1, np.linalg.norm(rows / 1e100, axis=1, keepdims=True) * 1e100)
    steps = noise.on_grid(rows)
    assert np.all(np.abs(steps) <= np.abs(unit) * noise_limits.GRID * (1 + 1e-15))
    assert np.all(np.abs(steps) >= np.abs(unit) * noise_limits.GRID * (1 - 1e-12) - 1)
    np.testing.assert_array_equal(noise.on_grid(-rows), -steps)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_becomes_zero_and_leaves_the_others_alone(odd):
    rows = hostile_rows()
    expected = noise.on_grid(rows)
    rows[2, 5] = odd
    expected[2] = 0
    np.testing.assert_array_equal(noise.on_grid(rows), expected)


@pytest.mark.parametrize("scale", [1.3, 4.0])
def test_promise_16_discrete_noise_has_the_probabilities_of_its_definition(scale):
    """Canonne, Kamath and Steinke 2020, definition 1, by a chi-squared test."""
    values = noise.discrete_gaussian(np.full(60_000, 5), scale) - 5
    reach = int(4 * scale)
    steps = np.arange(-200, 201)
    mass = np.exp(-(steps**2) / (2 * scale**2))
    mass /= mass.sum()
    inside = np.abs(steps) <= reach
    expected = np.append(mass[inside], mass[~inside].sum()) * len(values)
    found = [np.sum(values == step) for step in steps[inside]] + [np.sum(np.abs(values) > reach)]
    assert stats.chisquare(found, expected).pvalue > 1e-5


def test_promise_2_exact_noise_is_sigma_times_the_sensitivity_on_every_coordinate():
    sigma, sensitivity = 3.7, math.sqrt(2)
    noised = noise.with_exact_noise(np.zeros((4, 20_000), np.int64), sigma, sensitivity)
    for row in noised / (sigma * sensitivity):
        assert abs(np.var(row) - 1) < 5 * math.sqrt(2 / row.size)
        assert stats.kstest(row, "norm").pvalue > 1e-5
    assert noise.exact_scale(sigma, sensitivity) >= sigma * sensitivity * noise_limits.GRID
    check_uncorrelated(noised.reshape(-1, 40) / (sigma * sensitivity))


def test_exact_noise_leaves_the_sums_where_they_are():
    sums = np.array([[3, -4], [5, 6]]) * noise_limits.GRID
    noised = noise.with_exact_noise(sums, 1e-5)
    np.testing.assert_allclose(noised, [[3, -4], [5, 6]], atol=1e-4)


def test_exact_noise_is_refused_where_opendp_is_not_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "opendp" else find(name)
    )
    with pytest.raises(ValueError, match="opendp, which cannot be imported.*pip install"):
        noise.with_exact_noise(np.zeros(3, np.int64), 1.0)


def test_exact_noise_wants_whole_numbers_and_some_noise():
    with pytest.raises(TypeError, match="int64"):
        noise.with_exact_noise(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="noise_multiplier"):
        noise.with_exact_noise(np.zeros(3, np.int64), 0.0)
