#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every command that the documentation shows, in a folder of its own, made small by further flags.

python tests/benchmarks/documented_commands.py

MNIST, SVHN and CelebA are few images that are made up, in TFDS's own format and under their own names; --data_dir names
a TFDS folder whose MNIST is taken instead. Programs find the flags that make them small in `_documented.py`. The table
says what was added to each command, and who runs those that this does not.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import _documented
import _report
import numpy as np
from PIL import Image

_report.quiet()
sys.path.append(str(_documented.REPOSITORY / "tests"))

import tfds_samples  # noqa: E402

from tfartgen import environment, whole_files  # noqa: E402

_ADDED = "added.txt"
_ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}

#: A program of the working folder: the real one with further flags, which are put on file.
_WRAPPER = """#!{python}
import os, pathlib, sys
sys.path.insert(0, {here!r})
import _documented
name = pathlib.Path(sys.argv[0]).name
added = _documented.smaller(name, sys.argv[1:])
with open({log!r}, "a") as file:
    file.write(" ".join(added) + "\\n")
os.execv({python!r}, [{python!r}, {programs!r} + "/" + name, *sys.argv[1:], *added])
"""

#: Records of the data sets that are made up, by split.
_MADE_UP = {
    "mnist": {"train": 600, "test": 200},
    "svhn_cropped": {"train": 200, "test": 100, "extra": 1},
    "celeb_a": {"train": 200, "validation": 1, "test": 100},
}

#: What the documents take for granted, and do not show in a block or show later.
_BEFORE = (
    "bin/train",
    "bin/generate --model=saved_models/digits --version=1",
    "bin/train --dataset=orl_faces --image_size=32",
    "bin/generate --model=saved_models/orl_faces",
    "bin/generate --model=saved_models/orl_faces --output=artificial/faces",
    "bin/generate --model=saved_models/digits --version=1 --output=artificial/owner2",
    "bin/generate --model=saved_models/digits --version=1 --output=artificial/owner3",
)

_KERAS = """import tensorflow as tf
layers = [tf.keras.layers.Flatten(input_shape=(8, 8, 1)), tf.keras.layers.Dense(10)]
tf.keras.Sequential(layers).save("classifier.keras")"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended; `status` is None where it was not run, and `note` says why."""

    command: _documented.Command
    status: int | None
    seconds: float = 0.0
    added: str = ""
    note: str = ""


def main():
    """Runs, prints the table as it grows, and writes it; the exit status says whether all commands ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", help="TFDS folder with mnist, to be taken as it is")
    parser.add_argument(
        "--only", nargs="*", help="run the commands with one of these in them; write nothing"
    )
    flags = parser.parse_args()
    found = _documented.commands()
    if flags.only:
        found = [each for each in found if any(piece in each.text for piece in flags.only)]
    with tempfile.TemporaryDirectory() as temporary:
        work = Workspace(pathlib.Path(temporary), flags.data_dir)
        outcomes = [_tell(work.outcome(command)) for command in found]
    failed = [each for each in outcomes if each.status]
    ran = [each for each in outcomes if each.status is not None]
    summary = (
        f"{len(outcomes)} commands: {len(ran)} run in {sum(each.seconds for each in ran) / 60:.1f} minutes, "
        f"{len(failed)} failed, {len(outcomes) - len(ran)} left to others."
    )
    print(summary)
    if not flags.only:
        _write(outcomes, summary)
    return 1 if failed else 0


class Workspace:
    """A folder in which the commands can be run as they are written."""

    def __init__(self, folder: pathlib.Path, data_dir: str | None):
        """Puts there what the documents presume."""
        self._folder, self._data_dir = folder, folder / "tfds"
        self._environment = {
            **os.environ,
            **_ONE_CORE,
            "PYTHONPATH": str(_documented.REPOSITORY),
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
            "TFDS_DATA_DIR": str(self._data_dir),
            "TFARTGEN_BUDGET_BOOK": str(folder / "budget_book"),
        }
        self._data_dir.mkdir()
        if data_dir:
            (self._data_dir / "mnist").symlink_to(pathlib.Path(data_dir, "mnist").resolve())
        for name, splits in _MADE_UP.items():
            if not (self._data_dir / name).exists():
                tfds_samples.write(name, self._data_dir, **splits)
        shutil.copytree(_documented.REPOSITORY / "saved_models", folder / "saved_models")
        self._make_programs()
        _make_people(folder / "orl_faces", 40, 10)
        _make_people(folder / "path/to/class/folders", 3, 40)
        _make_npz(folder / "records.npz")
        for command in (f"python -c '{_KERAS}'", *_BEFORE):
            status, _, error = self._run(command)
            if status:
                raise RuntimeError(f"{command}: {error}")

    def _make_programs(self) -> None:
        (self._folder / "bin").mkdir()
        programs = _documented.REPOSITORY / "bin"
        text = _WRAPPER.format(
            python=sys.executable,
            here=str(pathlib.Path(__file__).resolve().parent),
            log=str(self._folder / _ADDED),
            programs=str(programs),
        )
        for path in programs.iterdir():
            wrapper = self._folder / "bin" / path.name
            wrapper.write_text(text, encoding="utf-8")
            wrapper.chmod(0o755)

    def outcome(self, command: _documented.Command) -> Outcome:
        """Runs a command, or says who does."""
        where = _documented.elsewhere(command)
        if where is not None:
            return Outcome(command, None, note=where)
        (self._folder / _ADDED).write_text("")
        text = _documented.runnable(command, str(self._data_dir))
        status, seconds, error = self._run(text)
        added = dict.fromkeys((self._folder / _ADDED).read_text().splitlines())
        return Outcome(command, status, seconds, "; ".join(filter(None, added)), error)

    def _run(self, text: str) -> tuple[int, float, str]:
        """Exit status, seconds, and the last line of standard error where it failed."""
        start = time.monotonic()
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = ended.stderr.strip().splitlines() or [""]
        return ended.returncode, time.monotonic() - start, lines[-1] if ended.returncode else ""


def _make_people(root: pathlib.Path, people: int, pictures: int) -> None:
    """Class folders of grey pictures of 92 x 112; a person is a pattern, a picture of it has noise of its own."""
    rng = np.random.default_rng(0)
    for person in range(people):
        pattern = np.kron(rng.integers(40, 200, size=(8, 4)), np.ones([14, 23]))
        folder = root / f"s{person + 1:02d}"
        folder.mkdir(parents=True)
        for number in range(pictures):
            pixels = pattern + rng.normal(0, 15, pattern.shape)
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(folder / f"{number + 1:02d}.png")


def _make_npz(path: pathlib.Path) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(120) % 3
    noise = rng.integers(60, size=(120, 12, 12, 1))
    images = (noise + 90 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(path, images=images, labels=labels)


def _tell(outcome: Outcome) -> Outcome:
    print(_row(outcome), flush=True)
    return outcome


def _row(outcome: Outcome) -> str:
    text = " ".join(outcome.command.text.replace("\\\n", " ").split()).replace("|", "\\|")
    shown = f"`{text}`" if "`" not in text else text
    if outcome.status is None:
        return f"| {shown} | | | {outcome.note} |"
    told = f"added `{outcome.added}`" if outcome.added else "as it is written"
    if outcome.status:
        told = f"FAILED: {outcome.note}; {told}"
    return f"| {shown} | {outcome.status} | {outcome.seconds:.0f} | {told} |"


def _write(outcomes: list[Outcome], summary: str) -> None:
    about = environment.describe()
    lines = [
        "# The commands of the documentation",
        "",
        "Run by `python tests/benchmarks/documented_commands.py`, made small, on data that are made up but for digits: what "
        "they compute is of no use, that they run is what is shown.",
        "",
        f"{about['machine']}, {about['date']}, Python {about['python']}, one thread. {summary}",
        "",
        "| command | exit status | seconds | flags added, or who runs it |",
        "| --- | ---: | ---: | --- |",
        *map(_row, outcomes),
    ]
    path = _report.RESULTS / "documented_commands.md"
    whole_files.write_atomically(path, "\n".join(lines) + "\n")
    print(f"written: {os.path.relpath(path)}")


if __name__ == "__main__":
    sys.exit(main())
