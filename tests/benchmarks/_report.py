# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: a quiet TensorFlow, a small table, and JSON that says where it was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"
_PACKAGES = ("tensorflow", "keras", "tensorflow-privacy", "dp-accounting", "numpy", "scikit-learn")


def quiet() -> None:
    """Call before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def environment() -> dict[str, Any]:
    """Machine, versions and date of a measurement; no host or user name."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} x {_processor()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write(name: str, facts: dict[str, Any]) -> None:
    """Writes `results/<name>.json` and says so."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**environment(), **facts}, indent=2) + "\n", encoding="utf-8")
    print(f"written: {os.path.relpath(path)}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints columns aligned to the right."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
