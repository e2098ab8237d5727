# SPDX-License-Identifier: Apache-2.0
"""Names that a release shows to everybody: which may be shown, and which are refused before anything is written.

The names of the data set and of its classes go as they are into the graph and `model.json` of a generator, and into privacy
statement, data sheet, preview, files and folders of a data set. Pure Python; no TensorFlow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from tfartgen import leaks
from tfartgen.statement import ABSOLUTE_PATH

#: Characters. The longest name of TFDS's 67,000 labels has fewer; what is longer is a sentence about somebody, or a dump.
LONGEST_NAME = 100

#: Unseen, and needed to spell in Persian, in Indic scripts and in emoji: the two joiners of Unicode.
_JOINERS = "\u200c\u200d"

_E_MAIL = re.compile(r"[^\s@/]+@[^\s@/]+\.[^\s@/]+")

#: Names that are listed in one message.
_MOST_LISTED = 5

_SHOWN = 60


def check_names(name: str, class_names: Sequence[str]) -> None:
    """Refuses what nobody means to publish as the name of a data set or of a class.

    Refused are: absolute paths and backslashes; `.` and `..`; a slash, but for a single one inside a class name, as in
    Fashion-MNIST's `T-shirt/top`; control characters, line ends and whatever else cannot be seen or turns the direction of
    writing, but for the two joiners that some scripts need; what is no UTF-8; empty names, and spaces around a name;
    more than `LONGEST_NAME` characters; the name of this user or host (`leaks.local_names`), in any case; two classes
    that are the same to a reader, which is after Unicode's normal form C and without joiners. Names that differ in capitals only are two
    names here; the format `png`, which makes folders of them, refuses them (`dataset_formats.check`).

    Formal guarantee: none. A name that passes may still tell something, and no epsilon covers it; `bin/generate --verify` lists all.

    Args:
      name: of the data set, which is also part of file names.
      class_names: in the order of the labels.

    Raises:
      ValueError: a name must not be published; one line, with the name and the remedy.
    """
    local = leaks.local_names()
    fault = _fault(name, local) or _fault_as_file(name)
    if fault:
        raise ValueError(
            f"the data set's name {_shown(name)} {fault}, and it is published; rename the file or folder that it comes from"
        )
    readers: dict[str, str] = {}
    for class_name in class_names:
        fault = _fault(class_name, local) or _fault_as_class(class_name)
        if fault:
            raise ValueError(
                f"the class name {_shown(class_name)} {fault}, and it is published; rename the class (its folder, or its entry in "
                "class_names)"
            )
        other = readers.get(_as_read(class_name))
        if other is not None:
            raise ValueError(
                f"the class names {ascii(other)} and {ascii(class_name)} are the same to a reader; rename one of the two"
            )
        readers[_as_read(class_name)] = class_name


def check_texts(where: str, value: Any) -> None:
    """Refuses absolute paths, what is no UTF-8 and what cannot be seen in the texts of something that is to be published.

    Args:
      where: what to call it.
      value: a text, or a list or dictionary of such, as in a privacy statement.

    Raises:
      ValueError: a text must not be published; one line, with the text and the remedy.
    """
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            check_texts(where, item)
    if not isinstance(value, str):
        return
    fault = next(_unfit(value, seen=_JOINERS + "\n\t"), None)
    if fault:
        raise ValueError(
            f"{where} must not hold {_shown(value)}, which {fault}: it is published; word it otherwise"
        )


def check_classes(class_names: Sequence[str], counts: Sequence[int]) -> None:
    """Refuses a class that no training record has: its images would be drawn and published all the same.

    Formal guarantee: none. That a run goes on says that every class has a record, which no epsilon covers, as it does not cover the
    names of the classes (`statement.NOT_PROTECTED`). The counts themselves are used for nothing else.

    Args:
      class_names: in the order of the labels.
      counts: training records of each class.

    Raises:
      ValueError: a class has none, or there are not as many counts as classes.
    """
    if len(counts) != len(class_names):
        raise ValueError(
            f"counts must have {len(class_names)} numbers, one per class, got {len(counts)}"
        )
    absent = [name for name, count in zip(class_names, counts) if not count > 0]
    if absent:
        more = f" and {len(absent) - _MOST_LISTED} more" if len(absent) > _MOST_LISTED else ""
        names = ", ".join(map(_shown, absent[:_MOST_LISTED])) + more
        raise ValueError(
            f"no training record has the class {names}, and images of it would be drawn and published all the same; remove it (from "
            "class_names, or its folder), or add records of it"
        )


def notes(name: str, class_names: Sequence[str]) -> tuple[str, ...]:
    """Lines for people on names that pass `check_names` and may tell more than was meant: addresses of e-mail."""
    found = [text for text in (name, *class_names) if _E_MAIL.search(text)]
    if not found:
        return ()
    return (f"published as a name, and looks like an e-mail address: {_shown(found[0])}",)


def _fault(text: str, local: Sequence[str]) -> Optional[str]:
    """Why a text must not be published as a name; None where it may."""
    return next(_faults(text, local), None)


def _faults(text: str, local: Sequence[str]) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"is no text but {type(text).__name__}"
        return
    if not text.strip():
        yield "is empty"
    yield from _unfit(text, seen=_JOINERS)
    if text != text.strip():
        yield "begins or ends with a space"
    if len(text) > LONGEST_NAME:
        yield f"has {len(text)} characters, more than {LONGEST_NAME}"
    if "\\" in text or text in (".", ".."):
        yield "is written like a path"
    for word in local:
        if leaks.has_word(text, word):
            yield "names this user or host"


def _unfit(text: str, seen: str) -> Iterator[str]:
    """Why no text of that kind must be published; `seen` may be in it though it is not printable."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield "is no UTF-8"
    if ABSOLUTE_PATH.search(text):
        yield "is or holds an absolute path"
    for character in "" if text.isprintable() else text:
        if not character.isprintable() and character not in seen:
            name = unicodedata.name(character, "")
            yield f"holds U+{ord(character):04X}{name and f' ({name})'}, which cannot be seen"


def _fault_as_file(name: str) -> Optional[str]:
    return "is no name of a file" if "/" in name or name.startswith(".") else None


def _fault_as_class(name: str) -> Optional[str]:
    parts = name.split("/")
    if len(parts) > 2 or any(not part.strip() or part in (".", "..") for part in parts):
        return "is written like a path"
    return None


def _as_read(name: str) -> str:
    """The same for names that a reader cannot tell apart."""
    return "".join(c for c in unicodedata.normalize("NFC", name) if c not in _JOINERS)


def _shown(text: str) -> str:
    """As a literal on one line, in which nothing is unseen; its start if it is long."""
    literal = repr(text)
    return literal if len(literal) <= _SHOWN else literal[:_SHOWN] + "..."
