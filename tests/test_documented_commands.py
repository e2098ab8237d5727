# SPDX-License-Identifier: Apache-2.0
"""Every command of the documentation is one that the programs take, and one that somebody runs."""

from __future__ import annotations

import ast
import pathlib
import re
import sys

import pytest
import scripts
from absl import flags
from absl.testing import flagsaver

BENCHMARKS = scripts.ROOT / "tests" / "benchmarks"


@pytest.fixture(name="documented", scope="module")
def _documented():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield __import__("_documented")
    sys.modules.pop("_documented", None)


@pytest.fixture(name="calls", scope="module")
def _calls(documented):
    """Arguments of every program that a command starts, by the program's name."""
    found = {}
    for command in [*documented.commands(), *documented.inline_commands()]:
        for words in command.calls:
            found.setdefault(words[0], []).append((words[1:], command))
    return found


def test_there_are_commands_of_every_program(calls):
    programs = {f"bin/{path.name}" for path in (scripts.ROOT / "bin").iterdir() if path.is_file()}
    shown = {name for name in calls if name.startswith("bin/")}
    assert shown == programs


def test_programs_take_the_flags_that_are_shown(calls):
    for program in sorted(name for name in calls if name.startswith("bin/")):
        with scripts.main_of(program.removeprefix("bin/")):
            for arguments, command in calls[program]:
                # A letter stands for a number of the reader's.
                given = [re.sub(r"(?<==)E$", "1", each) for each in arguments if each != "--help"]
                check_flags(given, f"{command.places}: {command.text}")


def check_flags(arguments, where):
    """Parses them; one that is named in a text without a value must exist."""
    named = [each for each in arguments if "=" not in each and not is_boolean(each)]
    assert all(each.removeprefix("--") in flags.FLAGS for each in named), where
    try:
        with flagsaver.flagsaver():
            rest = flags.FLAGS(["program", *(each for each in arguments if each not in named)])
    except (flags.Error, ValueError) as error:
        pytest.fail(f"{where}: {error}")
    assert rest == ["program"], where


def is_boolean(argument):
    name = argument.removeprefix("--")
    name = name if name in flags.FLAGS else name.removeprefix("no")
    return name in flags.FLAGS and flags.FLAGS[name].boolean


def test_python_files_are_there_and_take_the_flags_that_are_shown(calls):
    files = [(words, command) for words, command in calls.get("python", ()) if words[0] != "-c"]
    assert len(files) > 5
    for (path, *arguments), command in files:
        where = f"{command.places}: {command.text}"
        if path == "-m":
            continue
        assert (scripts.ROOT / path).is_file(), where
        known = options_of(scripts.ROOT / path)
        assert {each.partition("=")[0] for each in arguments} <= known, where


def options_of(path: pathlib.Path) -> set[str]:
    """The options that a file defines, with argparse or absl; the file is not run."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        f"--{argument.value.removeprefix('--')}"
        for call in calls
        if re.match("add_argument|DEFINE_", getattr(call.func, "attr", ""))
        for argument in call.args[:1]
    }


def test_somebody_runs_every_command(documented):
    """A command that the benchmark has no rule for raises."""
    left_out = [where for each in documented.commands() if (where := documented.elsewhere(each))]
    for where in left_out:
        for name in re.findall(r"[\w./]+\.py|\.ci/run", where):
            assert (scripts.ROOT / name).is_file(), where
    assert len(left_out) < len(documented.commands()) / 2


def test_flags_that_make_commands_small_are_flags(documented, calls):
    for program in sorted(name for name in calls if name.startswith("bin/")):
        name = program.removeprefix("bin/")
        with scripts.main_of(name):
            for arguments, command in calls[program]:
                check_flags(documented.smaller(name, arguments), command.text)


def test_commands_are_found_in_blocks_whatever_they_look_like(documented):
    page = (
        "```sh\nbin/train   # a comment\n# another\nbin/generate --model=a \\\n  --seed=1\n```\n"
        "Text `bin/train --seed=3` goes on:\n\n    bin/partition --owners=2\n\n    no command\n\n"
        "- a list\n\n  ```sh\n  for i in 1 2; do\n    bin/train --seed=$i\n  done\n  ```\n"
    )
    assert documented.commands_of(page) == [
        "bin/train",
        "bin/generate --model=a \\\n  --seed=1",
        "for i in 1 2; do\n  bin/train --seed=$i\ndone",
        "bin/partition --owners=2",
    ]


def test_a_command_that_nobody_knows_is_refused(documented):
    with pytest.raises(ValueError, match="README.md shows a command .* no rule for: bin/destroy"):
        documented.elsewhere(documented.Command("bin/destroy --all", ("README.md",)))


def test_placeholders_are_filled_in(documented):
    command = documented.Command("bin/train --data_dir=DIR --epsilon=E --name=a_epsE", ("a.md",))
    assert documented.runnable(command, "/d") == "bin/train --data_dir=/d --epsilon=1 --name=a_eps1"
