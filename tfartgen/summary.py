# SPDX-License-Identifier: Apache-2.0
"""What a person reads at the end of a command, at most 80 columns wide."""

from __future__ import annotations

import pathlib
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a summary of something else should not pay for their imports
    from tfartgen.data import PrivateData
    from tfartgen.training import RunResult

_WIDTH = 79


def print_notes(notes: Iterable[str]) -> None:
    """Prints lines about the data or the run on standard error."""
    for note in notes:
        print(_wrapped(f"note: {note}"), file=sys.stderr)


def of_training(result: RunResult, data: PrivateData, run_dir: str, command: str) -> str:
    """The last lines of `bin/train`.

    Args:
      result: how training ended.
      data: what it trained on.
      run_dir: the run's folder, as the person gave it.
      command: what was typed, to be repeated.

    Returns:
      Several lines: critic steps, epsilon with its relation and whether it means anything, where the model is,
      and what to run next.
    """
    lines = [*_steps_lines(result, data), *_privacy_lines(result)]
    if result.model_path is None:
        signal_name = result.stopped_by.name if result.stopped_by else "a callback"
        lines += [
            f"Stopped:   by {signal_name}; saved in {run_dir}",
            f"Next:      {command}",
            "           goes on where it stopped",
        ]
    else:
        done = (
            "finished before; nothing to do"
            if result.already_finished
            else "a SavedModel without the critic"
        )
        lines += [
            f"Generator: {result.model_path} ({done})",
            f"Next:      bin/generate --model={result.model_path.parent}",
            f"           tensorboard --logdir={run_dir}",
        ]
    return "\n".join(lines)


def of_results(written: Sequence[pathlib.Path], output: pathlib.Path) -> str:
    """The last lines of a command that leaves figures about real records in a folder.

    Args:
      written: what was; the first is what to look at.
      output: its folder, as the person gave it.
    """
    names = f"Written:   {output}: {', '.join(path.name for path in written)}"
    return "\n".join(
        [
            textwrap.fill(names, _WIDTH, subsequent_indent=" " * 11, break_long_words=False),
            "Privacy:   PRIVATE. These figures are computed from the real records, and no",
            "           epsilon covers them",
            f"Next:      look at {output}/{written[0].name}",
        ]
    )


def of_report(
    written: Sequence[pathlib.Path], missing: Sequence[tuple[str, str]], has_records: bool
) -> str:
    """The last lines of `bin/report`.

    Args:
      written: the public page, and the private one.
      missing: what was not measured, and the command that does.
      has_records: whether the real data was there for the private page.
    """
    public, private = written
    lines = [f"Written:   {public}"]
    lines += [f"Private:   {private}", "           shows real records; it must not leave you"]
    if not has_records:
        lines[-1] = "           without real records; give --dataset to have them beside"
    for what, command in missing:
        lines += [f"Missing:   {what}, which this command measures:", f"           {command}"]
    return "\n".join(
        [*lines, f"Next:      read {public}, and docs/reading_the_report.md on how to"]
    )


def _steps_lines(result: RunResult, data: PrivateData) -> list[str]:
    text = f"{result.steps:,} of {result.total_steps:,} critic steps"
    if result.warm_start is not None:
        taken, total = result.warm_start
        text = f"{taken:,} of {total:,} steps of the warm start, {text}"
    text += f" on {data.train.num_examples:,} records of {data.name}"
    return textwrap.wrap(text, _WIDTH, initial_indent="Trained:   ", subsequent_indent=" " * 11)


def _privacy_lines(result: RunResult) -> list[str]:
    text = result.spent.explanation + result.together
    if result.void_reasons:
        text = f"VOID: {'; '.join(result.void_reasons)}. No guarantee."
    return textwrap.wrap(text, _WIDTH, initial_indent="Privacy:   ", subsequent_indent=" " * 11)


def exit_status(result: RunResult) -> int:
    """0 when the run is done, 128 plus the signal's number when one stopped it."""
    return 0 if result.stopped_by is None else 128 + int(result.stopped_by)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="      ", break_long_words=False)
