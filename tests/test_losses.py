# SPDX-License-Identifier: Apache-2.0
"""Losses against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import losses


def test_critic_losses_by_hand():
    real, fake = tf.constant([2.0, 0.5]), tf.constant([-3.0, 0.25])
    np.testing.assert_allclose(losses.wasserstein_real(real), [-2.0, -0.5])
    np.testing.assert_allclose(losses.wasserstein_fake(fake), [-3.0, 0.25])
    np.testing.assert_allclose(losses.hinge_real(real), [0.0, 0.5])
    np.testing.assert_allclose(losses.hinge_fake(fake), [0.0, 1.25])
    np.testing.assert_allclose(
        losses.logistic_real(real), np.log1p(np.exp([-2.0, -0.5])), rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.logistic_fake(fake), np.log1p(np.exp([-3.0, 0.25])), rtol=1e-6
    )


def test_generator_losses_by_hand():
    fake = tf.constant([-3.0, 0.25])
    np.testing.assert_allclose(losses.negative_score(fake), [3.0, -0.25])
    np.testing.assert_allclose(
        losses.non_saturating_generator(fake), np.log1p(np.exp([3.0, -0.25])), rtol=1e-6
    )


def test_gradient_penalty_by_hand_and_finite_at_zero():
    gradient = np.zeros((2, 2, 2, 1), np.float32)
    gradient[0, 0, :, 0] = 3.0, 4.0  # norm 5, penalty 16
    gradient = tf.constant(gradient)
    with tf.GradientTape() as tape:
        tape.watch(gradient)
        penalty = losses.gradient_penalty(gradient)
    np.testing.assert_allclose(penalty, [16.0, 1.0], rtol=1e-5)
    assert np.all(np.isfinite(tape.gradient(penalty, gradient)))


def linear_critic(weights):
    """C(x, y) = <w_y, x>, whose image gradient is w_y."""
    return lambda inputs: tf.einsum("bhwc,bhwc->b", inputs[0], tf.gather(weights, inputs[1]))


@pytest.mark.parametrize("penalty_weight", [0.0, 10.0])
def test_paired_loss_of_a_linear_critic_by_hand(penalty_weight):
    weights = tf.reshape(tf.constant([3.0, 4.0, 0.0, 1.0]), [2, 1, 2, 1])  # norms 5 and 1
    real = tf.reshape(tf.constant([1.0, 1.0, 2.0, 2.0]), [2, 1, 2, 1])
    value = losses.paired_critic_loss(
        linear_critic(weights),
        losses.LOSSES["wasserstein"],
        penalty_weight,
        real,
        tf.zeros_like(real),
        tf.constant([0, 1]),
        tf.constant([0.3, 0.9]),
    )
    np.testing.assert_allclose(value, [-7.0 + penalty_weight * 16.0, -2.0], rtol=1e-5)


def test_only_the_wasserstein_game_has_a_penalty_and_no_boundary_by_default():
    assert {name: loss.penalty_weight for name, loss in losses.LOSSES.items()} == {
        "wasserstein": 10.0,
        "hinge": 0.0,
        "non_saturating": 0.0,
    }
    assert not losses.LOSSES["wasserstein"].zero_is_boundary


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_the_loss_of_a_pair_is_that_of_its_record_and_that_of_its_fake(loss):
    game = losses.LOSSES[loss]
    critic = linear_critic(tf.reshape(tf.constant([0.3, 0.4, 0.1, -0.2]), [2, 1, 2, 1]))
    rng = np.random.default_rng(0)
    real, fake = (tf.constant(rng.normal(size=(2, 1, 2, 1)), tf.float32) for _ in range(2))
    rest = (real, fake, tf.constant([0, 1]), tf.constant([0.3, 0.9]))
    pair = losses.paired_critic_loss(critic, game, 2.0, *rest)
    record = losses.real_critic_loss(critic, game, 2.0, *rest)
    np.testing.assert_allclose(pair, record + game.fake(critic((fake, rest[2]))), rtol=1e-5)
    assert np.all(pair != losses.real_critic_loss(critic, game, 0.0, *rest))
