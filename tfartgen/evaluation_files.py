# SPDX-License-Identifier: Apache-2.0
"""What an evaluation, or a sweep, leaves behind: JSON, CSV and figures."""

from __future__ import annotations

import json
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tfartgen import evaluation_tables, figures
from tfartgen.trials import write_atomically


def write(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes all files of an evaluation.

    Returns:
      What was written; the JSON comes last, so that it speaks of what is there.

    Raises:
      OSError: no space, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = figures.draw_evaluation(document, folder)
    for name in figures.EVALUATION_FIGURES:  # of an evaluation that was there before
        if folder / f"{name}.png" not in paths:
            (folder / f"{name}.png").unlink(missing_ok=True)
    csv = folder / "evaluation.csv"
    write_atomically(csv, evaluation_tables.as_csv(document))
    return [*paths, csv, _write_json(document, folder / "evaluation.json")]


def write_sweep(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes all files of a sweep; returns and errors as `write`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = figures.draw_sweep(document, folder)
    csv = folder / "sweep.csv"
    write_atomically(csv, evaluation_tables.sweep_csv(document))
    return [*paths, csv, _write_json(document, folder / "sweep.json")]


def summarize(written: Sequence[pathlib.Path], output: pathlib.Path) -> str:
    """The last lines of `bin/evaluate`.

    Args:
      written: what was.
      output: its folder, as the person gave it.
    """
    names = f"Written:   {output}: {', '.join(path.name for path in written)}"
    return "\n".join(
        [
            textwrap.fill(names, 79, subsequent_indent=" " * 11, break_long_words=False),
            "Privacy:   PRIVATE. These figures are computed from the real records, and no",
            "           epsilon covers them",
            f"Next:      look at {output}/{written[0].name}",
        ]
    )


def _write_json(document: Mapping[str, Any], path: pathlib.Path) -> pathlib.Path:
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return path
