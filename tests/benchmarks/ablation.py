#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each way of spending the budget buys: accuracy of students of the release, minutes, epsilon.

python tests/benchmarks/ablation.py --data_dir=DIR --epsilons=1,10 --work=FOLDER

Every method gets about the same time on one core; --jobs run side by side. Runs are kept in --work, so that a stopped
measurement goes on. Students are tested on real held-out images, which nothing was chosen by.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import time

import _report
import numpy as np

_report.quiet()

import _study  # noqa: E402

from tfartgen import data, environment, whole_files  # noqa: E402

#: Flags of `bin/train` by method; steps such that each takes some three minutes on one core here.
METHODS = {
    "pixel critic (adaptive, clipped apart)": [
        "--warm_start=0",
        "--steps=60",
        "--clipping=separate",
        "--critic_steps=adaptive",
    ],
    "feature critic": [
        "--warm_start=0",
        "--steps=480",
        "--critic=features",
        "--clipping=separate",
    ],
    "warm start without Fourier features": [
        "--warm_start=1",
        "--fourier_features=0",
        "--warm_start_steps=3000",
    ],
    "warm start": ["--warm_start=1", "--warm_start_steps=3000"],
    "warm start, then feature critic": [
        "--warm_start=0.5",
        "--warm_start_steps=2000",
        "--steps=180",
        "--critic=features",
        "--clipping=separate",
    ],
}

_ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main():
    """Trains every method at every budget, tests, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="TFDS folder with the data set")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--epsilons", default="1,10", help="budgets, with commas between")
    parser.add_argument("--work", required=True, help="folder to keep runs in")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seeds", type=int, default=2, help="students of each release")
    parser.add_argument("--output", default="docs/results/ablation", help="folder of the document")
    flags = parser.parse_args()
    os.environ.update(_ONE_CORE)
    cases = [(name, float(e)) for name in METHODS for e in flags.epsilons.split(",")]
    with concurrent.futures.ThreadPoolExecutor(flags.jobs) as pool:
        folders = list(pool.map(functools.partial(trained, flags=flags), cases))
    rows = [tested(case, folder, flags) for case, folder in zip(cases, folders)]
    _report.print_table(
        ("method", "epsilon", "critic steps", "minutes", "CNN %"),
        [
            (r["method"], f"{r['epsilon']:.4g}", r["critic_steps"], f"{r['minutes']:.1f}")
            + (" ".join(f"{100 * a:.2f}" for a in r["accuracies"]),)
            for r in rows
        ],
    )
    path = _study.REPOSITORY / flags.output / "ablation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {**environment.describe(), "dataset": flags.dataset, "rows": rows}
    whole_files.write_atomically(path, json.dumps(document, indent=2) + "\n")
    print(f"written: {os.path.relpath(path)}")


def trained(case, flags):
    """Folder of a finished run; its minutes are on file there."""
    name, epsilon = case
    folder = pathlib.Path(flags.work) / f"{name.replace(' ', '_').replace(',', '')}_eps{epsilon:g}"
    if not (folder / "minutes.json").exists():
        start = time.monotonic()
        _study.run_train(
            folder,
            f"--dataset={flags.dataset}",
            f"--data_dir={pathlib.Path(flags.data_dir).resolve()}",
            f"--epsilon={epsilon}",
            "--name=model",
            *METHODS[name],
        )
        minutes = (time.monotonic() - start) / 60
        whole_files.write_atomically(folder / "minutes.json", json.dumps(minutes))
    return folder


def tested(case, folder, flags):
    """A row: what ran, and how students of 60,000 of its images do."""
    private = data.load(flags.dataset, flags.data_dir)
    version = _study.newest_version(folder / "saved_models" / "model")
    privacy = json.loads((version / "assets.extra" / "privacy.json").read_text(encoding="utf-8"))
    classes = private.num_classes
    images, labels = _study.draw(version, 60_000, classes)
    accuracies = _study.student_accuracies(
        images, labels, private.held_out.arrays(), classes, range(flags.seeds)
    )
    return {
        "method": case[0],
        "flags": METHODS[case[0]],
        "epsilon": privacy["epsilon"],
        "delta": privacy["delta"],
        "critic_steps": privacy["critic_steps"],
        "minutes": json.loads((folder / "minutes.json").read_text(encoding="utf-8")),
        "accuracies": accuracies,
        "mean_accuracy": float(np.mean(accuracies)),
    }


if __name__ == "__main__":
    main()
