# SPDX-License-Identifier: Apache-2.0
"""Stages in order and beside each other, what is left alone, failures, signals, and a folder for one at a time."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent import futures

import pytest
import study_samples
from study_samples import DIAMOND, DRIVER, Lines, copying, ran, record, run, write_programs

from tfartgen import study_process

TESTS = pathlib.Path(__file__).resolve().parent


@pytest.fixture(name="programs")
def _programs(tmp_path):
    return write_programs(tmp_path / "bin", "first", "left", "right", "last")


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return tmp_path / "study"


def driver(folder, programs):
    """A process that runs the diamond."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), str(programs)],
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_finished(folder, name):
    return (folder / "stages" / f"{name}.json").exists() and (
        record(folder, name)["state"] == "finished"
    )


def test_every_stage_runs_once_after_those_that_it_needs(folder, programs):
    lines = Lines()
    outcome = run(folder, programs, lines=lines)
    assert outcome.is_complete
    assert ran(programs)[0] == "first" and ran(programs)[-1] == "last" and len(ran(programs)) == 4
    assert (folder / "last.txt").read_text() == "firstleftfirstrightlast"
    assert [name for what, name in lines.shown if what == "end"][-1] == "last"
    assert record(folder, "left")["state"] == "finished"
    assert record(folder, "left")["seconds"] > 0


def test_two_stages_run_beside_each_other_and_one_at_a_time_where_asked(tmp_path, programs):
    for jobs in (2, 1):
        lines, folder = Lines(), tmp_path / str(jobs)
        run(folder, programs, jobs=jobs, lines=lines)
        beside = [name for what, name in lines.shown[2:4] if what == "begin"]
        assert len(beside) == jobs


def test_what_is_up_to_date_is_left_alone(folder, programs):
    run(folder, programs)
    lines = Lines()
    assert run(folder, programs, lines=lines).is_complete
    assert len(ran(programs)) == 4
    assert sorted(lines.lines) == sorted(f"{stage.name}: up to date" for stage in DIAMOND)


def test_a_change_reaches_as_far_as_results_change(folder, programs):
    run(folder, programs)
    (folder / "left.txt").unlink()
    run(folder, programs)
    assert ran(programs)[4:] == ["left"]  # the same again, so nothing follows
    changed = [copying("left", "first", arguments=(*DIAMOND[1].arguments, "--text=new"))]
    run(folder, programs, [DIAMOND[0], *changed, *DIAMOND[2:]])
    assert ran(programs)[5:] == ["left", "last"]
    assert (folder / "last.txt").read_text() == "firstnewfirstrightlast"


def test_a_failure_names_the_stage_its_last_line_and_its_log_and_loses_nothing(folder, programs):
    (programs / "fail_left").write_text("left: error: --flag=3 is too much")
    lines = Lines()
    outcome = run(folder, programs, lines=lines)
    (failure,) = outcome.failures
    assert (failure.stage, failure.reason) == ("left", "left: error: --flag=3 is too much")
    assert "on the way" in failure.log.read_text()
    assert (folder / "right.txt").exists() and not (folder / "last.txt").exists()
    assert record(folder, "left")["state"] == "failed"
    (programs / "fail_left").unlink()
    lines = Lines()
    assert run(folder, programs, lines=lines).is_complete
    assert any(line.startswith("left: goes on (failed)") for line in lines.lines)
    assert ran(programs).count("first") == ran(programs).count("right") == 1


def test_a_stage_that_leaves_nothing_behind_has_failed(folder, programs):
    stage = copying("first", writes=("first.txt", "other.txt"))
    outcome = run(folder, programs, [stage])
    assert outcome.failures[0].reason == "it ended without having written other.txt"
    assert not run(folder, programs, [stage]).is_complete  # again


def test_a_stage_that_was_ended_by_a_signal_says_so(folder, programs):
    (programs / "first").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (failure,) = run(folder, programs).failures
    assert failure.reason == "it was ended by SIGKILL, out of memory perhaps"


def test_a_program_that_is_missing_is_named(folder, programs):
    (programs / "first").unlink()
    (failure,) = run(folder, programs).failures
    assert str(programs / "first") in failure.reason


def test_a_log_keeps_what_earlier_attempts_said(folder, programs):
    (programs / "fail_first").write_text("once")
    run(folder, programs)
    (programs / "fail_first").write_text("twice")
    (failure,) = run(folder, programs).failures
    assert failure.reason == "twice"
    assert failure.log.read_text().count("$ bin/first --from= --to=first.txt") == 2


def test_stages_with_company_share_the_cores_and_others_have_all(folder, programs, monkeypatch):
    monkeypatch.setattr(study_process, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    tell = "import os, pathlib\npathlib.Path('NAME.txt').write_text(str([os.environ.get(n) for n in ('OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS')]))\n"
    for stage in DIAMOND:
        (programs / stage.name).write_text(tell.replace("NAME", stage.name))
    run(folder, programs)
    assert (folder / "left.txt").read_text() == "['4', '3']"
    assert (folder / "first.txt").read_text() == "[None, '3']"


def test_programs_run_in_the_study_and_find_what_a_relative_path_names(
    folder, programs, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", "here")
    monkeypatch.chdir(programs.parent)
    (programs / "first").write_text(
        "import os, pathlib\npathlib.Path('first.txt').write_text(os.environ['PYTHONPATH'])\n"
    )
    run(folder, programs)
    assert (folder / "first.txt").read_text() == str(programs.parent / "here")


@contextlib.contextmanager
def meanwhile(action):
    """Does something in another thread, and lets its failure be the test's."""
    with futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(action)
        yield
        done.result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_stages_and_the_same_command_goes_on(folder, programs, number):
    (programs / "hold_left").touch()

    def interrupt():
        wait_for(lambda: "left" in ran(programs) and has_finished(folder, "right"))
        os.kill(os.getpid(), number)

    lines, handler = Lines(), signal.getsignal(number)
    with meanwhile(interrupt):
        outcome = run(folder, programs, lines=lines)
    assert (outcome.stopped_by, outcome.is_complete, outcome.failures) == (number, False, ())
    assert signal.getsignal(number) is handler
    assert lines.lines[-1].startswith("left: stopped after")
    assert not study_process.is_alive(record(folder, "left")["process"])
    (programs / "hold_left").unlink()
    lines = Lines()
    assert run(folder, programs, lines=lines).is_complete
    assert any(line.startswith("left: goes on (was stopped)") for line in lines.lines)
    assert ran(programs).count("first") == 1 and ran(programs).count("left") == 2


def test_a_second_signal_ends_a_stage_that_will_not_stop(folder, programs):
    stubborn = "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    (programs / "first").write_text(f"{stubborn}pathlib.Path('begun').touch()\ntime.sleep(60)\n")

    def interrupt():
        wait_for((folder / "begun").exists)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        assert study_process.is_alive(record(folder, "first")["process"])
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(interrupt):
        assert run(folder, programs).stopped_by is signal.SIGTERM


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no prctl")
def test_a_run_that_is_killed_leaves_no_stage_running_and_goes_on(folder, programs):
    (programs / "hold_left").touch()
    process = driver(folder, programs)
    wait_for(lambda: "left" in ran(programs) and has_finished(folder, "right"))
    wait_for((folder / "stages" / "left.json").exists)
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: not study_process.is_alive(record(folder, "left")["process"]))
    (programs / "hold_left").unlink()
    lines = Lines()
    assert run(folder, programs, lines=lines).is_complete
    assert any(line.startswith("left: goes on (was cut off)") for line in lines.lines)
    assert ran(programs).count("first") == 1
    assert (folder / "last.txt").read_text() == "firstleftfirstrightlast"


def test_a_folder_is_held_by_one(folder):
    lock = study_process.StudyLock(folder)
    with pytest.raises(BlockingIOError):
        study_process.StudyLock(folder)
    message = str(study_process.refusal(folder, []))
    assert f"is in use by another bin/reproduce (process {os.getpid()}); wait for it" in message
    lock.close()
    study_process.StudyLock(folder).close()


def test_a_process_that_has_ended_is_not_alive_before_its_parent_asks():
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: not study_process.is_alive(process.pid))
    assert process.wait() == 0
    assert study_process.is_alive(os.getpid())


def test_orphans_keep_a_folder_locked_and_are_named(folder, tmp_path):
    folder.mkdir()
    lock = study_process.StudyLock(folder)
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock.descriptor,)
    )
    lock.close()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    (folder / ".lock").write_bytes(gone.stdout)
    try:
        with pytest.raises(BlockingIOError):
            study_process.StudyLock(folder, patience=0.3)
        message = str(study_process.refusal(folder, [orphan.pid]))
        assert message.endswith(f"wait for them, or end them (kill {orphan.pid})")
    finally:
        orphan.kill()
        orphan.wait()
    study_process.StudyLock(folder, patience=5.0).close()


def test_a_stage_with_an_altered_result_that_its_program_keeps_makes_it_anew(folder, programs):
    keeping = "import pathlib\np = pathlib.Path('first.txt')\np.exists() or p.write_text('good')\n"
    (programs / "first").write_text(keeping)
    stage = copying("first", keeps=True)
    run(folder, programs, [stage])
    (folder / "first.txt").write_text("bad")
    lines = Lines()
    run(folder, programs, [stage], lines=lines)
    assert (folder / "first.txt").read_text() == "good"
    (kept,) = folder.glob("set_aside/*/first.txt")
    assert kept.read_text() == "bad" and str(kept) in lines.lines[0]


def test_the_samples_know_the_programs():
    assert set(study_samples.NAMES) <= {path.name for path in (TESTS.parent / "bin").iterdir()}
