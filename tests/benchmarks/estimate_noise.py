#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mu along a sweep of the noise multiplier on digits: trains, draws and estimates at each value.

python tests/benchmarks/estimate_noise.py --folder=FOLDER

FOLDER keeps generators and estimates; what is there is not made again. Writes `docs/results/estimate_noise/estimate_noise.json`.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from absl import app, flags
from scipy import stats

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", "runs/estimate_noise", "Private: runs, generators and estimates.")
flags.DEFINE_list("noise_multipliers", ["0", "0.1", "0.3", "1", "2", "4", "8"], "Values of sigma.")
flags.DEFINE_integer("num_examples", 20000, "Drawn from each generator.")

ROOT = pathlib.Path(__file__).resolve().parents[2]
_GAMMA = 0.05


def main(argv):
    """Fills the folder, then writes the table."""
    del argv
    from tests.benchmarks import _report

    folder, rows = pathlib.Path(FLAGS.folder), []
    for sigma in FLAGS.noise_multipliers:
        at = folder / f"sigma{sigma}"
        _run(
            "train", f"--noise_multiplier={sigma}", f"--run_dir={at}/run", f"--model_dir={at}/model"
        )
        document = _estimate(at)
        rows.append({"noise_multiplier": float(sigma), **_row(document)})
    correlations = {
        name: _correlation(rows, name)
        for name in ("mean_loss", "mu_estimate", "kl_bound", "mu", "members_to_controls")
    }
    _report.print_table(list(rows[0]), [list(row.values()) for row in rows])
    print(correlations)
    output = ROOT / "docs" / "results" / "estimate_noise"
    output.mkdir(parents=True, exist_ok=True)
    from tfartgen import environment

    facts = {
        **environment.describe(),
        "num_examples": FLAGS.num_examples,
        "gamma": _GAMMA,
        "rows": rows,
        "correlations": correlations,
    }
    (output / "estimate_noise.json").write_text(
        json.dumps(facts, indent=1) + "\n", encoding="utf-8"
    )
    print(f"written: {output / 'estimate_noise.json'}")


def _correlation(rows, name):
    """Spearman's, over the rows that have a value; without noise nothing is proven."""
    pairs = [(row["noise_multiplier"], row[name]) for row in rows if row[name] is not None]
    return float(stats.spearmanr(*zip(*pairs))[0])


def _estimate(at):
    file = at / "estimate" / "privacy_estimate.json"
    if not file.exists():
        _run(
            "estimate_privacy",
            f"--model={at}/model",
            f"--num_examples={FLAGS.num_examples}",
            f"--output={file.parent}",
            f"--gammas={_GAMMA}",
            "--dimensions=8",
            "--seeds=3",
        )
    return json.loads(file.read_text(encoding="utf-8"))


def _row(document):
    bounds = document["mu"][0]["bounds"]
    return {
        "epsilon": document["formal"]["epsilon"],
        "mean_loss": document["mean_loss"],
        "mu_estimate": bounds["saw_yang_mo"]["per_release"] if bounds else None,
        "kl_bound": document["formal"]["kl_bound"],
        "mu": document["mu"][0]["least_per_release"],
        "members_to_controls": document["members_to_controls"],
        "saturated_share": document["saturated_share"],
        "members_to_controls_interval": document["members_to_controls_interval"],
        "mean_loss_low": document["mean_loss_low"],
        "mean_loss_high": document["mean_loss_high"],
    }


def _run(program, *arguments):
    subprocess.run([sys.executable, str(ROOT / "bin" / program), *arguments], check=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    app.run(main)
