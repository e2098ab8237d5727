#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Poisson sampling costs beside shuffled batching, as a share of a critic step, at 60,000 records.

python tests/benchmarks/sampler.py

A training loop takes batches from each sampler in turns and does one private critic step with each; the time
is that of the loop, so that what runs beside the step counts only where it delays it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import _report

_report.quiet()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from tfartgen import dp_optimizer, losses, networks, sampling  # noqa: E402
from tfartgen.data import Split, to_float  # noqa: E402

SHAPE, CLASSES, RECORDS, BATCH = (28, 28, 1), 10, 60_000, 64
BARS = {"extra_share_of_a_step": 0.1}


def critic_step():
    """A private critic step on a batch of any size, fakes given."""
    critic = networks.Critic(SHAPE, CLASSES, seed=0)
    critic((tf.zeros([1, *SHAPE]), tf.zeros([1], tf.int32)))
    optimizer = dp_optimizer.DPAdam(1.0, 1.0, BATCH, learning_rate=1e-4)
    hinge = losses.LOSSES["hinge"]

    def loss_of_one(example):
        image, label = (tensor[None] for tensor in example)
        return losses.paired_critic_loss(critic, hinge, 0.0, image, -image, label, None)[0]

    @tf.function
    def step(iterator):
        images, labels = next(iterator)
        gradients, _ = optimizer.dp_gradients(
            loss_of_one, (to_float(images), labels), critic.trainable_variables
        )
        optimizer.apply_gradients(gradients)
        return tf.shape(images)[0]

    return step


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    flags = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(RECORDS, *SHAPE), dtype=np.uint8)
    split = Split.from_arrays(images, rng.integers(CLASSES, size=RECORDS).astype(np.int32))
    samplers = {
        "poisson": sampling.PoissonSampler(RECORDS, BATCH),
        "shuffle": sampling.ShuffleSampler(RECORDS, BATCH, buffer_size=RECORDS),
    }
    step = critic_step()
    iterators = {name: iter(sampler.batches(split)) for name, sampler in samplers.items()}

    def milliseconds(name):
        start = time.perf_counter()
        records = [int(step(iterators[name])) for _ in range(flags.steps)]
        return 1e3 * (time.perf_counter() - start) / max(1, sum(records)) * BATCH

    for name in iterators:
        milliseconds(name)
    turns = [{name: milliseconds(name) for name in iterators} for _ in range(flags.turns)]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in iterators}
    extra = statistics.median(turn["poisson"] / turn["shuffle"] for turn in turns) - 1.0
    _report.print_table(
        ("sampler", "ms per critic step of 64"),
        [(name, f"{value:.2f}") for name, value in medians.items()],
    )
    print(f"Poisson costs {extra:+.1%} of a step; bar: at most {BARS['extra_share_of_a_step']:.0%}")
    _report.write("sampler", {"bars": BARS, "ms_per_step": medians, "extra_share": extra})


if __name__ == "__main__":
    main()
