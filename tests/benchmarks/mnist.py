#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`bin/train --dataset=mnist`: training time, epsilon by an accountant outside, and a student of the release.

python tests/benchmarks/mnist.py --data_dir=DIR                # small noise
python tests/benchmarks/mnist.py --data_dir=DIR --epsilon=10

With --work the run's folder is kept, so that a stopped measurement goes on; its time then counts from there.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

import _report

_report.quiet()

import _study  # noqa: E402

from tfartgen import data  # noqa: E402

BARS = {
    "mnist": {"minutes": 30.0, "student_accuracy": 0.95},
    "mnist_eps1": {"minutes": 60.0, "epsilon": 1.0, "student_accuracy": 0.924},
    "mnist_eps3": {"minutes": 60.0, "epsilon": 3.0, "student_accuracy": 0.935},
    "mnist_eps10": {"minutes": 60.0, "epsilon": 10.0, "student_accuracy": 0.944},
}


def main():
    """Trains, prices, draws, tests, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="TFDS folder with mnist")
    parser.add_argument("--epsilon", help="budget; small noise without it")
    parser.add_argument("--work", help="folder to keep the run in")
    parser.add_argument("--num_examples", type=int, default=60_000, help="artificial images")
    parser.add_argument("--seeds", type=int, default=3, help="students of each kind")
    flags = parser.parse_args()
    name = "mnist" if flags.epsilon is None else f"mnist_eps{float(flags.epsilon):g}"
    with tempfile.TemporaryDirectory() as temporary:
        measure(name, flags, pathlib.Path(flags.work or temporary))


def measure(name, flags, work):
    """One run under `work`."""
    arguments = ["--dataset=mnist", f"--data_dir={pathlib.Path(flags.data_dir).resolve()}"]
    if flags.epsilon is not None:
        arguments.append(f"--epsilon={flags.epsilon}")
    seconds = _study.run_train(work, *arguments)
    version = _study.newest_version(work / "saved_models" / name)
    privacy = json.loads((version / "assets.extra" / "privacy.json").read_text(encoding="utf-8"))
    outside = (
        _study.outside_epsilon(work / "runs" / name, privacy["delta"]) if flags.epsilon else None
    )
    mnist = data.load("mnist", flags.data_dir)
    artificial = _study.draw(version, flags.num_examples, mnist.num_classes)
    accuracies = {
        kind: _study.student_accuracies(
            *source, mnist.held_out.arrays(), mnist.num_classes, range(flags.seeds)
        )
        for kind, source in (("artificial", artificial), ("real", mnist.train.arrays()))
    }
    bars = BARS.get(name, {})
    rows = [
        ("bin/train, wall minutes", f"{seconds / 60:.1f}", bars.get("minutes", "-")),
        ("critic steps", privacy["critic_steps"], "-"),
        ("epsilon, privacy.json", f"{privacy['epsilon']:.6g}", bars.get("epsilon", "-")),
        (
            "epsilon, accountant outside",
            f"{outside:.6g}" if outside else "-",
            bars.get("epsilon", "-"),
        ),
        (
            f"student of {flags.num_examples:,} artificial images",
            _study.summary(accuracies["artificial"]),
            bars.get("student_accuracy", "-"),
        ),
        (
            f"student of the {mnist.train.num_examples:,} real ones",
            _study.summary(accuracies["real"]),
            "-",
        ),
    ]
    _report.print_table((name, "measured", "bar"), rows)
    facts = {"wall_seconds": seconds, "privacy": privacy, "outside_epsilon": outside}
    _report.write(name, {"bars": bars, **facts, "accuracies": accuracies})


if __name__ == "__main__":
    main()
