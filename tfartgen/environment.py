# SPDX-License-Identifier: Apache-2.0
"""Where a figure was measured: date, processor and versions; no host or user name."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
from typing import Any

_PACKAGES = ("tensorflow", "keras", "tensorflow-privacy", "dp-accounting", "numpy", "scikit-learn")


def describe() -> dict[str, Any]:
    """Machine, versions and date, for a file of results."""
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
