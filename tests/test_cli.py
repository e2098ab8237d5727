# SPDX-License-Identifier: Apache-2.0
"""Programs as a person meets them: each test starts a small script in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

SCRIPT = '''
"""Does a small thing.

More about it.
"""
import errno
from absl import flags
from tfartgen import _cli

FLAGS = flags.FLAGS
flags.DEFINE_integer("steps", 3, "Number of steps.", lower_bound=1)
flags.DEFINE_enum("loss", "hinge", ["hinge", "wasserstein"], "The loss.")
flags.DEFINE_bool("fast", False, "Whether to hurry.")
flags.DEFINE_string("act", "", "Python to run.")
flags.DEFINE_list("parts", ["a", "b"], "Which parts.")
flags.DEFINE_list("extras", [], "Which more.")


def main(argv):
    import os, sys, warnings
    print(f"steps {FLAGS.steps}")
    scope = {}
    exec(FLAGS.act, {"os": os, "sys": sys, "errno": errno, "warnings": warnings}, scope)
    return scope.get("status")


if __name__ == "__main__":
    _cli.run(main)
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("bin") / "act"
    path.write_text(SCRIPT)
    return path


def start(script: pathlib.Path, *arguments: str, **settings: Any) -> subprocess.CompletedProcess:
    dropped = ("TF_", "TFARTGEN_DEBUG")  # the budget book of the tests stays
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    environment.update(settings.pop("environment", {}), PYTHONPATH=str(ROOT))
    command = [sys.executable, str(script), *arguments]
    settings = {"stdout": subprocess.PIPE, **settings}
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, **settings
    )


def test_success_prints_and_leaves_with_zero(script):
    done = start(script, "--steps=5", "--fast")
    assert (done.returncode, done.stdout, done.stderr) == (0, "steps 5\n", "")


def test_status_of_main_is_the_programs(script):
    assert start(script, "--act=status = 143").returncode == 143


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_shows_docstring_flags_and_defaults_quickly(script, flag):
    begin = time.monotonic()
    done = start(script, "--steps=wrong", flag)
    assert time.monotonic() - begin < 2 and done.returncode == 0 and not done.stderr
    assert done.stdout.startswith("act: Does a small thing.\n\nMore about it.\n")
    assert "--steps (default: 3)\n      Number of steps." in done.stdout
    assert "--loss <hinge|wasserstein> (default: hinge)\n      The loss." in done.stdout
    assert "--[no]fast (default: false)" in done.stdout
    assert "--parts (default: a,b)\n" in done.stdout and "--extras\n" in done.stdout
    assert "verbosity" not in done.stdout


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--stepz=3", "flag --stepz: unknown, did you mean --steps?"),
        ("--qqqq", "flag --qqqq: unknown"),
        ("--steps=abc", "flag --steps=abc: invalid literal"),
        ("--steps=0", "flag --steps=0: 0 is not a positive integer"),
        ("--steps", "flag --steps: needs a value"),
        ("--loss=no", "flag --loss=no: value should be one of <hinge|wasserstein>"),
        ("--fast=maybe", "flag --fast=maybe: needs true or false"),
        ("mnist", "unexpected argument 'mnist', write settings as --flag=value"),
    ],
)
def test_bad_flag_is_one_line_and_two(script, argument, message):
    done = start(script, argument)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(f"act: {message}")
    assert done.stderr.endswith("(see --help)\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "act, line",
    [
        (r"raise ValueError('--steps=3:\n too few')", "act: error: --steps=3: too few"),
        ("open('/nonexistent/x')", "act: error: /nonexistent/x: No such file or directory"),
        (
            "raise PermissionError(13, 'Permission denied', '/r')",
            "act: error: /r: Permission denied",
        ),
        (
            "raise OSError(errno.ENOSPC, 'No space left on device', '/full/x')",
            "act: error: /full/x: No space left on device; make room and start again",
        ),
        ("raise OSError('cannot write y')", "act: error: cannot write y"),
        ("sys.exit('that will not do')", "act: error: that will not do"),
    ],
)
def test_bad_input_is_one_line_and_one(script, act, line):
    done = start(script, f"--act={act}")
    assert (done.returncode, done.stderr) == (1, line + "\n")


def test_debugging_shows_the_traceback_too(script):
    done = start(script, "--act=raise ValueError('no')", environment={"TFARTGEN_DEBUG": "1"})
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert done.stderr.endswith("act: error: no\n")


def test_bug_is_a_traceback_and_seventy(script):
    done = start(script, "--act={}['missing']")
    assert done.returncode == 70 and "KeyError: 'missing'" in done.stderr


def test_interrupt_is_one_line_and_130(script):
    done = start(script, "--act=raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "act: interrupted\n")


def test_libraries_are_quiet_unless_asked(script):
    act = "--act=warnings.warn('noise'); sys.exit(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert start(script, act).stderr == "act: error: 3\n"
    assert start(script, act, environment={"TF_CPP_MIN_LOG_LEVEL": "0"}).stderr.endswith(": 0\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_an_error(script):
    with open("/dev/full", "w") as full:
        done = start(script, stdout=full)
    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_reader_that_leaves_early_is_no_traceback(script):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = start(script, "--act=sys.stdout.flush()", stdout=closed)
    assert not done.stderr


def test_shutdown_noise_is_skipped(script):
    act = "--act=import atexit; atexit.register(print, 'Exception ignored in', file=sys.stderr)"
    assert start(script, act).stderr == ""


@pytest.mark.parametrize("program", sorted(path.name for path in (ROOT / "bin").iterdir()))
def test_every_program_helps_without_loading_tensorflow(program):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "bin" / program), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.startswith(f"{program}: ")
    assert "absl.flags" in done.stderr and "tensorflow" not in done.stderr
