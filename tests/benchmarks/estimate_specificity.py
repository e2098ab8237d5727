#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Members against controls where the answer is known, on real images: a release that memorised, and one that did not.

python tests/benchmarks/estimate_specificity.py --data_dir=../shared/data/tensorflow_datasets

Real images are cut at random in three: members, controls, and others. One release is members plus slight noise, the
other is others plus the same noise. Writes `results/estimate_specificity.json`. Some minutes on two cores.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.benchmarks import _report  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "TFDS folder of MNIST.")
flags.DEFINE_float("noise", 10.0, "Standard deviation of the noise, in levels of 256.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of cut, draw and estimate.")

#: Data set, records of each kind, artificial examples, dimensions of the principal components.
CASES = (("digits", 590, 8000, 16), ("mnist", 5000, 20000, 16))


def main(argv):
    """Measures, prints and writes."""
    del argv
    _report.quiet()
    rows = [
        measure(*case, space, copies, int(seed))
        for case in CASES
        for space in ("pca", "pixels")
        for copies in (True, False)
        for seed in FLAGS.seeds
    ]
    _report.print_table(list(rows[0]), [[_shown(value) for value in row.values()] for row in rows])
    _report.write("estimate_specificity", {"noise": FLAGS.noise, "rows": rows})


def measure(name, size, examples, dimensions, space_name, copies, seed):
    """One release: the ratio of members to controls, and what else is printed."""
    from tfartgen import data, feature_spaces, privacy_estimate

    rng = np.random.default_rng(seed)
    private = data.load(name, FLAGS.data_dir)
    images = np.concatenate([private.train.arrays()[0], private.held_out.arrays()[0]])
    members, controls, others = np.split(images[rng.permutation(len(images))[: 3 * size]], 3)
    source = members if copies else others
    chosen = source[rng.integers(0, size, examples)].astype(float)
    noised = np.clip(np.round(chosen + FLAGS.noise * rng.standard_normal(chosen.shape)), 0, 255)
    release = noised.astype(np.uint8)
    space = feature_spaces.make(space_name, dimensions, release, np.zeros(examples, int), 1)
    config = privacy_estimate.PrivacyEstimateConfig(seed=seed)
    found = privacy_estimate.estimate(
        *map(space.embed, (release, members, controls)), config
    ).document
    low, high = found["members_to_controls_interval"]
    return {
        "data": name,
        "space": space_name,
        "release": "members + noise" if copies else "others + noise",
        "seed": seed,
        "ratio": found["members_to_controls"],
        "low": low,
        "high": high,
        "holds": found["members_to_controls"] >= 10 if copies else low <= 1 <= high,
        "mean_loss": found["mean_loss"],
        "saturated": found["saturated_share"],
    }


def _shown(value):
    return f"{value:.3g}" if isinstance(value, float) else value


if __name__ == "__main__":
    app.run(main)
