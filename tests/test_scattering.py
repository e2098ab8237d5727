# SPDX-License-Identifier: Apache-2.0
"""Scattering coefficients against Kymatio's wavelets and a slow reference of SciPy's convolutions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from kymatio.scattering2d.filter_bank import morlet_2d
from scipy import signal

from tfartgen import scattering


@pytest.mark.parametrize("orientation", range(scattering.ORIENTATIONS))
def test_the_wavelets_are_kymatios(orientation):
    side, angle = 65, math.pi * orientation / scattering.ORIENTATIONS
    theirs = np.fft.fftshift(morlet_2d(side, side, 0.8, angle, 3 * math.pi / 4, slant=0.5))
    theirs /= np.abs(theirs).sum()
    np.testing.assert_allclose(scattering.morlet(side, orientation), theirs, atol=1e-6)


@pytest.mark.parametrize("orientation", range(scattering.ORIENTATIONS))
def test_a_wavelet_that_is_cut_off_still_ignores_brightness(orientation):
    wavelet = scattering.morlet(7, orientation)
    assert abs(wavelet.sum()) < 1e-12
    assert np.abs(wavelet).sum() == pytest.approx(1.0)


def halved(plane, times=1):
    """Averages over 2 x 2 pixels; what hangs over the edge is not counted."""
    for _ in range(times):
        height, width = plane.shape
        plane = np.array(
            [
                [plane[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(-(-width // 2))]
                for i in range(-(-height // 2))
            ]
        )
    return plane


def modulus(plane, orientation, stride):
    """Correlation with zeros around the image, at every `stride`-th pixel as TensorFlow counts them."""
    wave = signal.correlate2d(
        np.pad(plane, 8), scattering.morlet(7, orientation).conj(), mode="same"
    )[8:-8, 8:-8]
    starts = []
    for side in plane.shape:
        padding = max(0, (math.ceil(side / stride) - 1) * stride + 7 - side)
        starts.append(3 - padding // 2)
    return np.sqrt(np.abs(wave[starts[0] :: stride, starts[1] :: stride]) ** 2 + 1e-6)


def reference(image, levels):
    """Coefficients of one image in [-1, 1], path by path: Bruna and Mallat 2013, section 2."""
    channels = []
    for channel in range(image.shape[-1]):
        averages = [(image[:, :, channel].astype(float) + 1) / 2]
        for _ in range(levels):
            averages.append(halved(averages[-1]))
        paths = [averages[-1]]
        moduli = []
        for j in range(levels):
            last = j == levels - 1
            moduli.append([modulus(averages[j], t, 1 if last else 2) for t in range(8)])
            paths += [2 * halved(u, 1 if last else levels - j - 1) for u in moduli[-1]]
        for j in range(levels):
            for k in range(j + 1, levels):
                for u in moduli[j]:
                    coarser = halved(u, k - j - 1)
                    again = [modulus(coarser, t, 2) for t in range(8)]
                    paths += [4 * halved(v, levels - k - 1) for v in again]
        channels.append(np.stack(paths, -1))
    return np.stack(channels).ravel()


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((28, 28, 1), 2), ((8, 8, 1), 1), ((32, 32, 3), 2), ((29, 21, 1), 2), ((64, 56, 1), 3)],
)
def test_coefficients_equal_a_slow_reference(shape, levels):
    transform = scattering.Scattering(shape)
    assert transform.levels == levels
    images = np.random.default_rng(0).uniform(-1, 1, size=(2, *shape)).astype(np.float32)
    ours = transform(tf.constant(images)).numpy()
    assert ours.shape == (2, transform.dim)
    for row, image in zip(ours, images):
        np.testing.assert_allclose(row, reference(image, levels), atol=2e-5)


def test_promise_11_an_image_has_the_same_coefficients_whatever_else_is_in_the_batch():
    transform = scattering.Scattering((16, 16, 1))
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 1)), tf.float32)
    np.testing.assert_allclose(transform(images)[1], transform(images[1:2])[0], atol=1e-6)


def test_the_gradient_of_an_empty_image_is_finite():
    transform = scattering.Scattering((16, 16, 1))
    image = -tf.ones([1, 16, 16, 1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(transform(image))
    assert np.all(np.isfinite(tape.gradient(total, image)))
