# SPDX-License-Identifier: Apache-2.0
"""The one room where private mechanisms draw: keys, the noise of a critic's step, exact noise on sums, Poisson batches.

What must be secret is a key; what must be right is the tail. So every key has 128 bits of the operating system and is
in no checkpoint; a critic's draw reaches 9.2 standard deviations, and what that limit can cost is taken off
delta (`noise_limits`); and what is released as a sum over all records gets discrete Gaussian noise, exactly, from OpenDP.
"""

from __future__ import annotations

import importlib.util
import math
import secrets
from collections.abc import Sequence
from typing import Callable

import numpy as np
import tensorflow as tf

from tfartgen import _validate
from tfartgen.noise_limits import DRAW_BITS, GRID

#: Returns a fresh key for `tf.random.stateless_*`, int64 `[2]`, once for every vector of draws.
KeySource = Callable[[], tf.Tensor]

#: Bytes of a key: all that `tf.random.stateless_*` takes.
KEY_BYTES = 16


def operating_system_keys() -> tf.Tensor:
    """Draws a key from the operating system's generator, untouched by any seed, at every execution.

    Formal guarantee: 128 bits from `secrets`, in a graph too. (TensorFlow's `NonDeterministicInts` is a Mersenne Twister
    that is seeded with 32 bits once a process.)

    Returns:
      int64 `[2]`.
    """
    key = tf.numpy_function(_key, [], tf.int64, stateful=True)
    return tf.ensure_shape(key, [2])


def _key() -> np.ndarray:
    return np.frombuffer(secrets.token_bytes(KEY_BYTES), np.int64)


def gaussian(count: tf.Tensor | int, key: tf.Tensor) -> tf.Tensor:
    """Independent draws from a standard Gaussian whose tails are right as far as a critic's step needs them.

    `+-Phi^-1((k + 1/2) 2^-65)`, with a bit for the sign and 64 for k. (`tf.random.stateless_normal` ends at 5.68
    standard deviations, in float64 too, for its uniform numbers are cut at 1e-7.)

    Formal guarantee: the largest draw is `noise_limits.LIMIT`, 9.2; up to there each bin of probability 2^-65 has one value
    in it. On the grid of float64 the noise only approximates the continuous Gaussian (Mironov 2012).

    Args:
      count: how many.
      key: int64 `[2]`, used for nothing else.

    Returns:
      float64 `[count]`.
    """
    high, low, signs = tf.unstack(_words(count, key))
    size = tf.cast(high, tf.float64) * 2.0**32 + tf.cast(low, tf.float64)
    below_zero = tf.math.ndtri((size + 0.5) * 2.0**-DRAW_BITS)
    return tf.where(signs < 2**31, below_zero, -below_zero)


def _words(count: tf.Tensor | int, key: tf.Tensor) -> tf.Tensor:
    """Random bits, uint32 `[3, count]`."""
    return tf.random.stateless_uniform(
        [3, count], key, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )


def gaussians_like(values: Sequence[tf.Tensor], key: tf.Tensor) -> list[tf.Tensor]:
    """Draws of `gaussian` in the shapes of some tensors, no two coordinates of which share one: float64."""
    sizes = [tf.size(value) for value in values]
    parts = tf.split(gaussian(tf.add_n(sizes), key), sizes, num=len(sizes))
    return [tf.reshape(part, tf.shape(value)) for part, value in zip(parts, values)]


def latents(count: tf.Tensor | int, latent_dim: int, key: tf.Tensor) -> tf.Tensor:
    """A latent for each record of a critic's batch: float32 `[count, latent_dim]`.

    Formal guarantee: independent of each other, of the records and of their places in the batch, under a secret key; so
    the runs with and without a record can be coupled so that every other record keeps its own.
    """
    return tf.random.stateless_normal([count, latent_dim], key, alg="philox")


def mixes(count: tf.Tensor | int, key: tf.Tensor) -> tf.Tensor:
    """A mixing weight for each record, uniform in [0, 1): float32 `[count]`; guarantee as for `latents`."""
    return tf.random.stateless_uniform([count], key, alg="philox")


def chosen(count: int, rate: float, key: tf.Tensor) -> tf.Tensor:
    """Which records are in a batch: each independently with probability `rate`.

    Formal guarantee: the probability is `floor(rate 2^64) / 2^64`, which never exceeds the rate that is priced.

    Args:
      count: number of records.
      rate: q, above 0 and at most 1.
      key: int64 `[2]`, used for nothing else.

    Returns:
      bool `[count]`.
    """
    _validate.fraction("rate", rate)
    if rate == 1.0:
        return tf.fill([count], True)
    words = tf.random.stateless_uniform(
        [count], key, minval=None, maxval=None, dtype=tf.uint64, alg="philox"
    )
    return words < tf.constant(math.floor(rate * 2**64), tf.uint64)


def on_grid(rows: np.ndarray) -> np.ndarray:
    """Vectors clipped to a length of one, on the integer grid of `GRID` steps to that length.

    Formal guarantee: each row's sum of squares, in integers, is at most `GRID` squared: coordinates are truncated
    towards zero, so that no length grows, and a row that were longer all the same becomes zero, as does one that is not
    finite. A row of the result depends on that row alone.

    Args:
      rows: `[n, dim]`, of floats.

    Returns:
      int64 `[n, dim]`.
    """
    rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0).astype(np.float64)
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True, initial=0.0), 1.0)
    lengths = largest * np.linalg.norm(rows / largest, axis=1, keepdims=True)
    steps = np.trunc(rows / np.maximum(lengths, 1.0) * GRID).astype(np.int64)
    squares = np.einsum("ij,ij->i", steps, steps)  # at most 2^62 but for rounding: no overflow
    steps[squares > GRID**2] = 0
    return steps


def require_exact() -> None:
    """Finds out before any work whether exact noise can be drawn.

    Raises:
      ValueError: OpenDP cannot be imported; there is no other source, and none is tried.
    """
    if importlib.util.find_spec("opendp") is None:
        raise ValueError(
            "exact noise comes from the package opendp, which cannot be imported, and nothing else will do; "
            "pip install 'opendp==0.16.0'"
        )


def exact_scale(noise_multiplier: float, sensitivity: float) -> float:
    """Standard deviation of exact noise on the grid, never below `noise_multiplier * sensitivity * GRID`."""
    return float(np.nextafter(noise_multiplier * sensitivity * GRID, np.inf))


def with_exact_noise(
    sums: np.ndarray, noise_multiplier: float, sensitivity: float = 1.0
) -> np.ndarray:
    """Releases integer sums with discrete Gaussian noise on every coordinate, independently.

    Formal guarantee: if one record changes `sums` by at most `sensitivity * GRID` in L2 norm, the result is
    `1 / (2 noise_multiplier^2)`-zero-concentrated differentially private (Canonne, Kamath and Steinke 2020, arXiv
    2004.00010, theorem 14), with no caveat for floating point: the sampler is exact, and its bits are the operating system's.

    Args:
      sums: int64, of any shape, in steps of `GRID`.
      noise_multiplier: sigma, standard deviation of the noise over sensitivity; above zero.
      sensitivity: L2, in lengths of one.

    Returns:
      float64 of the same shape, in lengths of one: what was released, divided by `GRID`.

    Raises:
      ValueError: OpenDP cannot be imported, or an argument is out of range.
      TypeError: the sums are not whole numbers.
    """
    _validate.positive("noise_multiplier", noise_multiplier)
    _validate.positive("sensitivity", sensitivity)
    if sums.dtype != np.int64:
        raise TypeError(f"sums must be int64, got {sums.dtype}")
    noised = discrete_gaussian(sums.ravel(), exact_scale(noise_multiplier, sensitivity))
    return np.reshape(noised, sums.shape) / GRID


def discrete_gaussian(values: np.ndarray, scale: float) -> np.ndarray:
    """Whole numbers with noise from the discrete Gaussian of that scale on each, by OpenDP: int64 `[n]`."""
    require_exact()
    import opendp.prelude as opendp  # two seconds, which few programs need

    opendp.enable_features("contrib")
    vectors = opendp.vector_domain(opendp.atom_domain(T="i64"))
    mechanism = opendp.m.make_gaussian(vectors, opendp.l2_distance(T="f64"), scale)
    return np.array(mechanism(values.tolist()), np.int64)
