# SPDX-License-Identifier: Apache-2.0
"""What tells of a machine or its user in a file that is to be published."""

from __future__ import annotations

import contextlib
import getpass
import pathlib
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Optional

from tfartgen.statement import ABSOLUTE_PATH

_BLOCK, _OVERLAP = 1 << 20, 256

#: Larger files are not looked at as text.
_LARGEST_TEXT = 1 << 26

#: A path in a file that is no text: only below a well-known root, since any short pattern occurs by chance.
_PATH_IN_BINARY = re.compile(
    rb"/(?:home|root|Users|tmp|work|usr|opt|var|data|mnt|srv|etc|private)/[\w.-]{3}|[A-Za-z]:\\Users\\"
)

#: In what is no text, so many characters in a row that can be read are taken for one.
_SHORTEST_RUN = 6

#: Whatever is decoded to be neither a control character nor the mark of what is no UTF-8.
_RUN = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ufffd]{{{_SHORTEST_RUN},}}")

#: Names of users and hosts that tell nothing, and occur in texts.
_COMMON_NAMES = frozenset(
    "root user users admin administrator guest test nobody runner build docker ubuntu debian core localhost jovyan "
    "data model train name".split()
)


def find(path: pathlib.Path, words: Iterable[str] = ()) -> Iterator[str]:
    """Absolute paths in a file, and in a text the given words, the first of each.

    Args:
      path: of a file of any kind.
      words: such as `local_names`.

    Yields:
      A line for each, for people.
    """
    text = _text_of(path)
    if text is None:
        yield from _paths_in_binary(path)
        return
    found = ABSOLUTE_PATH.search(text)
    if found:
        yield f"holds an absolute path: {_excerpt(text, found)!r}"
    for word in words:
        found = _word(word).search(text)
        if found:
            yield f"names this user or host: {_excerpt(text, found)!r}"


def has_word(text: str, word: str) -> bool:
    """Whether a name holds a word, in whatever case; what joins words in names, as `_` does, is no part of them."""
    return _word(word, re.IGNORECASE).search(text) is not None


def _word(word: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", flags)


def _text_of(path: pathlib.Path) -> Optional[str]:
    if path.stat().st_size > _LARGEST_TEXT:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def _excerpt(text: str, found: re.Match[str]) -> str:
    return text[found.start() : found.start() + 60].splitlines()[0].strip()


def runs(content: bytes) -> list[str]:
    """What can be read in bytes that are no text: `_SHORTEST_RUN` or more characters of UTF-8 in a row."""
    return [found.strip() for found in _RUN.findall(content.decode("utf-8", "replace"))]


def _paths_in_binary(path: pathlib.Path) -> Iterator[str]:
    tail = b""
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            found = _PATH_IN_BINARY.search(tail + block)
            if found:
                yield f"holds an absolute path: {found[0].decode('ascii')!r}..."
                return
            tail = block[-_OVERLAP:]


def local_names() -> list[str]:
    """Names of this user and this host, unless they are so common that they tell nothing."""
    names = {socket.gethostname(), socket.gethostname().partition(".")[0]}
    with contextlib.suppress(OSError, KeyError, ImportError):
        names.add(getpass.getuser())
    return sorted(n for n in names if len(n) > 2 and n.lower() not in _COMMON_NAMES)
