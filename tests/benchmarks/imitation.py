#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The estimate on mechanisms whose expected privacy loss is known.

OMP_NUM_THREADS=1 python tests/benchmarks/imitation.py

Writes `results/imitation.json` and `results/imitation.md`. A quarter of an hour on one core.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.benchmarks import _report, mechanisms  # noqa: E402
from tfartgen import privacy_estimate  # noqa: E402

DIMENSIONS = (2, 8, 32)
SCALES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
FEWER_SCALES = (0.05, 0.2, 0.8)

#: Mechanism, number of records, and scales.
CASES = (
    (mechanisms.Average, 1000, SCALES),
    (mechanisms.Parzen, 500, SCALES),
    (mechanisms.PartialCopier, 500, FEWER_SCALES),
    (mechanisms.OwnNoise, 500, FEWER_SCALES),
    (mechanisms.Mixup, 150, FEWER_SCALES),
)
EXAMPLES = 10_000


def main():
    """Measures every case, prints and writes."""
    rows = []
    for mechanism, count, scales in CASES:
        for dimensions in DIMENSIONS:
            for scale in scales:
                rows.append(measure(mechanism, count, dimensions, scale))
                print(_line(rows[-1]), flush=True)
    _report.write("imitation", {"examples": EXAMPLES, "rows": rows, "summary": summary(rows)})
    path = _report.RESULTS / "imitation.md"
    path.write_text(markdown(rows), encoding="utf-8")
    print(f"written: {path.relative_to(ROOT)}")


def measure(mechanism, count, dimensions, scale, examples=EXAMPLES):
    """One cell: the truth, and what the tool prints."""
    rng = np.random.default_rng([count, dimensions, round(100 * scale)])
    members, controls = rng.standard_normal([2, count, dimensions])
    made = mechanism(members, scale, rng)
    truth = float(made.true_losses(rng).mean())
    found = privacy_estimate.estimate(made.draw(examples, rng), members, controls).document
    low, high = found["mean_loss_low"], found["mean_loss_high"]
    flags = [
        name
        for name, raised in (
            ("saturated", found["mean_is_at_least"]),
            ("clumped", found["structure"]["is_clumped"]),
        )
        if raised
    ]
    return {
        "mechanism": mechanism.__name__,
        "records": count,
        "dimensions": dimensions,
        "scale": scale,
        "truth": truth,
        **{name: found["imitations"][name]["mean"] for name in privacy_estimate.IMITATIONS},
        "low": low,
        "high": high,
        "covered": low <= truth <= high,
        "flags": flags,
        "saturated_share": found["saturated_share"],
        "saturated_owned_share": found["saturated_owned_share"],
        "clumping": found["structure"]["clumping"],
        "members_to_controls": found["members_to_controls"],
    }


def summary(rows):
    """Cells of each mechanism: in all, covered, flagged instead, neither."""
    result = {}
    for name in dict.fromkeys(row["mechanism"] for row in rows):
        own = [row for row in rows if row["mechanism"] == name]
        missed = [row for row in own if not row["covered"]]
        result[name] = {
            "cells": len(own),
            "covered": len(own) - len(missed),
            "flagged instead": sum(bool(row["flags"]) for row in missed),
            "neither": sum(not row["flags"] for row in missed),
        }
    return result


def markdown(rows):
    """The table for people."""
    header = (
        "| mechanism | d | s | true mean loss | neighbours | mixture | printed range | members / controls | flagged | holds |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    )
    counts = [f"* {name}: {facts}" for name, facts in summary(rows).items()]
    return "\n".join(
        [
            "# The estimate where the truth is known",
            "",
            f"`OMP_NUM_THREADS=1 python tests/benchmarks/imitation.py`; {EXAMPLES:,} artificial examples, k = 5, nats per",
            "example. A row holds if the truth is within the printed range or the result is flagged; flagged",
            'results are printed as "at least".',
            "",
            header,
            *map(_line, rows),
            "",
            *counts,
            "",
        ]
    )


def _line(row):
    holds = "yes" if row["covered"] else "flagged" if row["flags"] else "**no**"
    cells = (
        row["mechanism"],
        row["dimensions"],
        row["scale"],
        f"{row['truth']:.2e}",
        f"{row['neighbours']:.2e}",
        f"{row['mixture']:.2e}",
        f"{row['low']:.2e} to {row['high']:.2e}",
        f"{row['members_to_controls']:.3g}",
        ", ".join(row["flags"]),
        holds,
    )
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
