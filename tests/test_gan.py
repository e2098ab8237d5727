# SPDX-License-Identifier: Apache-2.0
"""The GAN: what a record can touch, the schedule of generator steps, several replicas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfartgen import gan as gan_module
from tfartgen import losses, networks, noise, sampling
from tfartgen.data import Split, to_float
from tfartgen.dp_optimizer import DPAdam
from tfartgen.embedding import Embedding, MeanEmbedding
from tfartgen.feature_critic import FeatureCritic
from tfartgen.matching import Matching
from tfartgen.schedule import CriticSchedule, Pace

SHAPE, CLASSES = (8, 8, 1), 3


def make_gan(loss="hinge", sigma=0.0, clip=1.0, batch_size=8, critic=networks.Critic, **settings):
    gan = gan_module.ArtGAN(
        networks.Generator(SHAPE, CLASSES, latent_dim=4, width=2, seed=1),
        critic(SHAPE, CLASSES, width=2, seed=2),
        ema_decay=0.9,
    )
    gan.compile(
        DPAdam(clip, sigma, batch_size, sub_batch_size=3),
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


def same_key():
    return tf.constant([1, 2], tf.int64)


def flat(tensors):
    return np.concatenate([np.ravel(tensor) for tensor in tensors])


@pytest.mark.parametrize("critic", [networks.Critic, FeatureCritic])
@pytest.mark.parametrize("clipping", gan_module.CLIPPINGS)
@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_promise_1_one_record_touches_one_loss_of_the_whole_critic_step(loss, clipping, critic):
    """The fakes take part: a generator that mixed rows would let a record change the others' fakes.

    Every other record keeps its latent and its mixing weight, wherever the one that comes or goes has its place.
    """
    clip, key = 0.4, same_key()
    gan = make_gan(loss, clip=clip, critic=critic, clipping=clipping)
    split = tuple(map(tf.constant, make_split(7).arrays()))
    examples = (*split, noise.latents(7, 4, key), noise.mixes(7, key))
    loss_fn, *functions = gan.critic_loss_gradients()

    def sum_without(left_out):
        rows = [row for row in range(7) if row != left_out]
        kept = tuple(tf.gather(values, rows) for values in examples)
        variables = gan.critic.trainable_variables
        return flat(
            gan.critic_optimizer.clipped_sum(loss_fn, kept, variables, *functions).gradients
        )

    whole = sum_without(None)
    assert whole.dtype == np.float64
    change = np.linalg.norm(whole - sum_without(3))  # any other: tests/test_coupling.py
    assert 0.5 * clip < change <= clip * (1 + 1e-5)
    # That is the sum which a critic step adds its noise to.
    gan.critic_optimizer.keys = same_key
    np.testing.assert_array_equal(flat(gan.critic_gradients(*split)[1].gradients), whole)


@pytest.mark.parametrize("critic", [networks.Critic, FeatureCritic])
@pytest.mark.parametrize("clipping", gan_module.CLIPPINGS)
def test_promise_2_the_critic_step_of_the_gan_has_the_noise_that_is_priced(clipping, critic):
    """With latents and labels of fakes from one key, two gradients of a batch differ by their noise alone."""
    sigma, clip, expected = 1.5, 0.4, 8
    gan = make_gan(sigma=sigma, clip=clip, batch_size=expected, critic=critic, clipping=clipping)
    gan.critic_optimizer.keys = same_key  # of all but the noise, which keeps the operating system's
    batch = tuple(map(tf.constant, make_split(7).arrays()))
    draw = tf.function(lambda: [g for g, _ in gan.critic_gradients(*batch)[0]])
    draws = [flat(draw()) for _ in range(20)]
    differences = np.concatenate([a - b for a, b in zip(draws[::2], draws[1::2])])
    scale = np.sqrt(2) * sigma * clip / expected
    tails = {
        factor: stats.chi2.cdf(np.sum(differences**2) / (factor * scale) ** 2, differences.size)
        for factor in (2 / 3, 1, 3 / 2)
    }
    assert 1e-4 < tails[1] < 1 - 1e-4
    assert tails[2 / 3] > 1 - 1e-9 and tails[3 / 2] < 1e-9


def test_separate_clipping_draws_its_fakes_without_looking_at_the_records():
    """Other records, and more of them, change the gradient by their own clipped sum and by nothing else."""
    clip, expected = 0.4, 8
    gan = make_gan(clip=clip, batch_size=expected, clipping="separate")
    gan.critic_optimizer.keys = same_key
    shares = []
    for count, seed in ((7, 0), (3, 1)):
        batch = tuple(map(tf.constant, make_split(count, seed).arrays()))
        gradients, clipped = gan.critic_gradients(*batch)
        shares.append(flat([g for g, _ in gradients]) - flat(clipped.gradients) / expected)
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-6)
    assert 0 < np.linalg.norm(shares[0]) <= clip * (1 + 1e-4)


@pytest.mark.parametrize("part", ["real", "fake"])
@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_gradients_of_the_feature_critic_in_closed_form_are_those_of_the_tape(loss, part):
    critic = FeatureCritic((14, 14, 3), CLASSES, width=5, seed=3)
    rng = np.random.default_rng(1)
    images = to_float(tf.constant(rng.integers(256, size=(6, 14, 14, 3)), tf.uint8))
    labels = tf.constant([0, 1, 2, 2, 1, 0])
    loss_of = getattr(losses.LOSSES[loss], part)
    critic((images, labels))
    gradients, values = critic.example_gradients(images, labels, loss_of)
    for row in range(6):
        with tf.GradientTape() as tape:
            value = loss_of(critic((images[row : row + 1], labels[row : row + 1])))
        expected = tape.gradient(value, critic.trainable_variables)
        np.testing.assert_allclose(values[row], value[0], atol=1e-5)
        for gradient, reference in zip(gradients, expected):
            reference = tf.convert_to_tensor(reference)
            np.testing.assert_allclose(gradient[row], reference, atol=1e-4, rtol=1e-4)
    assert all(np.any(g != 0.0) for g in gradients)


def test_a_release_to_match_takes_part_in_the_generator_step():
    """With critic and release alike, only a generator that looks at the release moves differently."""
    steps = []
    for value in (0.0, 1.0):
        matching = Matching(Embedding(SHAPE, fourier_features=5), CLASSES)
        matching.receive(MeanEmbedding(np.full(matching.means.shape, value, np.float32), None))
        gan = make_gan(matching=matching)
        gan.critic_optimizer.learning_rate = 0.0
        gan.train_step(tuple(map(tf.constant, make_split(5).arrays())))
        steps.append(flat(gan.generator.get_weights()))
    assert np.abs(steps[0] - steps[1]).max() > 1e-4


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
    gan = make_gan(sigma=0.1, schedule=CriticSchedule(each))
    batches = sampling.PoissonSampler(40, 8).batches(make_split())
    gan.fit(batches, steps_per_epoch=7, verbose=0)
    assert int(gan.critic_optimizer.iterations.numpy()) == 7
    assert int(gan.generator_optimizer.iterations.numpy()) == 7 // each


def test_an_empty_batch_is_a_step_like_any_other():
    gan = make_gan(sigma=1.0)
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
    schedule = CriticSchedule(adaptive=True, maximum=20, decay=0.5)
    assert [schedule.following(n) for n in (1, 2, 5, 10, 20)] == [2, 5, 10, 20, 20]
    pace = Pace(schedule)
    for accuracy, expected in ((1.0, 1), (0.5, 1), (0.4, 2), (1.0, 2)):
        pace.adapt(accuracy)
        assert pace.steps_each == expected
    assert [pace.advance() for _ in range(4)] == [False, True, False, True]
    fixed = Pace(CriticSchedule(3))
    fixed.adapt(0.0)
    assert fixed.steps_each == 3


def test_adaptive_schedule_needs_a_loss_with_a_boundary():
    with pytest.raises(ValueError, match="critic_steps=adaptive needs"):
        make_gan("wasserstein", schedule=CriticSchedule(adaptive=True))


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
            gan = make_gan(sigma=0.0, clip=0.5)
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


@pytest.mark.parametrize("role", ["generator", "critic"])
@pytest.mark.parametrize("when", [False, True])
def test_promise_7_a_network_that_mixes_without_a_layer_that_says_so_is_refused(role, when):
    """By measurement, in training and out of it."""

    def mixing(base):
        class Mixing(base):
            def call(self, inputs, training=False):
                found = super().call(inputs, training)
                return found - tf.reduce_mean(found, axis=0) if bool(training) == when else found

        return Mixing

    kinds = {"generator": networks.Generator, "critic": networks.Critic}
    kinds[role] = mixing(kinds[role])
    generator = kinds["generator"](SHAPE, CLASSES, latent_dim=4, width=2)
    critic = kinds["critic"](SHAPE, CLASSES, width=2)
    with pytest.raises(ValueError, match=f"{role} .* mixes the examples of a batch"):
        gan_module.ArtGAN(generator, critic)
