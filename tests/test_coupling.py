# SPDX-License-Identifier: Apache-2.0
"""What one record can change in a critic's step: given each record's latent and mixing weight, at most the clip norm.

Whichever record it is, the first, a middle one or the last; and latents and weights come from where the noise comes from.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tfartgen import dp_optimizer, losses, networks, noise
from tfartgen import gan as gan_module
from tfartgen.dp_optimizer import DPAdam
from tfartgen.feature_critic import FeatureCritic

SHAPE, CLASSES, LATENT = (8, 8, 1), 10, 4
CLIP = 0.7
BATCHES = (1, 2, 64, 359)


def make_gan(loss="hinge", critic=networks.Critic, **settings):
    gan = gan_module.ArtGAN(
        networks.Generator(SHAPE, CLASSES, latent_dim=LATENT, width=4, seed=1),
        critic(SHAPE, CLASSES, width=4, seed=2),
    )
    gan.compile(
        DPAdam(CLIP, 0.0, 359),
        tf.keras.optimizers.legacy.Adam(1e-3),
        loss=losses.LOSSES[loss],
        **settings,
    )
    return gan


def make_examples(count):
    digits = load_digits()
    rng = np.random.default_rng(count)
    return (
        np.rint(digits.images[:count, :, :, None] / 16 * 255).astype(np.uint8),
        digits.target[:count].astype(np.int32),
        rng.normal(size=(count, LATENT)).astype(np.float32),
        rng.random(count).astype(np.float32),
    )


def summing(gan):
    """The sum that a critic's step adds noise to, as a function of records, latents and mixing weights."""
    loss, prepare, in_closed_form = gan.critic_loss_gradients()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SHAPE], tf.uint8),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, LATENT], tf.float32),
            tf.TensorSpec([None], tf.float32),
        ]
    )
    def clipped_sum(*examples):
        clipped = gan.critic_optimizer.clipped_sum(
            loss, examples, gan.critic.trainable_variables, prepare, in_closed_form
        )
        return clipped.gradients, clipped.clipped

    def flat(examples):
        gradients, clipped = clipped_sum(*examples)
        return np.concatenate([np.ravel(g) for g in gradients]), float(clipped)

    return flat


@pytest.mark.parametrize("critic", [networks.Critic, FeatureCritic])
@pytest.mark.parametrize("clipping", gan_module.CLIPPINGS)
@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_promise_15_removing_any_record_changes_the_sum_by_at_most_the_clip_norm(
    loss, clipping, critic
):
    clipped_sum = summing(make_gan(loss, critic, clipping=clipping))
    largest = 0.0
    for count in BATCHES:
        examples = make_examples(count)
        whole, clipped = clipped_sum(examples)
        for position in sorted({0, count // 2, count - 1}):
            others = [np.delete(part, position, axis=0) for part in examples]
            change = np.linalg.norm(whole - clipped_sum(others)[0])
            assert change <= CLIP * (1 + 1e-5), (count, position, change / CLIP)
            largest = max(largest, change)
    assert clipped > 0 and largest > 0.9 * CLIP  # so that a sum of nothing would not pass


def captured(gan, images, labels, monkeypatch):
    """The latents and mixing weights that a critic's step gives its records."""
    seen = []
    take = gan.critic_optimizer.dp_gradients

    def dp_gradients(loss, examples, *rest):
        seen.extend([examples[2].numpy(), examples[3].numpy()])
        return take(loss, examples, *rest)

    monkeypatch.setattr(gan.critic_optimizer, "dp_gradients", dp_gradients)
    tf.keras.utils.set_random_seed(0)
    gan.critic_gradients(images, labels)
    return seen


def test_promise_15_two_steps_of_equal_seed_and_batch_have_other_latents_and_weights(monkeypatch):
    images, labels, _, _ = map(tf.constant, make_examples(5))
    steps = [captured(make_gan(latent_seed=3), images, labels, monkeypatch) for _ in range(3)]
    for part in range(2):
        assert len({values[part].tobytes() for values in steps}) == 3
        rows = np.concatenate([np.reshape(values[part], [5, -1]) for values in steps])
        assert len(np.unique(rows, axis=0)) == 15  # no two records share one


def test_promise_15_latents_and_weights_come_from_the_room_of_noise(monkeypatch):
    keys = []

    def recorded():
        keys.append(noise.operating_system_keys())
        return keys[-1]

    gan = make_gan()
    gan.critic_optimizer.keys = recorded
    images, labels, _, _ = map(tf.constant, make_examples(5))
    latents, mixes = captured(gan, images, labels, monkeypatch)
    np.testing.assert_array_equal(latents, noise.latents(5, LATENT, keys[0]))
    np.testing.assert_array_equal(mixes, noise.mixes(5, keys[1]))
    assert keys[0].numpy().tobytes() != keys[1].numpy().tobytes()


def test_promise_15_the_closed_form_of_the_pair_is_the_gradient_of_its_loss():
    """Weighted otherwise, the fake's part would be clipped all the same: only the gradient tells."""
    gan = make_gan(critic=FeatureCritic)
    loss, prepare, in_closed_form = gan.critic_loss_gradients()
    prepared = prepare(tuple(map(tf.constant, make_examples(6))))
    gradients, values = in_closed_form(prepared)
    variables = gan.critic.trainable_variables
    for row in range(6):
        example = tuple(part[row] for part in prepared)
        with tf.GradientTape() as tape:
            value = loss(example)
        for ours, tapes in zip(gradients, tape.gradient(value, variables)):
            np.testing.assert_allclose(ours[row], tapes, atol=1e-5, rtol=1e-4)
        assert float(values[row]) == pytest.approx(float(value), rel=1e-5)


# Arithmetic on a device


def rounded_to_ten_bits(values):
    """TensorFloat-32: float32 with 10 bits of mantissa, to nearest."""
    bits = tf.bitcast(values, tf.uint32)
    return tf.bitcast((bits + 0x1000) & 0xFFFFE000, tf.float32)


def test_promise_21_products_in_tensorfloat_do_not_stretch_the_clip(monkeypatch):
    """A GPU emulated: where TensorFloat-32 is on, products of matrices lose bits; about a private step it is off."""
    matmul = tf.matmul

    def on_a_gpu(a, b, **settings):
        if tf.config.experimental.tensor_float_32_execution_enabled():
            a, b = rounded_to_ten_bits(a), rounded_to_ten_bits(b)
        return matmul(a, b, **settings)

    monkeypatch.setattr(dp_optimizer.tf, "matmul", on_a_gpu)
    rng = np.random.default_rng(0)
    values = tf.constant(rng.normal(size=(3, 2000)) * (1 + 2**-11), tf.float32)
    weights = tf.Variable(tf.zeros([2000]))
    optimizer = DPAdam(CLIP, 0.0, 3)
    tf.config.experimental.enable_tensor_float_32_execution(
        True
    )  # somebody, after the optimizer was made
    sums = [
        optimizer.clipped_sum(
            lambda row: tf.reduce_sum(row * weights), values[:count], [weights]
        ).gradients[0]
        for count in (2, 3)
    ]
    assert np.linalg.norm(sums[1] - sums[0]) == pytest.approx(CLIP, rel=1e-5)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    gan = make_gan()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    images, labels, _, _ = make_examples(2)
    gan.fit(tf.data.Dataset.from_tensors((images, labels)), steps_per_epoch=1, verbose=0)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize("clip", [1e-6, 3e-4, 1.0, 77.0, 1e15])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1.5, 1e6])
def test_promise_21_the_clip_holds_from_the_smallest_clip_norm_up(clip, size):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 300))
    rows *= size * clip / np.linalg.norm(rows, axis=1, keepdims=True)
    (total,), norms = dp_optimizer.clip_and_sum([tf.constant(rows, tf.float32)], clip)
    expected = (rows * np.minimum(1, 1 / size)).sum(axis=0)
    assert np.linalg.norm(total - expected) < 1e-5 * clip
    np.testing.assert_allclose(norms, size * clip, rtol=1e-5)


def test_promise_21_smaller_clip_norms_are_refused():
    with pytest.raises(ValueError, match="l2_norm_clip must be at least 1e-06, got 9e-07"):
        DPAdam(9e-7, 1.0, 1)


def test_promise_21_a_million_records_more_or_less_one():
    """Sums in float32 alone lose a record here: of 100,000 clip norms the last digit is a tenth of one."""
    values = tf.fill([1_000_000, 1], 3.0)
    weights = tf.Variable([0.0])
    optimizer = DPAdam(0.1, 0.0, 1, sub_batch_size=4096)

    def gradients_of(rows):
        return [rows], rows[:, 0]

    @tf.function
    def clipped_sum(values):
        return optimizer.clipped_sum(
            tf.reduce_sum, values, [weights], example_gradients=gradients_of
        ).gradients[0]

    change = float(clipped_sum(values)[0] - clipped_sum(values[1:])[0])
    assert change == pytest.approx(0.1, rel=1e-5)
