# SPDX-License-Identifier: Apache-2.0
"""DP-SGD students: priced as they ran, within their budget, and learning what noise leaves."""

from __future__ import annotations

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from data_samples import bright_or_dark

from tfartgen import accounting, data, dp_students, students
from tfartgen.dp_students import DPStudentConfig

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
