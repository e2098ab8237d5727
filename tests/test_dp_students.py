# SPDX-License-Identifier: Apache-2.0
"""DP-SGD students: priced as they ran, within their budget, and learning what noise leaves."""

from __future__ import annotations

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from data_samples import bright_or_dark

from tfartgen import accounting, data, dp_students, networks, student_networks, students
from tfartgen.dp_optimizer import DPAdam
from tfartgen.dp_students import DPStudentConfig
from tfartgen.networks import Initializers

layers = tf.keras.layers

CONFIG = DPStudentConfig(
    epsilon=3.0, delta=1e-5, batch_size=50, steps=40, architecture="logistic_regression"
)


@pytest.fixture(name="trained", scope="module")
def _trained():
    split = data.Split.from_arrays(*bright_or_dark(400, seed=0))
    return dp_students.train_dp_student(split, 2, CONFIG)


def test_a_student_learns_within_its_budget(trained):
    student, stretch = trained
    assert students.accuracy(student, *bright_or_dark(300, seed=1)) > 0.95
    assert accounting.epsilon([stretch], 1e-5) <= 3.0


def test_promise_5_the_price_is_of_the_steps_that_ran(trained):
    _, stretch = trained
    assert (stretch.steps, stretch.sampler, stretch.sampling_rate) == (40, "poisson", 50 / 400)
    outside = dp_accounting.pld.PLDAccountant()
    gaussian = dp_accounting.GaussianDpEvent(stretch.noise_multiplier)
    step = dp_accounting.PoissonSampledDpEvent(50 / 400, gaussian)
    outside.compose(dp_accounting.SelfComposedDpEvent(step, 40))
    assert outside.get_epsilon(1e-5) == pytest.approx(3.0, rel=3e-3)


def test_the_noise_that_ran_is_the_noise_that_is_priced(monkeypatch):
    made = []

    class Spy(dp_students.DPAdam):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append((self.l2_norm_clip, self.noise_multiplier, self.expected_batch_size))

    monkeypatch.setattr(dp_students, "DPAdam", Spy)
    split = data.Split.from_arrays(*bright_or_dark(100, seed=0))
    config = DPStudentConfig(2.0, 1e-5, 100, 3, "logistic_regression", clip_norm=0.5)
    _, stretch = dp_students.train_dp_student(split, 2, config)
    assert made == [(0.5, stretch.noise_multiplier, 100)]
    assert stretch.clip_norm == 0.5


def test_promise_10_the_seed_fixes_weights_and_never_the_noise():
    split = data.Split.from_arrays(*bright_or_dark(100, seed=0))
    config = DPStudentConfig(2.0, 1e-5, 100, 2, "logistic_regression", seed=5)
    weights = [dp_students.train_dp_student(split, 2, config)[0].get_weights()[0] for _ in "ab"]
    assert np.abs(weights[0] - weights[1]).max() > 1e-4


@pytest.mark.parametrize("architecture", ["logistic_regression", "mlp", "cnn"])
def test_every_architecture_trains_with_differential_privacy(architecture):
    split = data.Split.from_arrays(*bright_or_dark(40, seed=0))
    config = DPStudentConfig(5.0, 1e-5, 40, 2, architecture)
    student, stretch = dp_students.train_dp_student(split, 2, config)
    assert stretch.steps == 2
    assert student(tf.zeros([3, 8, 8, 1])).shape == (3, 2)


class MadeLate(layers.Layer):
    """Makes its layers when it first sees a shape, as Keras layers may."""

    def build(self, shape):
        self.inner = layers.BatchNormalization(name="culprit")
        super().build(shape)

    def call(self, inputs, training=False):
        return self.inner(inputs, training=training)


def normalised(**options):
    return layers.BatchNormalization(name="culprit", **options)


MIXING = {
    "in the body": normalised,
    "that learns nothing": lambda: normalised(trainable=False),
    "in a submodel of a submodel": lambda: tf.keras.Sequential(
        [tf.keras.Sequential([layers.Dense(3), normalised()])]
    ),
    "in a wrapper": lambda: tf.keras.Sequential(
        [layers.Reshape((8, 8)), layers.TimeDistributed(normalised()), layers.Flatten()]
    ),
    "made by the first call": MadeLate,
    "over replicas": lambda: layers.experimental.SyncBatchNormalization(name="culprit"),
}


@pytest.mark.parametrize("where", MIXING)
def test_promise_7_a_student_with_batch_normalisation_is_refused_by_name(monkeypatch, where):
    def network(num_classes, seed):
        body = [layers.Flatten(), MIXING[where](), layers.Dense(4)]
        return student_networks.Classifier(body, num_classes, Initializers(seed), "mlp")

    def priced(*arguments, **more):
        raise AssertionError("it was about to train")

    monkeypatch.setattr(dp_students, "calibrate_noise_multiplier", priced)
    monkeypatch.setitem(student_networks.NETWORKS, "mlp", network)
    split = data.Split.from_arrays(*bright_or_dark(40, seed=0))
    config = DPStudentConfig(3.0, 1e-5, 20, 2, "mlp")
    with pytest.raises(ValueError, match="student has layer 'culprit'.*mixes the examples"):
        dp_students.train_dp_student(split, 2, config)


class Centred(tf.keras.Model):
    """Mixes without a layer that says so: less the mean of the batch."""

    def __init__(self):
        super().__init__()
        self._hidden, self._logits = layers.Dense(5, activation="tanh"), layers.Dense(2)

    def call(self, inputs, training=False):
        hidden = self._hidden(layers.Flatten()(inputs))
        return self._logits(hidden - tf.reduce_mean(hidden, axis=0))


def clipped_sums(student, batches):
    """The clipped sum of a step of a student for each batch, as one vector."""
    seen = tf.Variable(tf.zeros([networks.num_weights(student)], tf.float64))

    class Watched(DPAdam):
        def dp_gradients(self, *args, **options):
            sums = self.clipped_sum(*args, **options).gradients
            seen.assign(tf.concat([tf.reshape(tf.cast(g, tf.float64), [-1]) for g in sums], 0))
            return super().dp_gradients(*args, **options)

    optimizer = Watched(0.5, 0.0, 4, learning_rate=0.0)
    spec = (tf.TensorSpec([None, 8, 8, 1]), tf.TensorSpec([None], tf.int32))
    step, found = dp_students._step(student, optimizer, spec), []
    for images, labels in batches:
        step(tf.constant(images, tf.float32), tf.constant(labels, tf.int32))
        found.append(seen.numpy())
    return found


@pytest.mark.parametrize("name", ["mlp", "mixing"])
def test_promise_7_a_record_changes_no_other_records_gradient_of_a_student(name):
    """A student sees one record at a time, so that even one that mixes has nothing to mix."""
    student = Centred() if name == "mixing" else student_networks.NETWORKS[name](2, 0)
    images, labels = bright_or_dark(5, seed=3)
    images = images / 127.5 - 1 + np.arange(5)[:, None, None, None]  # of very different sizes
    student(tf.constant(images[:1], tf.float32))
    kept = [np.arange(5) != out for out in range(5)]
    alone = [np.arange(5) == one for one in range(5)]
    batches = [(images[rows], labels[rows]) for rows in (np.arange(5) >= 0, *kept, *alone)]
    whole, *others = clipped_sums(student, batches)
    for less, one in zip(others[:5], others[5:]):
        np.testing.assert_allclose(whole - less, one, atol=1e-6)
        assert 0 < np.linalg.norm(whole - less) <= 0.5 * (1 + 1e-5)


def test_a_batch_larger_than_the_data_is_refused():
    split = data.Split.from_arrays(*bright_or_dark(40, seed=0))
    with pytest.raises(ValueError, match="batch_size 41 exceeds the 40 training records"):
        dp_students.train_dp_student(split, 2, DPStudentConfig(3.0, 1e-5, 41, 5))


@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon": float("nan")},
        {"delta": 0},
        {"steps": 0},
        {"batch_size": 2.5},
        {"clip_norm": 0},
        {"learning_rate": -1},
        {"architecture": "resnet"},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings):
    good = {"epsilon": 1.0, "delta": 1e-5, "batch_size": 5, "steps": 5}
    with pytest.raises(ValueError, match=next(iter(settings))):
        DPStudentConfig(**{**good, **settings})
