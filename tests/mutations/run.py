#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks promises on purpose, one edit at a time in a scratch copy, and says which the tests notice.

    python tests/mutations/run.py                 # all; goes on where it was stopped
    python tests/mutations/run.py --promise=15    # those of one promise

Each selection of tests runs once without an edit: what fails anyhow shows nothing. A mutation is caught if a test fails; a program that
cannot even be imported, a run past its time, or no test at all is not. Exit status 1 where one was not caught. What was found is kept
in `--work`, for as long as the mutated file, the edit and the tests are the same.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent import futures

from mutation import Mutation
from mutations import MUTATIONS

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
COPIED = ("tfartgen", "tests", "setup.cfg")
_FAILED = 1  # exit status of pytest
_MOST_SECONDS = 600
_WIDTH = 62


def scratch_copy(folder: pathlib.Path) -> None:
    """Copies what the tests need; benchmarks' results stay behind."""
    ignore = shutil.ignore_patterns("__pycache__", "results", ".pytest_cache")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    shared = REPOSITORY.parent / "shared"
    if shared.is_dir():
        (folder.parent / "shared").symlink_to(shared)


def run_tests(folder: pathlib.Path, tests: Sequence[str]) -> tuple[int, str]:
    """Exit status of pytest in a copy, and its last lines; -1 past the time."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return -1, f"past {_MOST_SECONDS} s"
    return done.returncode, "\n".join(done.stdout.splitlines()[-3:])


def broken(text: str, mutation: Mutation) -> str:
    """A file's text with the edit.

    Raises:
      ValueError: what is to be edited is not there exactly once.
    """
    if text.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.file} has {text.count(mutation.old)} times, not once, what '{mutation.name}' edits: "
            f"{mutation.old!r}; bring tests/mutations/mutations.py up to date"
        )
    return text.replace(mutation.old, mutation.new)


def outcome(folder: pathlib.Path, mutation: Mutation) -> dict:
    """What the tests say of a copy with the edit, which is taken back."""
    path = folder / mutation.file
    whole = path.read_text(encoding="utf-8")
    start = time.monotonic()
    try:
        path.write_text(broken(whole, mutation), encoding="utf-8")
        status, said = run_tests(folder, mutation.tests)
    finally:
        path.write_text(whole, encoding="utf-8")
    return {
        "caught": status == _FAILED,
        "status": status,
        "said": said,
        "s": time.monotonic() - start,
    }


def key(mutation: Mutation) -> str:
    """Another one whenever the edit, the file or the tests change."""
    files = [mutation.file, *(test for test in mutation.tests if test.endswith(".py"))]
    digest = hashlib.sha256(json.dumps(dataclasses.astuple(mutation)).encode())
    for name in files:
        digest.update((REPOSITORY / name).read_bytes())
    return digest.hexdigest()


class Copies:
    """Scratch copies for so many tests at a time."""

    def __init__(self, scratch: pathlib.Path, count: int):
        """Makes the copies."""
        self._free: queue.Queue[pathlib.Path] = queue.Queue()
        self._checks: dict[Sequence[str], threading.Lock] = collections.defaultdict(threading.Lock)
        self._passed: set[Sequence[str]] = set()
        for number in range(count):
            folder = scratch / str(number) / "copy"
            folder.mkdir(parents=True)
            scratch_copy(folder)
            self._free.put(folder)

    def outcome(self, mutation: Mutation) -> dict:
        """Of a mutation, whose tests pass without it; ends the program where they do not."""
        folder = self._free.get()
        try:
            with self._checks[mutation.tests]:
                self._check(folder, mutation.tests)
            return outcome(folder, mutation)
        finally:
            self._free.put(folder)

    def _check(self, folder: pathlib.Path, tests: Sequence[str]) -> None:
        if tests in self._passed:
            return
        status, said = run_tests(folder, tests)
        if status:
            raise SystemExit(
                f"without an edit, pytest {' '.join(tests)} ends with {status}:\n{said}"
            )
        self._passed.add(tests)


def main() -> None:
    """Runs what is asked for and prints a row for each mutation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--promise", type=int, help="only those of one promise")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested at a time")
    parser.add_argument(
        "--work", type=pathlib.Path, default=pathlib.Path(__file__).parent / ".work"
    )
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if arguments.promise in (None, m.promise)]
    if not chosen:
        promises = sorted({m.promise for m in MUTATIONS})
        parser.error(f"--promise={arguments.promise} has no mutations; there are {promises}")
    for mutation in chosen:
        broken((REPOSITORY / mutation.file).read_text(encoding="utf-8"), mutation)
    arguments.work.mkdir(parents=True, exist_ok=True)
    keys = {mutation: key(mutation) for mutation in chosen}  # of what is copied now
    path = arguments.work / "outcomes.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        copies = Copies(pathlib.Path(scratch), arguments.jobs)
        pool = futures.ThreadPoolExecutor(arguments.jobs)
        print("promise  mutation" + " " * (_WIDTH - 8) + "  caught     s")
        new = [mutation for mutation in chosen if keys[mutation] not in known]
        waiting = {mutation: pool.submit(copies.outcome, mutation) for mutation in new}
        try:
            for mutation in chosen:
                if mutation in waiting:
                    known[keys[mutation]] = waiting[mutation].result()
                    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
                found = known[keys[mutation]]
                word = "yes" if found["caught"] else f"NO ({found['status']})"
                print(
                    f"{mutation.promise:7}  {mutation.name[:_WIDTH]:{_WIDTH}}  {word:6} {found['s']:5.0f}",
                    flush=True,
                )
        finally:
            pool.shutdown(cancel_futures=True)
    missed = sum(not known[keys[mutation]]["caught"] for mutation in chosen)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
