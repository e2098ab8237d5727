#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long `bin/train` would take on SVHN and CelebA: steps on images that are made up, as many as the data set has.

python tests/benchmarks/data_sets.py

Each step is the difference of a longer and a shorter training, so that starting up is not in it, in seconds of the
processor, so that other work beside it is not. One thread; each case in a process of its own, whose peak of memory is
told. The totals are extrapolated to the default numbers of steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import _report

_ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}

#: Steps of the shorter training, and records of a release whose steps alone matter.
_FEW_STEPS, _FEW_RECORDS = 5, 256


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set as `bin/train` would see it; numbers of records are those of TFDS's catalogue."""

    command: str
    num_records: int
    side: int
    num_classes: int


CASES = (
    Case("--dataset=svhn_cropped", 73_257, 32, 10),
    Case("--dataset=celeb_a --image_size=32", 162_770, 32, 2),
    Case("--dataset=celeb_a", 162_770, 64, 2),
)


def main():
    """Measures each case, prints a table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps that are timed")
    parser.add_argument(
        "--records", type=int, default=1000, help="records whose embedding is timed"
    )
    parser.add_argument("--case", type=int, help="measure one case in this process, as JSON")
    flags = parser.parse_args()
    if flags.case is not None:
        print(json.dumps(measured(CASES[flags.case], flags.steps, flags.records)))
        return
    rows = [_in_a_process(number, flags) for number in range(len(CASES))]
    text = table(rows)
    print(text)
    _write(text)


def _in_a_process(number, flags):
    command = [sys.executable, __file__, f"--case={number}"]
    command += [f"--steps={flags.steps}", f"--records={flags.records}"]
    ended = subprocess.run(
        command, env={**os.environ, **_ONE_CORE}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ended.stdout.splitlines()[-1])


def measured(case, steps, records):
    """Seconds of a critic step, of a step of the warm start and of the embedding of a record, and peak memory."""
    _report.quiet()
    few, all_of_it = made_up(case, _FEW_RECORDS), made_up(case, case.num_records)
    _train(few, steps=1)  # what is done once in a process
    few_steps = _train(all_of_it, steps=_FEW_STEPS)
    # Later trainings would add their copies of the records to it.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    critic = _train(all_of_it, steps=_FEW_STEPS + steps) - few_steps
    formal = {"epsilon": 10.0, "warm_start_steps": _FEW_STEPS}
    _train(few, **formal)
    short = _train(few, **formal)
    matching = _train(few, **{**formal, "warm_start_steps": _FEW_STEPS + steps}) - short
    embedding = _train(made_up(case, _FEW_RECORDS + records), **formal) - short
    return {
        **dataclasses.asdict(case),
        "critic_step": critic / steps,
        "warm_start_step": matching / steps,
        "embedding": embedding / records,
        "peak_bytes": peak,
        **_defaults(all_of_it),
    }


def made_up(case, count):
    """Random pixels; what they show changes no time."""
    import numpy as np

    from tfartgen import data

    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, case.side, case.side, 3), dtype=np.uint8)
    labels = np.arange(count) % case.num_classes
    names = tuple(str(label) for label in range(case.num_classes))
    train, held_out = (
        data.Split.from_arrays(*some) for some in ((images, labels), (images[:10], labels[:10]))
    )
    return data.PrivateData("made_up", images.shape[1:], names, train, held_out)


def _train(private, **settings):
    """Seconds of the processor that a training takes."""
    from tfartgen import train_config, training

    config = train_config.configure(private, **settings)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        training.train(private, config, pathlib.Path(folder, "run"), pathlib.Path(folder, "model"))
        return time.process_time() - start


def _defaults(private):
    from tfartgen import train_config

    return {
        "default_steps": train_config.configure(private).steps,
        "default_warm_start_steps": train_config.configure(private, epsilon=1.0).warm_start_steps,
    }


def table(rows):
    """Markdown."""
    header = (
        "`bin/train`",
        "records",
        "ms a critic step",
        "small noise, all its steps",
        "ms a warm-start step",
        "s for 1,000 records to be embedded",
        "`--epsilon`, all its steps",
        "peak memory",
    )
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for row in rows:
        formal = (
            row["default_warm_start_steps"] * row["warm_start_step"]
            + row["num_records"] * row["embedding"]
        )
        cells = (
            f"`{row['command']}`",
            f"{row['num_records']:,}",
            f"{1000 * row['critic_step']:.0f}",
            f"{row['default_steps']:,}: {row['default_steps'] * row['critic_step'] / 3600:.1f} h",
            f"{1000 * row['warm_start_step']:.0f}",
            f"{1000 * row['embedding']:.1f}",
            f"{row['default_warm_start_steps']:,}: {formal / 3600:.1f} h",
            f"{row['peak_bytes'] / 2**30:.1f} GiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _write(text):
    from tfartgen import environment, whole_files

    about = environment.describe()
    where = f"{about['machine']}, {about['date']}, one thread, on images that were made up."
    heading = "Written by `python tests/benchmarks/data_sets.py`. Time is that of the processor; hours are extrapolated from steps."
    path = _report.RESULTS / "data_sets.md"
    whole_files.write_atomically(
        path, f"# Time of training on SVHN and CelebA\n\n{where} {heading}\n\n{text}\n"
    )
    print(f"written: {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
