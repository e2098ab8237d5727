# SPDX-License-Identifier: Apache-2.0
"""Networks: shapes, independence of examples, refusal of layers that mix them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import networks

SHAPES = [(8, 8, 1), (28, 28, 1), (11, 17, 3), (32, 32, 3), (64, 64, 3), (8, 64, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_from_8_to_64_pixels(shape):
    generator = networks.Generator(shape, 5, latent_dim=6, width=4)
    critic = networks.Critic(shape, 5, width=4)
    label = tf.constant([0, 4, 2])
    images = generator((tf.random.normal([3, 6]), label))
    assert images.shape == (3, *shape)
    assert np.all(np.abs(images) <= 1.0)
    assert critic((images, label)).shape == (3,)


@pytest.mark.parametrize("shape", [(7, 8, 1), (8, 65, 1), (8, 8, 2), (8, 8, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="image_shape must be 8 to 64 pixels"):
        networks.Generator(shape, 5)


@pytest.mark.parametrize("training", [False, True])
def test_rows_of_a_batch_do_not_mix(training):
    generator = networks.Generator((8, 8, 1), 3, latent_dim=6, width=4)
    critic = networks.Critic((8, 8, 1), 3, width=4)
    latent, label = tf.random.normal([5, 6]), tf.constant([0, 1, 2, 0, 1])
    images = generator((latent, label), training=training)
    scores = critic((images, label), training=training)
    for i in range(5):
        row = slice(i, i + 1)
        alone = generator((latent[row], label[row]), training=training)
        np.testing.assert_allclose(alone, images[row], atol=1e-5)
        np.testing.assert_allclose(critic((alone, label[row])), scores[row], atol=1e-5)


def test_the_label_matters():
    generator = networks.Generator((8, 8, 1), 3, latent_dim=6, width=4)
    critic = networks.Critic((8, 8, 1), 3, width=4)
    latent = tf.repeat(tf.random.normal([1, 6]), 3, axis=0)
    images = generator((latent, tf.range(3)))
    assert np.ptp(images, axis=0).max() > 1e-3
    assert np.ptp(critic((images[:1] * tf.ones([3, 1, 1, 1]), tf.range(3)))) > 1e-3


def test_the_same_seed_gives_the_same_weights():
    inputs = (tf.ones([1, 64]), tf.constant([1]))
    images = [networks.Generator((8, 8, 1), 3, seed=s)(inputs).numpy() for s in (1, 1, 2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.any(images[0] != images[2])


def test_a_generator_is_copied_from_its_config():
    generator = networks.Generator((9, 10, 3), 3, latent_dim=5, width=2)
    copy = networks.Generator.from_config(generator.get_config())
    inputs = (tf.zeros([1, 5]), tf.constant([0]))
    assert copy(inputs).shape == generator(inputs).shape


@pytest.mark.parametrize(
    "layer",
    [tf.keras.layers.BatchNormalization, tf.keras.layers.experimental.SyncBatchNormalization],
)
def test_promise_7_a_layer_that_mixes_examples_is_refused_by_name(layer):
    class Mixing(networks.Critic):
        def __init__(self):
            super().__init__((8, 8, 1), 3, width=4)
            self._block = tf.keras.Sequential([layer(name="culprit")])

    with pytest.raises(ValueError, match="critic has layer 'culprit'.*mixes"):
        networks.refuse_mixing_layers(Mixing(), "critic")
    networks.refuse_mixing_layers(networks.Critic((8, 8, 1), 3), "critic")


def test_promise_7_a_layer_that_mixes_on_first_call_is_refused_by_measurement():
    class Sneaky(networks.Critic):
        def call(self, inputs, training=False):
            scores = super().call(inputs, training)
            return scores - tf.reduce_mean(scores)

    inputs = (tf.random.normal([3, 8, 8, 1]), tf.constant([0, 1, 2]))
    with pytest.raises(ValueError, match="critic 'critic' mixes"):
        networks.refuse_mixing(Sneaky((8, 8, 1), 3, width=4), inputs, "critic")
    networks.refuse_mixing(networks.Critic((8, 8, 1), 3, width=4), inputs, "critic")
