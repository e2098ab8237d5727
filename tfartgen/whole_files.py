# SPDX-License-Identifier: Apache-2.0
"""Files that readers see whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any, Union


def write_atomically(path: pathlib.Path, content: Union[str, bytes]) -> None:
    """Writes a file that readers see whole or not at all; text in UTF-8.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(document: Mapping[str, Any], path: pathlib.Path) -> pathlib.Path:
    """Writes a document for people and programs; returns the path.

    Raises:
      OSError: as `write_atomically`.
      ValueError: a number is not finite.
    """
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return path
