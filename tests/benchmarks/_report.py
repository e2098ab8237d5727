# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: a quiet TensorFlow, a small table, and JSON that says where it was measured."""

from __future__ import annotations

import json
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tfartgen import environment

RESULTS = pathlib.Path(__file__).parent / "results"


def quiet() -> None:
    """Call before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def write(name: str, facts: dict[str, Any]) -> None:
    """Writes `results/<name>.json` and says so."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({**environment.describe(), **facts}, indent=2) + "\n", encoding="utf-8"
    )
    print(f"written: {os.path.relpath(path)}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints columns aligned to the right."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
