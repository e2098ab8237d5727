# SPDX-License-Identifier: Apache-2.0
"""Student networks: shapes, seeds, and no layer that mixes examples."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import networks, student_networks


@pytest.mark.parametrize("name", sorted(student_networks.NETWORKS))
@pytest.mark.parametrize("shape", [(8, 8, 1), (13, 17, 3)])
def test_logits_are_linear_in_the_features(name, shape):
    network = student_networks.NETWORKS[name](5, 0)
    images = tf.random.stateless_uniform([3, *shape], [0, 0], -1.0, 1.0)
    logits, features = network(images).numpy(), network.features(images).numpy()
    kernel, bias = network.get_weights()[-2:]
    assert logits.shape == (3, 5)
    np.testing.assert_allclose(logits, features @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("name", sorted(student_networks.NETWORKS))
def test_seeds_fix_the_weights_and_none_does_not(name):
    images = tf.ones([1, 8, 8, 1])
    logits = [student_networks.NETWORKS[name](4, seed)(images).numpy() for seed in (1, 1, 2, None)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[0] - logits[2]).max() > 1e-4
    assert np.abs(logits[0] - logits[3]).max() > 1e-4


@pytest.mark.parametrize("name", sorted(student_networks.NETWORKS))
def test_promise_7_no_student_mixes_examples(name):
    network = student_networks.NETWORKS[name](4, 0)
    images = tf.random.stateless_uniform([4, 8, 8, 1], [0, 0])
    together = network(images).numpy()
    networks.refuse_mixing_layers(network, name)
    for i in range(4):
        np.testing.assert_allclose(network(images[i : i + 1]).numpy()[0], together[i], atol=1e-5)
