#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cost of a whole private critic step beside that of another revision of tfartgen, in one process.

    python tests/benchmarks/critic_step.py --against=25a7315

The other revision is taken from git into a temporary folder and imported beside this one. A step is what `fit` does with
a batch: fakes, per-example gradients, clip, noise, Adam. The two are timed in turns, and ratios are taken turn by
turn, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import _report

_report.quiet()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHAPE, CLASSES, RECORDS = (28, 28, 1), 10, 60_000
#: Critic, its width, loss, clipping, batch.
CASES = (
    ("pixels", 32, "hinge", "paired", 256),
    ("pixels", 64, "hinge", "paired", 256),
    ("pixels", 32, "wasserstein", "separate", 256),
    ("features", 32, "hinge", "paired", 1024),
)
BAR = 1.1


def imported(folder: pathlib.Path) -> dict:
    """The modules of the tfartgen in a folder, none of which stays in `sys.modules`."""
    _forget()
    sys.path.insert(0, str(folder))
    try:
        from tfartgen import dp_optimizer, feature_critic, gan, losses, networks

        if not pathlib.Path(gan.__file__).is_relative_to(folder):
            raise SystemExit(f"tfartgen was imported from {gan.__file__}, not from {folder}")
        return {
            m.__name__.split(".")[1]: m
            for m in (dp_optimizer, feature_critic, gan, losses, networks)
        }
    finally:
        sys.path.remove(str(folder))
        _forget()


def _forget():
    for name in [name for name in sys.modules if name.split(".")[0] == "tfartgen"]:
        del sys.modules[name]


def critic_step(modules, critic, width, loss, clipping, batch):
    networks = modules["networks"]
    network = networks.Critic if critic == "pixels" else modules["feature_critic"].FeatureCritic
    gan = modules["gan"].ArtGAN(
        networks.Generator(SHAPE, CLASSES, 64, 32, seed=1), network(SHAPE, CLASSES, width, seed=2)
    )
    gan.compile(
        modules["dp_optimizer"].DPAdam(1.0, 1.0, batch, learning_rate=1e-4),
        tf.keras.optimizers.legacy.Adam(1e-4),
        loss=modules["losses"].LOSSES[loss],
        clipping=clipping,
    )
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(256, size=(batch, *SHAPE)), tf.uint8)
    labels = tf.constant(rng.integers(CLASSES, size=batch), tf.int32)

    @tf.function
    def step():
        gan.train_step((images, labels), update_generator=False)
        return gan.critic_optimizer.iterations.read_value()

    return step


def seconds(step):
    start = time.perf_counter()
    step().numpy()
    return time.perf_counter() - start


def measure(ours, theirs, case, turns):
    steps = {"ours": critic_step(ours, *case), "theirs": critic_step(theirs, *case)}
    for step in steps.values():
        step()
        step()
    timed = [{name: seconds(step) for name, step in steps.items()} for _ in range(turns)]
    row = dict(zip(("critic", "width", "loss", "clipping", "batch"), case))
    for name in steps:
        row[f"{name}_ms"] = 1e3 * statistics.median(turn[name] for turn in timed)
    row["ratio"] = statistics.median(turn["ours"] / turn["theirs"] for turn in timed)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="25a7315", help="revision in this repository")
    parser.add_argument("--turns", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", REPOSITORY, "archive", arguments.against, "tfartgen"],
            check=True,
            capture_output=True,
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        theirs = imported(pathlib.Path(folder).resolve())
        ours = imported(REPOSITORY)
        rows = [measure(ours, theirs, case, arguments.turns) for case in CASES]
    for row in rows:
        print(row)
    results = {
        "against": arguments.against,
        "rows": rows,
        "bar": BAR,
        "met": all(row["ratio"] <= BAR for row in rows),
    }
    _report.write("critic_step", results)


if __name__ == "__main__":
    main()
