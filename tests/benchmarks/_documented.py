# SPDX-License-Identifier: Apache-2.0
"""The commands that the documentation shows: where they stand, how to run each in little time, and which cannot run here.

A command that no rule below knows is an error, so that none can be forgotten.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Optional

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

#: In the order in which their commands run: later ones find what earlier ones left.
FIRST = ("docs/getting_started.md", "docs/reading_the_report.md", "README.md")

#: What a block may hold besides fenced ones: text indented by four, if it begins like a command.
_COMMANDS = ("bin/", "python", "pip ", "docker ", "git ", "curl ", "tensorboard ", ".ci/")

_FENCED = re.compile(r"^( *)```sh\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
_INLINE = re.compile(r"`((?:bin/\w+|python tests/benchmarks/\w+\.py)[^`\n]*)`")
_PROGRAM = re.compile(r"(?<![\w/.-])bin/(\w+)")

#: Short generators, critics and students.
_TRAIN = ("--latent_dim=4", "--generator_width=2", "--critic_width=2", "--generator_batch_size=4")
_WARM_START = ("--warm_start_steps=3", "--fourier_features=20")
_CRITIC = ("--steps=3", "--batch_size=16")
_STUDENTS = (
    "--architectures=logistic_regression",
    "--seeds=1",
    "--student_steps=5",
    "--dp_steps=2",
)


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of the documentation, as it is written, without its comments.

    Attributes:
      text: what a shell would run, perhaps of several lines.
      places: the documents that show it.
    """

    text: str
    places: tuple[str, ...]

    @property
    def calls(self) -> list[list[str]]:
        """Arguments of every program of `bin/` and of every Python file that it starts, the program's name first."""
        found = []
        for part in re.split(r"\n|;|&&|\||\bdo\b", self.text.replace("\\\n", " ")):
            words = _words(part)
            if words and (words[0].startswith("bin/") or words[0].startswith("python")):
                found.append(words)
        return found


def _words(part: str) -> list[str]:
    try:
        return shlex.split(part, comments=True)
    except ValueError:  # a piece of a program in quotes
        return []


def documents() -> list[pathlib.Path]:
    """All pages that a person may follow, those that prepare others first."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    found += [REPOSITORY / "docker" / "README.md", REPOSITORY / "saved_models" / "README.md"]
    pages = [path for path in found if path.name != "CHANGELOG.md"]
    first = [REPOSITORY / name for name in FIRST]
    return [*first, *sorted({*pages} - {*first})]


def commands() -> list[Command]:
    """Every command in a block of the documentation, each once, in the order of `documents`."""
    places: dict[str, list[str]] = {}
    for path in documents():
        for text in commands_of(path.read_text(encoding="utf-8")):
            places.setdefault(text, []).append(path.relative_to(REPOSITORY).as_posix())
    return [Command(text, tuple(dict.fromkeys(where))) for text, where in places.items()]


def commands_of(page: str) -> list[str]:
    """The commands in the blocks of one page."""
    blocks = [textwrap.dedent(match[2]) for match in _FENCED.finditer(page)]
    unfenced = re.sub(r"^( *)```.*?^\1```", "", page, flags=re.MULTILINE | re.DOTALL)
    blocks += [
        block
        for match in _INDENTED.finditer(unfenced)
        if (block := textwrap.dedent(match[0])).startswith(_COMMANDS)
    ]
    return [command for block in blocks for command in _split(block)]


def inline_commands() -> list[Command]:
    """Those between single backticks, in running text and in tables: files to run, and programs with flags."""
    return [
        Command(match[1], (path.relative_to(REPOSITORY).as_posix(),))
        for path in documents()
        for match in _INLINE.finditer(path.read_text(encoding="utf-8"))
        if ("--" in match[1] or match[1].startswith("python")) and "..." not in match[1]
    ]


def _split(block: str) -> Iterator[str]:
    """Commands of a block: a line each, but for what goes on in the next one."""
    pending: list[str] = []
    for line in block.splitlines():
        pending.append(line)
        text = "\n".join(pending)
        if not _goes_on(text):
            pending = []
            if (command := _without_comments(text)).strip():
                yield command
    if pending:
        raise ValueError(f"a command without an end: {' '.join(pending)[:80]}")


def _goes_on(text: str) -> bool:
    if text.rstrip().endswith(("\\", "|", "&&")) or ("<<'END'" in text and "\nEND" not in text):
        return True
    if text.startswith("for ") and not text.endswith("done"):
        return True
    try:
        shlex.split(text, comments=True)
    except ValueError:  # a quotation is open
        return True
    return False


def _without_comments(text: str) -> str:
    return "\n".join(re.sub(r"(^|\s+)# .*$", "", line) for line in text.splitlines()).rstrip()


def smaller(program: str, arguments: Sequence[str]) -> list[str]:
    """Flags that make a run of a program short; given after others they replace these."""
    return list(_SMALLER[program]([*arguments])) if program in _SMALLER else []


def _has(arguments: Sequence[str], *names: str) -> bool:
    return any(each.split("=")[0] in names for each in arguments)


def _train(arguments: Sequence[str]) -> Sequence[str]:
    train = (*_TRAIN, "--projector_images=0")
    if not _has(arguments, "--epsilon"):
        return (*train, *_CRITIC)
    return (*train, *_WARM_START, *(_CRITIC if _has(arguments, "--steps", "--critic") else ()))


def _generate(arguments: Sequence[str]) -> Sequence[str]:
    return () if _has(arguments, "--verify") else ("--num_examples=1000", "--overwrite")


def _evaluate(arguments: Sequence[str]) -> Sequence[str]:
    sweep = next((each for each in arguments if each.startswith("--sweep=")), None)
    if sweep is None:
        return (*_STUDENTS, "--studies=table", "--methods=real,artificial")
    return (
        *_STUDENTS,
        "--methods=real,artificial",
        ",".join(sweep.split(",")[:2]),
        "--sweep_examples=100",
        "--nosweep_inversion",
        *_settings(arguments, formal="epsilon:" in sweep),
    )


def _settings(arguments: Sequence[str], formal: bool) -> list[str]:
    """The smaller training, as settings; each counts as it was given last."""
    has_critic = not formal or _has_setting(arguments, "steps")
    flags = (*_TRAIN, *(_WARM_START if formal else ()), *(_CRITIC if has_critic else ()))
    return [f"--train_setting={flag.removeprefix('--')}" for flag in flags]


def _has_setting(arguments: Sequence[str], name: str) -> bool:
    return any(each.startswith(f"--train_setting={name}=") for each in arguments)


def _estimate_privacy(arguments: Sequence[str]) -> Sequence[str]:
    if "--adjacency=retrain" not in arguments:
        return ("--dimensions=2",)
    return (
        "--dimensions=2",
        "--num_records=3",
        "--num_examples=1000",
        "--repeats=2",
        "--processes=1",
        *_settings(arguments, formal=False),
    )


def _invert(arguments: Sequence[str]) -> Sequence[str]:
    targets = () if _has(arguments, "--target_model") else _STUDENTS
    # Forty people take minutes; those of the folder that is made up have these names.
    people = ("--classes=s01,s02",) if "--faces" in arguments else ()
    return (*targets, *people, "--judge_steps=5", "--attacks=classic")


def _infer_membership(arguments: Sequence[str]) -> Sequence[str]:
    if "--audit" in arguments:
        formal = _has_setting(arguments, "epsilon")
        return ("--num_canaries=20", *_settings(arguments, formal))
    return (
        "--architecture=logistic_regression",
        "--shadow_models=0",
        "--student_steps=5",
        "--dp_steps=2",
        "--dimensions=2",
        "--num_candidates=30",
    )


def _reproduce(arguments: Sequence[str]) -> Sequence[str]:
    """The plan alone; `tests/test_study_resumed.py` runs a study from start to end."""
    return () if "--dry_run" in arguments else ("--dry_run",)


_SMALLER = {
    "train": _train,
    "generate": _generate,
    "evaluate": _evaluate,
    "estimate_privacy": _estimate_privacy,
    "invert": _invert,
    "infer_membership": _infer_membership,
    "reproduce": _reproduce,
}

#: Programs that run as they are written.
_AS_WRITTEN = ("partition", "report")

#: What the benchmark does not run, by a piece of the command, and what does.
_ELSEWHERE = {
    "docker ": "tests/test_docker.py checks the files; no test runs Docker",
    "docker/serving": "tests/test_docker.py checks the files; no test runs Docker",
    "curl ": "tests/test_serving.py, the same request to the server's protocol",
    "--server=": "tests/test_serving.py, against a server of its own",
    "DataflowRunner": "no test: as the runner's options are named, see docs/beam.md",
    "FlinkRunner": "no test: as the runner's options are named, see docs/beam.md",
    "PortableRunner": "no test: as the runner's options are named, see docs/beam.md",
    "DirectRunner": "tests/test_beam_pipeline.py",
    "tensorboard ": "tests/test_tensorboard_browser.py",
    "pytest": ".ci/run, in a new virtual environment",
    "pip install": ".ci/run, in a new virtual environment",
    "venv": ".ci/run, in a new virtual environment",
    ".ci/run": ".ci/run itself",
    "git ": "no test: it changes the repository",
    "tests/benchmarks/": "a benchmark itself; tests/test_documented_commands.py checks its flags",
}


def elsewhere(command: Command) -> Optional[str]:
    """Who runs a command that the benchmark leaves out; None for one that it runs.

    Raises:
      ValueError: nobody knows the command.
    """
    for piece, where in _ELSEWHERE.items():
        if piece in command.text:
            return where
    programs = _PROGRAM.findall(command.text)
    unknown = sorted({*programs} - {*_SMALLER, *_AS_WRITTEN})
    if unknown or not (programs or command.text.startswith(("python -c", "python3 -c"))):
        raise ValueError(
            f"{', '.join(command.places)} shows a command that tests/benchmarks/_documented.py has no rule for: "
            f"{command.text.splitlines()[0][:100]}"
        )
    return None


#: What stands for something of the reader's, and what it becomes; DIR becomes the folder of TFDS.
PLACEHOLDERS = {r"\bFOLDER\b": "orl_faces", r"(?<=[=_])eps?E\b": "eps1", r"(?<==)E\b": "1"}


def runnable(command: Command, data_dir: str) -> str:
    """The command with its placeholders filled in."""
    text = re.sub(r"\bDIR\b", data_dir, command.text)
    for placeholder, value in PLACEHOLDERS.items():
        text = re.sub(placeholder, value, text)
    return text
