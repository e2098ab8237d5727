# SPDX-License-Identifier: Apache-2.0
"""Trainings in processes of their own: what they leave on file, how they fail, and how they stop.

The module must not import TensorFlow, which the processes would then import as well.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tfartgen.retrained_generators import Job, default_processes, in_processes


def job(folder, number=0):
    images = np.zeros([3, 8, 8, 1], np.uint8)
    labels = np.zeros(3, np.int32)
    draw = {"num_examples": 2, "seed": number}
    names = f"number {number}", folder, "shades", ("dark",)
    return Job(*names, images, labels, {"steps": 1}, draw, {"repeat": number})


def drawing(job):
    with open(job.folder / "calls.txt", "a", encoding="utf-8") as calls:
        calls.write(f"{job.name}\n")
    print("chatter")
    images = np.array([0, job.draw_settings["seed"] + 1], np.uint8)
    return np.tile(images[:, None, None, None], [1, 8, 8, 1]), np.zeros(2, np.int32)


def refusing(job):
    raise ValueError("no room")


def dying(job):
    os._exit(9)


def waiting(job):
    """Until SIGTERM, as a training does."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    (job.folder / f"{job.name}.started").touch()
    stopped.wait(60)
    (job.folder / f"{job.name}.saved").touch()
    raise KeyboardInterrupt


def test_processes_train_what_is_not_on_file_and_are_silent(tmp_path, capfd):
    jobs, done = [job(tmp_path, number) for number in range(3)], []
    jobs[1].result(drawing)
    capfd.readouterr()
    assert [each.finished for each in jobs] == [False, True, False]
    in_processes(jobs, drawing, 2, done.append)
    assert sorted(each.name for each in done) == ["number 0", "number 1", "number 2"]
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == 3
    assert [each.drawn()[0][1, 0, 0, 0] for each in jobs] == [1, 2, 3]
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "log.txt").read_text().count("chatter") == 2


def test_the_training_is_the_same_however_much_is_drawn(tmp_path):
    first = job(tmp_path)
    second = dataclasses.replace(first, draw_settings={"num_examples": 9, "seed": 1})
    assert first.training_folder == second.training_folder != job(tmp_path, 1).training_folder
    first.result(drawing)
    assert first.finished and not second.finished


def broken(job):
    raise KeyError("surprise")


@pytest.mark.parametrize(
    "train, error, message",
    [
        (refusing, ValueError, "^generator of number 0: no room$"),
        (dying, OSError, "training number 0 ended with status 9 and no word.*fewer --processes"),
        (broken, RuntimeError, "Traceback(.|\n)*surprise"),
    ],
)
def test_what_goes_wrong_in_a_process_is_said_here(tmp_path, train, error, message):
    with pytest.raises(error, match=message):
        in_processes([job(tmp_path), job(tmp_path, 1)], train, 1)
    assert not job(tmp_path).finished


_PROGRAM = """
import pathlib, sys
sys.path.insert(0, {tests!r})
import test_retrained_generators as tests
jobs = [tests.job(pathlib.Path({folder!r}), number) for number in range(3)]
tests.in_processes(jobs, tests.waiting, 2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopping_lets_the_trainings_save(tmp_path, number):
    program = _PROGRAM.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    script = tmp_path / "study.py"
    script.write_text(f"if __name__ == '__main__':\n{program.replace(chr(10), chr(10) + '    ')}\n")
    process = subprocess.Popen(
        [sys.executable, script], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _until(lambda: len(list(tmp_path.glob("*.started"))) == 2)
    # As a terminal does: to the whole group.
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.kill()
    assert process.wait(30) != 0
    _until(lambda: len(list(tmp_path.glob("*.saved"))) == 2)
    assert process.stderr.read().count("Traceback") == (number == signal.SIGINT)
    process.stderr.close()


def _until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_processes_by_default():
    assert 1 <= default_processes() <= len(os.sched_getaffinity(0))
    in_processes([], drawing, 1)
