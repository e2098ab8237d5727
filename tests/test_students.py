# SPDX-License-Identifier: Apache-2.0
"""Students learn what can be learned, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from data_samples import bright_or_dark

from tfartgen import data, students


def test_a_student_learns_and_shuffled_labels_teach_nothing():
    config = students.StudentConfig(steps=60)
    images, labels = bright_or_dark(200, seed=0)
    test_images, test_labels = bright_or_dark(300, seed=1)
    student = students.train_student(images, labels, 2, config)
    assert students.accuracy(student, test_images, test_labels) > 0.97
    assert students.accuracy(student, test_images, 1 - test_labels) < 0.03
    shuffled = np.random.default_rng(2).permutation(labels)
    student = students.train_student(images, shuffled, 2, config)
    assert 0.2 < students.accuracy(student, test_images, test_labels) < 0.8


def test_the_same_seed_gives_the_same_student():
    images, labels = bright_or_dark(50, seed=0)
    logits = [
        students.train_student(
            images, labels, 2, students.StudentConfig(steps=5, seed=seed)
        ).predict(data.to_float(images[:4]), verbose=0)
        for seed in (3, 3, 4)
    ]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)
    assert np.abs(logits[0] - logits[2]).max() > 1e-3


def test_accuracy_counts():
    class Oracle:
        def predict(self, batches, verbose):
            del verbose
            return np.concatenate([np.asarray(b)[:, 0, 0, 0, None] * [1, -1] for b in batches])

    images = np.zeros((3, 8, 8, 1), np.uint8)
    images[0] = 255
    assert students.accuracy(Oracle(), images, np.array([0, 1, 0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("images, labels", [(0, 0), (3, 2)])
def test_images_without_labels_are_refused(images, labels):
    with pytest.raises(ValueError, match=f"{images} images, {labels} labels"):
        students.train_student(np.zeros((images, 8, 8, 1), np.uint8), np.zeros(labels), 2)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"batch_size": -1}, {"learning_rate": float("nan")}]
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        students.StudentConfig(**settings)
