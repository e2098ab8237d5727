# SPDX-License-Identifier: Apache-2.0
"""Matching: whose gradient it has, and that it brings a generator to the release."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfartgen.data import Split
from tfartgen.embedding import Embedding, MeanEmbedding, release
from tfartgen.gan import ArtGAN
from tfartgen.matching import Matching
from tfartgen.networks import Critic, Generator
from tfartgen.warm_start import WarmStart

SHAPE, CLASSES = (8, 8, 1), 2


def make_matching(means=None, memory=0.5):
    matching = Matching(Embedding(SHAPE, fourier_features=20), CLASSES, memory)
    if means is not None:
        matching.receive(MeanEmbedding(means.astype(np.float32), np.ones(CLASSES)))
    return matching


def test_the_gradient_is_the_earlier_fakes_residual_by_hand():
    rng = np.random.default_rng(0)
    matching = make_matching()
    means = rng.normal(size=matching.means.shape)
    matching.receive(MeanEmbedding(means.astype(np.float32), np.ones(CLASSES)))
    batches = [
        tf.constant(rng.uniform(-1, 1, size=(CLASSES * 3, *SHAPE)), tf.float32) for _ in range(3)
    ]
    vectors = [
        matching.embedding(batch).numpy().reshape(CLASSES, 3, -1).mean(1) for batch in batches
    ]
    for batch in batches[:2]:
        matching.loss(batch)
    with tf.GradientTape() as tape:
        tape.watch(batches[2])
        loss, discrepancy = matching.loss(batches[2])
    earlier = (0.25 * vectors[0] + 0.5 * vectors[1]) / 0.75  # memory 0.5, by its total weight
    residual = earlier - means
    np.testing.assert_allclose(loss, np.sum(residual * vectors[2]), rtol=1e-4)
    np.testing.assert_allclose(discrepancy, np.mean(np.sum(residual**2, 1)), rtol=1e-4)
    gradient = tape.gradient(loss, batches[2])
    with tf.GradientTape() as tape:
        tape.watch(batches[2])
        rows = tf.reshape(matching.embedding(batches[2]), [CLASSES, 3, -1])
        expected = tf.reduce_sum(rows * tf.constant(residual[:, None], tf.float32)) / 3
    np.testing.assert_allclose(gradient, tape.gradient(expected, batches[2]), atol=1e-5)


def test_the_first_batch_is_compared_with_nothing():
    matching = make_matching(np.full((CLASSES, Embedding(SHAPE, 20).dim), 0.1))
    fakes = tf.zeros([CLASSES * 2, *SHAPE])
    loss, _ = matching.loss(fakes)
    vectors = matching.embedding(fakes).numpy()
    np.testing.assert_allclose(
        loss, -0.1 * vectors.reshape(CLASSES, 2, -1).mean(1).sum(), rtol=1e-4
    )


def test_labels_are_at_least_two_of_each_class_in_order():
    matching = make_matching()
    assert matching.labels(7).numpy().tolist() == [0, 0, 0, 1, 1, 1]
    assert matching.labels(1).numpy().tolist() == [0, 0, 1, 1]


def make_gan():
    return ArtGAN(
        Generator(SHAPE, CLASSES, latent_dim=4, width=8, seed=1),
        Critic(SHAPE, CLASSES, width=2, seed=2),
        ema_decay=0.9,
    )


def bars(label, count, seed):
    """Images of class 0 have a bright left half, of class 1 a bright upper half; brightness varies."""
    images = np.zeros((count, *SHAPE))
    part = (slice(None), slice(None), slice(4)) if label == 0 else (slice(None), slice(4))
    images[part] = 1.0
    brightness = np.random.default_rng(seed).integers(120, 256, size=(count, 1, 1, 1))
    return (images * brightness).astype(np.uint8)


def test_a_generator_learns_the_classes_from_their_mean_embedding():
    images = np.concatenate([bars(0, 40, 0), bars(1, 40, 1)])
    split = Split.from_arrays(images, np.repeat([0, 1], 40))
    gan, matching = make_gan(), make_matching()
    matching.receive(release(matching.embedding, split, CLASSES, 0.05))
    stage = WarmStart(gan, matching, steps=150, learning_rate=5e-3, batch_size=16)
    counter = tf.data.Dataset.range(10**6).batch(2)
    critic = [w.numpy() for w in gan.critic.weights]
    first = stage.fit(counter, steps_per_epoch=10, verbose=0).history["discrepancy"][0]
    last = stage.fit(counter, steps_per_epoch=140, verbose=0).history["discrepancy"][0]
    assert last < 0.5 * first
    assert stage.steps_taken == int(gan.generator_steps.numpy()) == 150
    fakes = gan.average(
        (tf.random.stateless_normal([8, 4], [0, 1]), tf.constant([0, 1] * 4))
    ).numpy()
    left, upper = fakes[:, 5:, :3].mean((1, 2, 3)), fakes[:, :3, 5:].mean((1, 2, 3))
    assert np.all((left > upper) == (np.arange(8) % 2 == 0))
    for before, after in zip(critic, gan.critic.weights):
        np.testing.assert_array_equal(before, after)


def test_two_replicas_match_like_one(two_replicas):
    """Each takes half a batch; the moving averages they share are the mean of both."""
    averages = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            gan = make_gan()
            matching = make_matching()
            matching.receive(MeanEmbedding(np.full(matching.means.shape, 0.05, np.float32), None))
            stage = WarmStart(gan, matching, steps=4, learning_rate=1e-3, batch_size=400)
        counter = tf.data.Dataset.range(100).batch(2)
        stage.fit(strategy.experimental_distribute_dataset(counter), steps_per_epoch=4, verbose=0)
        assert stage.steps_taken == 4
        averages.append(np.concatenate([np.ravel(w) for w in gan.generator.get_weights()]))
        for weight in gan.generator.weights + gan.average.weights:
            copies = strategy.experimental_local_results(weight)
            for copy in copies[1:]:
                np.testing.assert_array_equal(copies[0], copy)
    start = np.concatenate([np.ravel(w) for w in make_gan().generator.get_weights()])
    moves = [average - start for average in averages]
    cosine = np.dot(*moves) / np.prod([np.linalg.norm(move) for move in moves])
    assert cosine > 0.9
