#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cost of a private critic step beside the plain step and beside TensorFlow Privacy's own, in one process.

    python tests/benchmarks/dp_step.py

A step is: loss of a batch of 28 x 28 images paired with given fakes, gradients, Adam. The ways are timed in
turns, and ratios are taken turn by turn, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time

import _report

_report.quiet()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import (  # noqa: E402
    VectorizedDPKerasAdamOptimizer,
)

from tfartgen import dp_optimizer, losses, networks  # noqa: E402

SHAPE, CLASSES = (28, 28, 1), 10
BATCHES = (64, 256, 1024)
BARS = {"times_plain_at_256": 2.5, "times_faster_than_tf_privacy_at_64": 15.0}


def make_batch(count):
    rng = np.random.default_rng(0)
    real, fake = (tf.constant(rng.uniform(-1, 1, (count, *SHAPE)), tf.float32) for _ in range(2))
    label = tf.constant(np.arange(count) % CLASSES, tf.int32)
    return real, fake, label, tf.constant(rng.random(count), tf.float32)


def batch_loss(critic, loss, batch):
    return losses.paired_critic_loss(critic, loss, loss.penalty_weight, *batch)


def plain_step(critic, loss, batch):
    optimizer = tf.keras.optimizers.legacy.Adam(1e-4)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(batch_loss(critic, loss, batch))
        variables = critic.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return optimizer.iterations.read_value()

    return step


def our_step(critic, loss, batch):
    optimizer = dp_optimizer.DPAdam(1.0, 1.0, len(batch[0]), learning_rate=1e-4)

    def loss_of_one(example):
        return batch_loss(critic, loss, [tensor[None] for tensor in example])[0]

    @tf.function
    def step():
        gradients, _ = optimizer.dp_gradients(loss_of_one, batch, critic.trainable_variables)
        optimizer.apply_gradients(gradients)
        return optimizer.iterations.read_value()

    return step


def tf_privacy_step(critic, loss, batch):
    optimizer = VectorizedDPKerasAdamOptimizer(
        1.0, 1.0, unconnected_gradients_to_zero=True, learning_rate=1e-4
    )

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = batch_loss(critic, loss, batch)
        optimizer.minimize(value, critic.trainable_variables, tape=tape)
        return optimizer.iterations.read_value()

    return step


def seconds(step):
    start = time.perf_counter()
    step().numpy()
    return time.perf_counter() - start


def measure(width, loss, count, turns):
    """Median milliseconds of each way and median ratio to the plain step."""
    critic = networks.Critic(SHAPE, CLASSES, width=width, seed=0)
    batch = make_batch(count)
    critic((batch[0][:1], batch[2][:1]))
    steps = {"plain": plain_step(critic, loss, batch), "ours": our_step(critic, loss, batch)}
    if count == BATCHES[0]:
        steps["tf_privacy"] = tf_privacy_step(critic, loss, batch)
    for step in steps.values():
        step()
        step()
    timed = [{way: seconds(step) for way, step in steps.items()} for _ in range(turns)]
    row = {"weights": critic.count_params(), "loss": loss.name, "batch": count}
    for way in steps:
        row[f"{way}_ms"] = 1e3 * statistics.median(turn[way] for turn in timed)
    row["ours_to_plain"] = statistics.median(turn["ours"] / turn["plain"] for turn in timed)
    if "tf_privacy" in steps:
        row["tf_privacy_to_ours"] = statistics.median(t["tf_privacy"] / t["ours"] for t in timed)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    rows = [
        measure(width, losses.LOSSES[name], count, turns)
        for width in (32, 64)
        for name in ("hinge", "wasserstein")
        for count in BATCHES
    ]
    columns = (
        "weights",
        "loss",
        "batch",
        "plain_ms",
        "ours_ms",
        "tf_privacy_ms",
        "ours_to_plain",
        "tf_privacy_to_ours",
    )
    shown = lambda v: f"{v:.2f}" if isinstance(v, float) else v  # noqa: E731
    _report.print_table(
        ("weights", "loss", "batch", "plain ms", "ours ms", "TFP ms", "ours/plain", "TFP/ours"),
        [[shown(row.get(column, "-")) for column in columns] for row in rows],
    )
    _report.write("dp_step", {"bars": BARS, "rows": rows})


if __name__ == "__main__":
    main()
