# SPDX-License-Identifier: Apache-2.0
"""The promises of the critic's optimizer: sensitivity, noise, divisor; agreement with TensorFlow Privacy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import (
    VectorizedDPKerasAdamOptimizer,
)

from tfartgen import dp_optimizer, losses, networks

SHAPE, CLASSES = (8, 8, 1), 3


@pytest.fixture(name="critic", scope="module")
def _critic():
    critic = networks.Critic(SHAPE, CLASSES, width=4, seed=1)
    critic((tf.zeros([1, *SHAPE]), tf.zeros([1], tf.int32)))
    return critic


def make_batch(count, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    images = [scale * rng.uniform(-1, 1, (count, *SHAPE)).astype("float32") for _ in range(2)]
    labels = rng.integers(CLASSES, size=count).astype("int32")
    return (
        *map(tf.constant, images),
        tf.constant(labels),
        tf.constant(rng.random(count), tf.float32),
    )


def loss_of_one(critic, loss):
    def fn(example):
        real, fake, label, mix = (tensor[None] for tensor in example)
        return losses.paired_critic_loss(critic, loss, loss.penalty_weight, real, fake, label, mix)[
            0
        ]

    return fn


def flat(tensors):
    return np.concatenate([np.ravel(t) for t in tensors])


def sum_of(optimizer, critic, loss, batch):
    fn = tf.function(
        lambda *b: optimizer.clipped_sum(
            loss_of_one(critic, loss), b, critic.trainable_variables
        ).gradients,
        input_signature=[tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in batch],
    )
    return lambda b: flat(fn(*b))


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_promise_1_one_record_changes_the_clipped_sum_by_at_most_the_clip_norm(critic, name):
    clip = 0.7
    optimizer = dp_optimizer.DPAdam(clip, 0.0, 8, sub_batch_size=3)
    batch = make_batch(5, seed=2)
    clipped_sum = sum_of(optimizer, critic, losses.LOSSES[name], batch)
    reached = 0.0
    for scale in (1e-6, 1.0, 1e3, 1e18, 1e30, np.inf):
        record = make_batch(1, seed=3, scale=scale)
        neighbour = tuple(tf.concat([b, r], 0) for b, r in zip(batch, record))
        change = np.linalg.norm(clipped_sum(neighbour) - clipped_sum(batch))
        assert change <= clip * (1 + 1e-4), (scale, change)
        reached = max(reached, change)
    assert reached > 0.9 * clip  # the bound is met, so a clip that returned nothing would not pass


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_same_gradients_as_tensorflow_privacy_without_noise(critic, name):
    clip, count = 0.5, 7
    loss, batch = losses.LOSSES[name], make_batch(count, seed=4)
    variables = critic.trainable_variables
    reference = VectorizedDPKerasAdamOptimizer(clip, 0.0, unconnected_gradients_to_zero=True)
    with tf.GradientTape() as tape:
        vector = losses.paired_critic_loss(critic, loss, loss.penalty_weight, *batch)
    expected = [g for g, _ in reference._compute_gradients(vector, variables, tape=tape)]
    ours, clipped = dp_optimizer.DPAdam(clip, 0.0, count, sub_batch_size=3).dp_gradients(
        loss_of_one(critic, loss), batch, variables
    )
    assert float(clipped.clipped) > 0
    for (gradient, _), reference_gradient in zip(ours, expected):
        np.testing.assert_allclose(gradient, reference_gradient, atol=1e-5 * clip, rtol=1e-5)


def test_sub_batches_give_the_same_sum(critic):
    batch, variables = make_batch(10, seed=5), critic.trainable_variables
    sums = [
        flat(
            dp_optimizer.DPAdam(0.5, 0.0, 10, sub_batch_size=size)
            .clipped_sum(loss_of_one(critic, losses.LOSSES["hinge"]), batch, variables)
            .gradients
        )
        for size in (1, 4, 10, 64, None)
    ]
    for other in sums[1:]:
        np.testing.assert_allclose(sums[0], other, atol=1e-5)


def noise_p_value(samples, sigma):
    """Two-sided chi-squared p-value of zero-mean normal samples having standard deviation sigma."""
    statistic = np.sum(np.square(samples)) / sigma**2
    tail = stats.chi2.cdf(statistic, samples.size)
    return 2 * min(tail, 1 - tail)


def check_noise(samples, sigma):
    assert noise_p_value(samples, sigma) > 1e-4
    assert noise_p_value(samples, sigma * 2 / 3) < 1e-9
    assert noise_p_value(samples, sigma * 3 / 2) < 1e-9
    assert stats.kstest(samples, "norm", args=(0, sigma)).pvalue > 1e-4


@pytest.mark.parametrize("sub_batch_size", [1, 4, 64])
def test_promise_2_noise_is_sigma_times_clip_on_the_sum_once(sub_batch_size):
    sigma, clip, expected = 1.3, 0.5, 20
    weights = tf.Variable(tf.zeros([4000]))
    optimizer = dp_optimizer.DPAdam(clip, sigma, expected, sub_batch_size=sub_batch_size)
    gradients, _ = optimizer.dp_gradients(
        lambda x: 0.0 * x * tf.reduce_sum(weights), tf.zeros([9]), [weights]
    )
    check_noise(gradients[0][0].numpy() * expected, sigma * clip)


def test_promise_2_two_replicas_have_the_noise_of_one(two_replicas):
    sigma, clip, expected = 1.3, 0.5, 20
    strategy = two_replicas
    with strategy.scope():
        weights = tf.Variable(tf.zeros([4000]))
        optimizer = dp_optimizer.DPAdam(clip, sigma, expected, learning_rate=1.0)

    @tf.function
    def step():
        def replica():
            gradients, _ = optimizer.dp_gradients(
                lambda x: 0.0 * x * tf.reduce_sum(weights), tf.zeros([3]), [weights]
            )
            total = tf.distribute.get_replica_context().all_reduce("SUM", gradients[0][0])
            optimizer.apply_gradients(gradients)
            return total

        return strategy.run(replica)

    totals = strategy.experimental_local_results(step())
    np.testing.assert_array_equal(totals[0], totals[1])
    check_noise(totals[0].numpy() * expected, sigma * clip)
    values = strategy.experimental_local_results(weights)
    np.testing.assert_array_equal(values[0], values[1])


def test_promise_4_an_empty_batch_gives_a_finite_noisy_step(critic):
    optimizer = dp_optimizer.DPAdam(1.0, 1.0, 8)
    gradients, clipped = optimizer.dp_gradients(
        loss_of_one(critic, losses.LOSSES["wasserstein"]),
        make_batch(0, seed=6),
        critic.trainable_variables,
    )
    values = flat([g for g, _ in gradients])
    assert int(clipped.count) == 0 and np.all(np.isfinite(values)) and np.all(values != 0)


def test_promise_4_the_divisor_is_the_expected_batch_size(critic):
    optimizer = dp_optimizer.DPAdam(1.0, 0.0, 50)
    fn, batch = loss_of_one(critic, losses.LOSSES["hinge"]), make_batch(3, seed=7)
    gradients, clipped = optimizer.dp_gradients(fn, batch, critic.trainable_variables)
    np.testing.assert_allclose(
        flat([g for g, _ in gradients]) * 50, flat(clipped.gradients), rtol=1e-5, atol=1e-7
    )


def test_promise_10_no_seed_reaches_the_noise():
    weights = tf.Variable(tf.zeros([100]))
    draws = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(0)
        optimizer = dp_optimizer.DPAdam(1.0, 1.0, 1)

        @tf.function
        def step(optimizer=optimizer):
            pairs, _ = optimizer.dp_gradients(tf.square, tf.zeros([2]), [weights])
            return pairs[0][0]

        draws += [step().numpy(), step().numpy()]
    assert len({draw.tobytes() for draw in draws}) == 4


def test_minimize_is_refused():
    weights = tf.Variable([1.0])
    with pytest.raises(NotImplementedError, match="dp_gradients"):
        dp_optimizer.DPAdam(1.0, 1.0, 1).minimize(lambda: weights * 1.0, [weights])


def test_apply_gradients_needs_private_gradients():
    weights = tf.Variable([1.0])
    with pytest.raises(AssertionError, match="not differentially private"):
        dp_optimizer.DPAdam(1.0, 1.0, 1).apply_gradients([(tf.ones([1]), weights)])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0.0, 1.0, 1), "l2_norm_clip"),
        ((float("nan"), 1.0, 1), "l2_norm_clip"),
        ((9.99e-7, 1.0, 1), "l2_norm_clip must be at least 1e-06"),
        ((1.0, -0.1, 1), "noise_multiplier"),
        ((1.0, float("nan"), 1), "noise_multiplier"),
        ((1.0, 1.0, 0), "expected_batch_size"),
        ((1.0, 1.0, 1, 0), "sub_batch_size"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        dp_optimizer.DPAdam(*arguments)
