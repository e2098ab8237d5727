#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a formal run of `bin/train` at random moments, starts it again, and holds its statement against what ran.

    python tests/benchmarks/kill_at_random.py --kills=20

The run releases the mean embedding and takes critic steps, and saves every second. SIGKILL comes at moments spread over the
time from the reservation in the budget book to the end. What ran is what its ledger held when it died, and what its checkpoint did not hold and was done again: all of it must be
in the statement, as the run's own or as lost, and the joint epsilon that of everything. What was drawn and died in memory, before
ledger and book knew of it, is told, too: nobody has seen it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from tfartgen import accounting
from tfartgen.ledger import MEAN_EMBEDDING, Ledger, Stretch

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

_SETTINGS = (
    "--dataset=digits",
    "--epsilon=3",
    "--warm_start=0.5",
    "--warm_start_steps=60",
    "--fourier_features=200",
    "--critic=features",
    "--steps=60",
    "--batch_size=100",
    "--projector_images=0",
    "--checkpoint_minutes=0.01",
)

#: Critic steps and releases of a whole run.
_ALL = (60, 1)

#: Counts the releases that were drawn, whether or not anything of them was kept.
_COUNTING = """
import runpy, sys
from tfartgen import embedding
release = embedding.release
def counted(*arguments):
    found = release(*arguments)
    with open("drawn", "a") as file:
        file.write("1")
    return found
embedding.release = counted
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(folder: pathlib.Path) -> subprocess.Popen[bytes]:
    """`bin/train` in a folder with a book of its own."""
    environment = {**os.environ, "TFARTGEN_BUDGET_BOOK": str(folder / "book")}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return subprocess.Popen(
        [sys.executable, "-c", _COUNTING, str(REPOSITORY / "bin" / "train"), *_SETTINGS],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(folder: pathlib.Path) -> float:
    """Lets the run end, and gives the seconds since it reserved; raises RuntimeError where it does not end well."""
    process = start(folder)
    begun = reserved(process, folder)
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said.decode()[-2000:])
    return time.monotonic() - begun


def reserved(process: subprocess.Popen[bytes], folder: pathlib.Path) -> float:
    """Waits for the first file of the reservation; the time at which it was there."""
    while process.poll() is None and not [*folder.glob("runs/*/budget.records")]:
        time.sleep(0.01)
    return time.monotonic()


def ledger_of(folder: pathlib.Path) -> list[Stretch]:
    """What the run's ledger holds; nothing where there is none yet."""
    [path] = [*(folder / "runs").glob("*/ledger.jsonl")] or [None]
    return [] if path is None else Ledger.read(path).stretches


def stated(folder: pathlib.Path) -> tuple[list[Stretch], dict]:
    """All that the newest statement counts, and the statement."""
    versions = sorted((folder / "saved_models").glob("*/*"), key=lambda path: int(path.name))
    statement = json.loads((versions[-1] / "assets.extra" / "privacy.json").read_text())
    parts = [statement, *statement["earlier_releases"]["releases"]]
    return [Stretch.from_json(step) for part in parts for step in part["mechanism"]], statement


def checkpointed(folder: pathlib.Path) -> tuple[int, int]:
    """Critic steps and releases that the newest checkpoint holds."""
    import tensorflow as tf

    [checkpoints] = [*(folder / "runs").glob("*/checkpoints")] or [None]
    newest = None if checkpoints is None else tf.train.latest_checkpoint(str(checkpoints))
    if newest is None:
        return 0, 0
    reader = tf.train.load_checkpoint(newest)
    names = ("critic_optimizer/iter", "matching/released")
    values = [reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE") for name in names]
    return int(values[0]), int(values[1])


def steps_of(stretches: list[Stretch]) -> tuple[int, int]:
    """Critic steps and releases."""
    releases = sum(each.steps for each in stretches if each.stage == MEAN_EMBEDDING)
    return sum(each.steps for each in stretches) - releases, releases


def trial(delay: float, folder: pathlib.Path) -> dict:
    """One kill, and what is said afterwards."""
    process = start(folder)
    reserved(process, folder)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before, held = steps_of(ledger_of(folder)), checkpointed(folder)
    finish(folder)
    counted, statement = stated(folder)
    ran = [at_death + _ALL[i] - held[i] for i, at_death in enumerate(before)]
    joint = statement["earlier_releases"]["joint_epsilon"]
    drawn = len((folder / "drawn").read_text())
    return {
        "ran": ran,
        "counted": steps_of(counted),
        "in_memory": drawn - ran[1],
        "epsilon": statement["epsilon"],
        "joint": joint,
        "right": all(c >= r for c, r in zip(steps_of(counted), ran))
        and joint == accounting.epsilon(counted, statement["delta"]) >= statement["epsilon"],
    }


def main() -> None:
    """Prints a row for each kill; exit status 1 where a statement said less than what ran."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = pathlib.Path(scratch, "whole")
        whole.mkdir()
        length = finish(whole)
        print(f"a run that nobody kills takes {length:.1f} s from its reservation on")
        print("    at s  steps ran, stated  releases ran, stated  in memory  epsilon   joint")
        for number in range(arguments.kills):
            folder = pathlib.Path(scratch, str(number))
            folder.mkdir()
            # Spread over the length, so that every stage is hit.
            delay = length * (number + moments.random()) / arguments.kills
            found = trial(delay, folder)
            failed += not found["right"]
            (steps, releases), (all_steps, all_releases) = found["ran"], found["counted"]
            print(
                f"{delay:8.1f}  {steps:9}, {all_steps:6}  {releases:12}, {all_releases:6}  {found['in_memory']:9}  "
                f"{found['epsilon']:7.4f}  {found['joint']:6.4f}{'' if found['right'] else '  TOO LITTLE'}",
                flush=True,
            )
    print(f"{arguments.kills - failed} of {arguments.kills} state all that ran")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
