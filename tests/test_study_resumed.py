# SPDX-License-Identifier: Apache-2.0
"""A whole study by the real programs, on tiny settings: killed half-way it ends with the same tables.

Training, DP-SGD and the votes of PATE draw their noise from the operating system: what of it is finished is kept, and
what is not is drawn afresh. Everything else is made again here, after a kill in the middle of it.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from study_samples import Lines, record, tiny_study

from tfartgen import study_process

TESTS = pathlib.Path(__file__).resolve().parent

DRIVER = "import pathlib, sys, study_samples as s; s.tiny_study(pathlib.Path(sys.argv[1])).run(s.Lines())"

#: Seconds that a busy machine may need for what is waited for.
_PATIENCE = 600


def killed_in_the_middle(folder, condition):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
    )
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def forget(folder):
    """Removes all results but those of noised trials; returns how many trials are left."""
    for path in folder.glob("results/*.json"):
        path.unlink()
    (folder / "tables.json").unlink()
    trials = [(path, json.loads(path.read_text())) for path in folder.glob("results/trials/*.json")]
    clean = [
        p for p, t in trials if t["kind"] != "pate_labels" and "epsilon" not in str(t["settings"])
    ]
    for path in clean:
        path.unlink()
    assert 0 < len(clean) < len(trials)
    return len(trials) - len(clean)


@pytest.mark.slow
def test_a_whole_study_that_is_killed_and_started_again_ends_with_the_same_tables(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    killed_in_the_middle(whole, (whole / "run" / "config.json").exists)  # while it trains
    assert tiny_study(whole).run(Lines()).is_complete
    for name in ("report.html", "PRIVATE_report.html", "tables.md"):
        assert (whole / name).stat().st_size > 1000

    shutil.copytree(whole, cut)
    kept = forget(cut)
    killed_in_the_middle(cut, lambda: len(list(cut.glob("results/trials/*"))) > kept + 5)
    started = [record(cut, path.stem) for path in cut.glob("stages/*.json")]
    assert any(each["state"] == "started" for each in started)
    lines = Lines()
    assert tiny_study(cut).run(lines).is_complete
    assert not any(study_process.is_alive(each["process"]) for each in started)
    assert any("goes on (was cut off)" in line for line in lines.lines)
    assert "train: up to date" in lines.lines
    assert (cut / "tables.json").read_bytes() == (whole / "tables.json").read_bytes()
