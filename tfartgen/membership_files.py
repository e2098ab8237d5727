# SPDX-License-Identifier: Apache-2.0
"""What `bin/infer_membership` leaves behind."""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
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


def summarize(written: Sequence[pathlib.Path], output: pathlib.Path) -> str:
    """The last lines of `bin/infer_membership`.

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
