# SPDX-License-Identifier: Apache-2.0
"""What a study will do, and about how long that takes: at most 80 columns wide, and nothing is written."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
import textwrap
from collections.abc import Sequence

from tfartgen import study_times
from tfartgen.study_records import GOES_ON, UP_TO_DATE, WILL_RUN, StudyRecords, Verdict
from tfartgen.study_stages import Stage
from tfartgen.study_times import DataSize, Estimate

_WIDTH, _INDENT = 79, "    "


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """A stage, whether it runs, and how long.

    Attributes:
      stage: the stage.
      verdict: whether and why.
      estimate: of its time, if it runs.
    """

    stage: Stage
    verdict: Verdict
    estimate: Estimate

    @property
    def seconds(self) -> float:
        """Likely to be spent on it."""
        return 0.0 if self.verdict.state == UP_TO_DATE else self.estimate.seconds


def make(
    all_stages: Sequence[Stage], records: StudyRecords, size: DataSize
) -> tuple[PlannedStage, ...]:
    """Looks at what there is; errors as `StudyRecords.read`.

    A stage whose needs have to run is taken to run as well, although it is left alone in the end if these give the
    same result as before.
    """
    planned: dict[str, PlannedStage] = {}
    for stage in all_stages:
        verdict = records.judge(stage)
        waits_for = [name for name in stage.needs if planned[name].verdict.state != UP_TO_DATE]
        if waits_for and verdict.state == UP_TO_DATE:
            verdict = Verdict(WILL_RUN, f"depends on {waits_for[0]}")
        last = records.last_seconds(stage.name)
        estimate = study_times.estimate(stage, size, last)
        planned[stage.name] = PlannedStage(stage, verdict, estimate)
    return tuple(planned.values())


def text(planned: Sequence[PlannedStage], folder: pathlib.Path, jobs: int) -> str:
    """The plan for people: stages, times, commands."""
    blocks = [_table(planned), _times(planned, jobs), _commands(planned, folder)]
    return "\n\n".join(block for block in blocks if block)


def _table(planned: Sequence[PlannedStage]) -> str:
    rows = [("stage", "time", "state"), *map(_row, planned)]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(
        f"{name:<{width}}  {time:>8}  {_cut(state, _WIDTH - width - 12)}"
        for name, time, state in rows
    )


def _row(planned: PlannedStage) -> tuple[str, str, str]:
    verdict, name = planned.verdict, planned.stage.name
    if verdict.state == UP_TO_DATE:
        return name, "-", verdict.state
    return name, _time(planned.estimate), f"{verdict.state}: {verdict.reason}"


def _time(estimate: Estimate) -> str:
    return ("" if estimate.is_recorded else "~") + study_times.shown(estimate.seconds)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _times(planned: Sequence[PlannedStage], jobs: int) -> str:
    """The sum, and where it comes from."""
    running = [each for each in planned if each.verdict.state != UP_TO_DATE]
    if not running:
        return "Everything is up to date; only the tables are written anew."
    total = sum(each.seconds for each in running)
    sentences = [f"All together: about {study_times.shown(total)} one stage after the other"]
    if jobs > 1:
        least = study_times.makespan(
            [each.stage for each in planned],
            {each.stage.name: each.seconds for each in planned},
            jobs,
        )
        sentences[
            0
        ] += f", at least {study_times.shown(least)} with {jobs} at a time, if these do not slow each other down"
    sentences[0] += "."
    if any(each.estimate.is_recorded for each in running):
        sentences.append("Times without ~ are those of the stage's last finish in this folder.")
    if not all(each.estimate.is_recorded for each in running):
        sentences.append(
            f"~ is rough: scaled by records and pixels from digits and MNIST on {study_times.MACHINE}."
        )
    if any(each.verdict.state == GOES_ON for each in running):
        sentences.append("A stage that goes on takes at most its time.")
    return textwrap.fill(" ".join(sentences), _WIDTH)


def _commands(planned: Sequence[PlannedStage], folder: pathlib.Path) -> str:
    commands = [each.stage.command for each in planned if each.verdict.state != UP_TO_DATE]
    if not commands:
        return ""
    shown = [_wrapped([f"bin/{program}", *rest]) for program, *rest in commands]
    return "\n".join([*textwrap.wrap(f"Commands, which run in {folder}:", _WIDTH), *shown])


def _wrapped(command: Sequence[str]) -> str:
    """A command in lines that a shell joins."""
    lines, room = [_INDENT + shlex.quote(command[0])], _WIDTH - 2
    for word in map(shlex.quote, command[1:]):
        if len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{_INDENT * 2}{word}")
    return " \\\n".join(lines)
