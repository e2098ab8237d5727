# SPDX-License-Identifier: Apache-2.0
"""The GAN: what a record can touch, the schedule of generator steps, several replicas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfartgen import gan as gan_module
from tfartgen import losses, networks, sampling
from tfartgen.data import Split
from tfartgen.dp_optimizer import DPAdam

SHAPE, CLASSES = (8, 8, 1), 3


def make_gan(loss="hinge", noise=0.0, clip=1.0, batch_size=8, **settings):
    gan = gan_module.ArtGAN(
        networks.Generator(SHAPE, CLASSES, latent_dim=4, width=2, seed=1),
        networks.Critic(SHAPE, CLASSES, width=2, seed=2),
        ema_decay=0.9,
    )
    gan.compile(
        DPAdam(clip, noise, batch_size, sub_batch_size=3),
        tf.keras.optimizers.legacy.Adam(1e-3),
        loss=losses.LOSSES[loss],
        generator_batch_size=6,
        **settings,
    )
    return gan


def make_split(count=40, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(count, *SHAPE)).astype(np.uint8)
    return Split.from_arrays(images, rng.integers(CLASSES, size=count).astype(np.int32))


def flat(tensors):
    return np.concatenate([np.ravel(tensor) for tensor in tensors])


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_promise_1_one_record_touches_one_loss_of_the_whole_critic_step(loss):
    """The fakes take part: a generator that mixed rows would let a record change the others' fakes."""
    clip = 0.8
    gan = make_gan(loss, clip=clip)
    images, labels = make_split(7).arrays()
    sums = []
    for count in (6, 7):  # the last record is the one added
        _, clipped = gan.critic_gradients(tf.constant(images[:count]), tf.constant(labels[:count]))
        sums.append(flat(clipped.gradients))
    change = np.linalg.norm(sums[1] - sums[0])
    assert 0.5 * clip < change <= clip * (1 + 1e-4)


def test_promise_2_the_critic_step_of_the_gan_has_the_noise_that_is_priced():
    """Two gradients of one batch at one step have the same latents, so they differ by their noise alone."""
    sigma, clip, expected = 1.5, 0.4, 8
    gan = make_gan(noise=sigma, clip=clip, batch_size=expected)
    batch = tuple(map(tf.constant, make_split(7).arrays()))
    draws = [flat([g for g, _ in gan.critic_gradients(*batch)[0]]) for _ in range(20)]
    differences = np.concatenate([a - b for a, b in zip(draws[::2], draws[1::2])])
    scale = np.sqrt(2) * sigma * clip / expected
    tails = {
        factor: stats.chi2.cdf(np.sum(differences**2) / (factor * scale) ** 2, differences.size)
        for factor in (2 / 3, 1, 3 / 2)
    }
    assert 1e-4 < tails[1] < 1 - 1e-4
    assert tails[2 / 3] > 1 - 1e-9 and tails[3 / 2] < 1e-9


def test_the_critic_step_leaves_the_generator_alone():
    gan = make_gan()
    before = [v.numpy() for v in gan.generator.variables + gan.average.variables]
    gan.train_step(tuple(map(tf.constant, make_split(5).arrays())), update_generator=False)
    after = gan.generator.variables + gan.average.variables
    for old, new in zip(before, after):
        np.testing.assert_array_equal(old, new)
    assert int(gan.critic_optimizer.iterations.numpy()) == 1
    assert int(gan.generator_optimizer.iterations.numpy()) == 0


def test_the_generator_step_sees_no_private_record():
    """Whatever the private batch, the same critic gives the same generator step."""
    weights = []
    for seed in (1, 2):
        gan = make_gan()
        gan.critic_optimizer.learning_rate = 0.0
        gan.train_step(tuple(map(tf.constant, make_split(5, seed).arrays())))
        weights.append(flat(gan.generator.get_weights()))
    np.testing.assert_array_equal(*weights)
    assert int(gan.generator_optimizer.iterations.numpy()) == 1


@pytest.mark.parametrize("each", [1, 3])
def test_fit_takes_one_generator_step_after_so_many_critic_steps(each):
    gan = make_gan(noise=0.1, schedule=gan_module.CriticSchedule(each))
    batches = sampling.PoissonSampler(40, 8).batches(make_split())
    gan.fit(batches, steps_per_epoch=7, verbose=0)
    assert int(gan.critic_optimizer.iterations.numpy()) == 7
    assert int(gan.generator_optimizer.iterations.numpy()) == 7 // each


def test_an_empty_batch_is_a_step_like_any_other():
    gan = make_gan(noise=1.0)
    before = flat(gan.critic.get_weights())
    empty = (tf.zeros([0, *SHAPE], tf.uint8), tf.zeros([0], tf.int32))
    logs = gan.train_step(empty, update_generator=False)
    after = flat(gan.critic.get_weights())
    assert np.all(np.isfinite(after)) and np.any(before != after)
    assert all(np.isfinite(value) for value in logs.values())


def test_the_average_follows_the_generator():
    gan = make_gan()
    start = flat(gan.average.get_weights())
    gan.train_step(tuple(map(tf.constant, make_split(5).arrays())))
    decay = 2.0 / 11.0  # of the first generator step: (1 + 1) / (10 + 1)
    expected = decay * start + (1 - decay) * flat(gan.generator.get_weights())
    np.testing.assert_allclose(flat(gan.average.get_weights()), expected, atol=1e-6)


def test_adaptive_schedule_grows_while_the_critic_is_fooled():
    schedule = gan_module.CriticSchedule(adaptive=True, maximum=20, decay=0.5)
    assert [schedule.following(n) for n in (1, 2, 5, 10, 20)] == [2, 5, 10, 20, 20]
    pace = gan_module.Pace(schedule)
    for accuracy, expected in ((1.0, 1), (0.5, 1), (0.4, 2), (1.0, 2)):
        pace.adapt(accuracy)
        assert pace.steps_each == expected
    assert [pace.advance() for _ in range(4)] == [False, True, False, True]
    fixed = gan_module.Pace(gan_module.CriticSchedule(3))
    fixed.adapt(0.0)
    assert fixed.steps_each == 3


def test_adaptive_schedule_needs_a_loss_with_a_boundary():
    with pytest.raises(ValueError, match="critic_steps=adaptive needs"):
        make_gan("wasserstein", schedule=gan_module.CriticSchedule(adaptive=True))


@pytest.mark.parametrize("role", ["generator", "critic"])
def test_promise_7_a_network_with_batch_normalisation_is_refused_by_name(role):
    generator = networks.Generator(SHAPE, CLASSES, latent_dim=4, width=2)
    critic = networks.Critic(SHAPE, CLASSES, width=2)
    culprit = {"generator": generator, "critic": critic}[role]
    culprit.extra = tf.keras.layers.BatchNormalization(name="culprit")
    with pytest.raises(ValueError, match=f"{role} has layer 'culprit'"):
        gan_module.ArtGAN(generator, critic)


def test_two_replicas_train_like_one(two_replicas):
    """Without noise, one batch in two stripes gives the critic of one device; copies stay equal."""
    images, labels = make_split(6).arrays()
    batch = tf.data.Dataset.from_tensors((images, labels)).repeat()
    critics = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            gan = make_gan(noise=0.0, clip=0.5)
        replicas = strategy.num_replicas_in_sync
        data = sampling.striped(batch, replicas)
        if replicas > 1:
            data = strategy.distribute_datasets_from_function(lambda _, data=data: data)
        # Latents differ by replica; with a zero output layer the fakes do not.
        for network in (gan.generator, gan.average):
            network.layers[-1].set_weights([0 * w for w in network.layers[-1].get_weights()])
        gan.generator_optimizer.learning_rate = 0.0
        gan.fit(data, steps_per_epoch=2, verbose=0)
        assert int(gan.critic_optimizer.iterations.numpy()) == 2
        critics.append(flat(gan.critic.get_weights()))
        for weight in gan.critic.weights + gan.average.weights:
            copies = strategy.experimental_local_results(weight)
            for copy in copies[1:]:
                np.testing.assert_array_equal(copies[0], copy)
    np.testing.assert_allclose(critics[0], critics[1], atol=1e-5)
