# SPDX-License-Identifier: Apache-2.0
"""Files that readers see whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Union


def write_atomically(
    path: pathlib.Path, content: Union[str, bytes], *, private: bool = False
) -> None:
    """Writes a file that readers see whole or not at all, and that is on the disk when this returns; text in UTF-8.

    Args:
      path: of the file.
      content: of it.
      private: for its owner's eyes alone, the temporary copy too, whatever the umask.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666
        )
        with open(descriptor, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_names(path.parent)


def flush_names(folder: pathlib.Path) -> None:
    """Makes renames and new names in a folder last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def for_owner_only(but: int = 0o077) -> Iterator[int]:
    """Files and folders that are made meanwhile, by TensorFlow too, are for their owner alone; gives the umask of before.

    Args:
      but: the umask to have instead.
    """
    before = os.umask(but)
    try:
        yield before
    finally:
        os.umask(before)


def write_json(document: Mapping[str, Any], path: pathlib.Path) -> pathlib.Path:
    """Writes a document for people and programs; returns the path.

    Raises:
      OSError: as `write_atomically`.
      ValueError: a number is not finite.
    """
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return path
