# SPDX-License-Identifier: Apache-2.0
"""What `bin/infer_membership` leaves behind."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from tfartgen import membership_figures
from tfartgen.whole_files import write_json


def write(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes the ROC figure and, last, the JSON.

    Raises:
      OSError: no space, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure = folder / "membership.png"
    membership_figures.draw(document, figure)
    return [figure, write_json(document, folder / "membership.json")]
