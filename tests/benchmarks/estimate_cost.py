#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the estimate costs: time and peak memory against the number of records and artificial examples.

python tests/benchmarks/estimate_cost.py --data_dir=../shared/data/tensorflow_datasets --artificial=artificial/mnist

n real x n artificial MNIST images, 32 principal components, all leave-one-out losses by both imitations. Each size runs in
a process of its own. Writes `results/estimate_cost.json`.
"""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.benchmarks import _report  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "TFDS folder of MNIST.")
flags.DEFINE_string("artificial", "artificial/mnist", "Data set that bin/generate wrote.")
flags.DEFINE_list("sizes", ["7500", "15000", "30000", "60000"], "Values of n.")
flags.DEFINE_integer("only", None, "Measures this n and prints JSON; for the program itself.")


def main(argv):
    """Measures every size."""
    _report.quiet()
    if FLAGS.only is not None:
        print(json.dumps(measure(FLAGS.only)))
        return
    rows = []
    for size in FLAGS.sizes:
        command = [sys.executable, argv[0], *sys.argv[1:], f"--only={size}"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
    _report.print_table(list(rows[0]), [[_shown(value) for value in row.values()] for row in rows])
    _report.write("estimate_cost", {"rows": rows})


def measure(size):
    """Seconds of each stage, and the peak of the process."""
    from tfartgen import data, estimation, feature_spaces, record_mixture, released_data

    release = released_data.read(FLAGS.artificial)
    private = data.load("mnist", FLAGS.data_dir)
    began = time.perf_counter()
    space = feature_spaces.make("pca", 32, release.images[:size], release.labels[:size], 10)
    artificial = space.embed(release.images[:size])
    records = space.embed(private.train.arrays()[0][:size])
    embedded = time.perf_counter()
    estimation.imitate(artificial[::2], artificial[1::2], records)
    imitated = time.perf_counter()
    record_mixture.estimate(artificial, records)
    ended = time.perf_counter()
    return {
        "records": size,
        "artificial": size,
        "space_s": embedded - began,
        "neighbours_s": imitated - embedded,
        "mixture_s": ended - imitated,
        "total_s": ended - began,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _shown(value):
    return f"{value:.3g}" if isinstance(value, float) else value


if __name__ == "__main__":
    app.run(main)
