# SPDX-License-Identifier: Apache-2.0
"""Targets that others trained are attacked as they are, and what mixes examples in them mixes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import inversion, target_models

layers = tf.keras.layers
SHAPE = (6, 5, 1)


@pytest.fixture(name="target", scope="module")
def _target(tmp_path_factory):
    """A classifier on file with batch normalisation whose moving averages are not those of its batches."""
    tf.keras.utils.set_random_seed(1)
    inner = tf.keras.Sequential([layers.Dense(8), layers.BatchNormalization(name="culprit")])
    model = tf.keras.Sequential([tf.keras.Input(SHAPE), layers.Flatten(), inner, layers.Dense(3)])
    culprit = inner.layers[-1]
    culprit.moving_mean.assign(tf.linspace(-2.0, 2.0, 8))
    culprit.moving_variance.assign(tf.linspace(0.1, 4.0, 8))
    path = str(tmp_path_factory.mktemp("target") / "m.keras")
    model.save(path)
    return target_models.load(path, SHAPE, 3)[0]


def test_promise_7_a_given_target_with_batch_normalisation_sees_each_image_by_itself(target):
    images = tf.random.stateless_uniform([5, *SHAPE], [0, 1], -1, 1)
    for training in (False, True):  # it is tested, whatever it is asked for
        together = target(images, training=training).numpy()
        alone = [target(images[i : i + 1], training=training).numpy()[0] for i in range(5)]
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_promise_7_classes_of_a_given_target_are_attacked_as_if_each_were_alone(target):
    config = inversion.InversionConfig("confidence", "gradient_descent", ("grey",), 20, 0.5)
    together = inversion.invert(target, [0, 1, 2], SHAPE, config)
    for label in range(3):
        alone = inversion.invert(target, [label], SHAPE, config)
        np.testing.assert_allclose(alone.images[0], together.images[label], atol=1e-4)
