# SPDX-License-Identifier: Apache-2.0
"""Train with `bin/train`, draw from the SavedModel, train students, test them on real held-out images."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time

import dp_accounting
import numpy as np
import tensorflow as tf

from tfartgen import students

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def run_train(work, *arguments):
    """Runs `bin/train` in a folder, its output on this terminal; wall seconds, start-up included."""
    work.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    command = [sys.executable, str(REPOSITORY / "bin" / "train"), *arguments]
    subprocess.run(command, cwd=work, check=True)
    return time.monotonic() - start


def newest_version(models):
    """Folder of the highest version of a model."""
    return max(models.iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1)


def draw(version, count, num_classes):
    """Images with labels 0, 1, ..., 0, 1, ... from the `seeded` signature of a SavedModel."""
    seeded = tf.saved_model.load(str(version)).signatures["seeded"]
    labels = (np.arange(count) % num_classes).astype(np.int32)
    seeds = np.arange(count, dtype=np.int64)
    images = [
        seeded(label=tf.constant(labels[i : i + 512]), seed=tf.constant(seeds[i : i + 512]))[
            "image"
        ]
        for i in range(0, count, 512)
    ]
    return np.concatenate(images), labels


def student_accuracies(images, labels, held_out, num_classes, seeds):
    """Held-out accuracy of one student per seed."""
    accuracies = []
    for seed in seeds:
        config = students.StudentConfig(seed=seed)
        student = students.train_student(images, labels, num_classes, config)
        accuracies.append(students.accuracy(student, *held_out))
    return accuracies


def outside_epsilon(run_dir, delta):
    """Epsilon of a run's ledger by dp-accounting alone, none of our code between."""
    accountant = dp_accounting.pld.PLDAccountant()
    for line in (run_dir / "ledger.jsonl").read_text(encoding="utf-8").splitlines():
        ran = json.loads(line)
        assert ran["sampler"] == "poisson", ran
        gaussian = dp_accounting.GaussianDpEvent(ran["noise_multiplier"])
        step = dp_accounting.PoissonSampledDpEvent(ran["sampling_rate"], gaussian)
        accountant.compose(dp_accounting.SelfComposedDpEvent(step, ran["steps"]))
    return accountant.get_epsilon(delta)


def summary(accuracies):
    """Mean and range, for a table."""
    return f"{np.mean(accuracies):.4f} ({min(accuracies):.4f} to {max(accuracies):.4f})"
