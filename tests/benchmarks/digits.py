#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`bin/train` with no flag: wall time, and a student of the release beside one of the real training split.

python tests/benchmarks/digits.py
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile

import _report

_report.quiet()

import _study  # noqa: E402

from tfartgen import data  # noqa: E402

BARS = {"minutes": 3.0, "student_accuracy": 0.85}


def main():
    """Trains, draws, tests, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", help="folder to keep the run in")
    parser.add_argument("--num_examples", type=int, default=6000, help="artificial images")
    parser.add_argument("--seeds", type=int, default=3, help="students of each kind")
    flags = parser.parse_args()
    digits = data.load("digits")
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(flags.work or temporary)
        seconds = _study.run_train(work)
        version = _study.newest_version(work / "saved_models" / "digits")
        artificial = _study.draw(version, flags.num_examples, digits.num_classes)
    accuracies = {
        kind: _study.student_accuracies(
            *source, digits.held_out.arrays(), digits.num_classes, range(flags.seeds)
        )
        for kind, source in (("artificial", artificial), ("real", digits.train.arrays()))
    }
    rows = [("bin/train, wall minutes", f"{seconds / 60:.2f}", f"at most {BARS['minutes']:g}")]
    rows.append(
        (
            f"student of {flags.num_examples:,} artificial images",
            _study.summary(accuracies["artificial"]),
            f"at least {BARS['student_accuracy']:g}",
        )
    )
    rows.append(
        (
            f"student of the {digits.train.num_examples:,} real ones",
            _study.summary(accuracies["real"]),
            "-",
        )
    )
    _report.print_table(("digits", "measured", "bar"), rows)
    _report.write("digits", {"bars": BARS, "wall_seconds": seconds, "accuracies": accuracies})


if __name__ == "__main__":
    main()
