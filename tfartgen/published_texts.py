# SPDX-License-Identifier: Apache-2.0
"""Every text of a release, for its owner to read before strangers do: names, lines, words in graphs and between pixels.

Texts that tfartgen, TensorFlow or TFDS put into every release are counted (`known_texts`). All others are listed, whoever put
them there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Callable, Union

from tfartgen import embedded_texts, leaks, papers
from tfartgen.known_texts import KnownTexts

#: Files of a SavedModel that `saved_model_scan` reads.
_SAVED_MODEL = re.compile(
    r"saved_model\.pb|fingerprint\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})"
)
_WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"

#: Files that are listed before others: those with the names.
_FIRST = ("model.json", papers.STATEMENT_FILE)

#: Bytes of a file that is searched for runs of characters where it cannot be read as what it is called.
_LARGEST_DAMAGED = 1 << 20

#: Columns of the page, places that are given for one text, and characters of a name, which shares a line.
_WIDTH, _MOST_PLACES, _LONGEST_NAME = 79, 4, 40

#: Where within a file, the text, and whether it is known.
_Found = Iterator[tuple[str, str, bool]]


@dataclasses.dataclass(frozen=True)
class Text:
    """A text in a release.

    Attributes:
      place: file and field, for people.
      text: as it is there.
      known: whether it says nothing, see `known_texts`.
    """

    place: str
    text: str
    known: bool


def texts(folder: Union[str, os.PathLike[str]]) -> list[Text]:
    """Every text of a data set, of one version of a generator or of all its versions; once for each place.

    Read are names of files and folders, JSON, lines, arrays of text, the protocol buffers of graphs, objects and examples, with
    fields that they should not have, and chunks of pictures that are no pixels. What is no text is searched for runs of
    characters (`leaks.runs`).

    Formal guarantee: no text is left out, but for what passes for numbers: values of weights and pixels.

    Args:
      folder: as in `verification.verify`.
    """
    path = pathlib.Path(folder).expanduser()
    versions = sorted(entry.parent for entry in path.glob("*/saved_model.pb"))
    if not versions or (path / "saved_model.pb").is_file():
        return list(dict.fromkeys(_of_release(path, "")))
    found = [text for version in versions for text in _of_release(version, f"{version.name}/")]
    inside = {version.name for version in versions}
    for name in papers.files_of(path):
        if pathlib.PurePath(name).parts[0] not in inside:
            found.append(Text("files beside the versions", name, False))
            found += _of_file(path, name, KnownTexts())
    return list(dict.fromkeys(found))


def listing(found: Iterable[Text]) -> str:
    """Those that are not known, by where they are, for a page of 80 columns; how many are known."""
    found = list(found)
    places: dict[str, dict[str, None]] = {}
    for each in found:
        if not each.known:
            places.setdefault(each.text, {})[each.place] = None
    groups: dict[tuple[str, ...], list[str]] = {}
    for text, where in places.items():
        groups.setdefault(tuple(where), []).append(text)
    known = len({each.text for each in found if each.known} - set(places))
    lines = textwrap.wrap(
        f"What it says: {len(places):,} texts, listed here, and {known:,} that tfartgen, TensorFlow and TFDS put into every release",
        _WIDTH,
    )
    for group, some in groups.items():
        lines += _wrapped(_places(group), 2)
        names = max(map(len, some)) <= _LONGEST_NAME
        for line in [", ".join(map(repr, some))] if names else map(repr, some):
            lines += _wrapped(line, 4)
    return "\n".join(lines)


def _places(group: tuple[str, ...]) -> str:
    more = len(group) - _MOST_PLACES
    return "; ".join(group[:_MOST_PLACES]) + (f"; {more:,} more places" if more > 0 else "")


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=space, subsequent_indent=space + "  ")


def _of_release(folder: pathlib.Path, prefix: str) -> Iterator[Text]:
    known, files = KnownTexts.of(folder), papers.files_of(folder)
    for name in (*_folders_of(folder), *files):
        yield Text(f"{prefix} files and folders".lstrip(), name, known.file(name))
    for name in sorted(files, key=lambda name: (not name.endswith(_FIRST), name)):
        for each in _of_file(folder, name, known):
            yield dataclasses.replace(each, place=prefix + each.place)


def _folders_of(folder: pathlib.Path) -> list[str]:
    """Links are files."""
    found = [pathlib.Path(parent, name) for parent, names, _ in os.walk(folder) for name in names]
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.is_symlink())


def _of_file(folder: pathlib.Path, name: str, known: KnownTexts) -> Iterator[Text]:
    file = folder / name
    if file.is_symlink():
        yield Text(f"{name} is a link to", os.readlink(file), False)
        return
    try:
        found = dict.fromkeys(_reader(name)(file, name, known))
    except Exception as error:  # of several libraries, whatever the damage is
        found = {("cannot be read, so that this is not all:", type(error).__name__, False): None}
        if file.stat().st_size <= _LARGEST_DAMAGED:
            found |= dict.fromkeys(_lines(file, name, known))
    for place, text, is_known in found:
        if text.strip():
            yield Text(f"{name} {place}".strip(), text, is_known)


def _reader(name: str) -> Callable[[pathlib.Path, str, KnownTexts], _Found]:
    if _SAVED_MODEL.fullmatch(name):
        return _saved_model
    if name == _WARMUP_FILE:
        return _requests
    if ".tfrecord" in name:
        return _examples
    readers = {".json": _json, ".npz": _npz, ".png": _png}
    return readers.get(pathlib.PurePath(name).suffix, _lines)


def _lines(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    content = file.read_bytes()
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        yield from (("", run, False) for run in leaks.runs(content))
        return
    for line in lines:
        yield "", line, name == papers.SHEET_FILE and known.sheet_line(line)


class _Pairs(list):
    """The pairs of a JSON object: a dictionary would forget all but the last of equal keys."""


def _json(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_Pairs)
    base = pathlib.PurePath(name).name
    for place, text in _of_json(content, ""):
        yield place, text, known.field(base, place, text)


def _of_json(content: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield place, content
    elif isinstance(content, _Pairs):
        for key, value in content:
            yield f"{place} (key)".strip(), key
            # Files are no fields.
            inner = place if place == "files" else f"{place}.{key}".lstrip(".")
            yield from _of_json(value, inner)
    elif isinstance(content, list):
        for each in content:
            yield from _of_json(each, place)


def _saved_model(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    from tfartgen import saved_model_scan

    del name  # the file has it
    for place, text in saved_model_scan.texts(file):
        yield place, text, known.graph_text(place, text)


def _requests(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    del name
    for record in embedded_texts.records(file):
        if not known.request(record):
            yield from (("request", run, False) for run in leaks.runs(record))


def _examples(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    del name, known
    for record in embedded_texts.records(file):
        for place, text in embedded_texts.of_example(record):
            yield place, text, place == "feature" and text in embedded_texts.FEATURES


def _npz(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    del name, known
    for place, text in embedded_texts.of_npz(file):
        yield place, text, place == "array" and text in embedded_texts.ARRAYS


def _png(file: pathlib.Path, name: str, known: KnownTexts) -> _Found:
    del name, known
    yield from ((*found, False) for found in embedded_texts.of_png(file.read_bytes(), ""))
