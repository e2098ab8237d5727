# SPDX-License-Identifier: Apache-2.0
"""Which texts of a release are the same in every release, or follow from others: they say nothing of their owner.

What the library writes by itself today is taken from where it is written; what TensorFlow, TFDS and earlier versions write is in
`schemas/known_texts.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Optional

from tfartgen import budget_book, dataset_formats, datasheet, deltas, papers, statement
from tfartgen.artificial import DrawPlan

_SCHEMAS = pathlib.Path(__file__).with_name("schemas")

#: Files and folders that the writers name by themselves.
_FILES = re.compile(
    r"privacy\.json|DATASHEET\.md|preview\.png|data\.npz|dataset_info\.json|features\.json|label\.labels\.txt|variables"
    r"|assets(\.extra(/(model\.json|privacy\.json|tf_serving_warmup_requests))?)?|saved_model\.pb|fingerprint\.pb"
    r"|variables/variables\.(index|data-\d{5}-of-\d{5})"
)

#: Keys of TFDS whose values are whole numbers, written as texts.
_NUMBERS = frozenset(["dimensions", "numBytes", "numClasses", "shardLengths"])


@dataclasses.dataclass(frozen=True)
class KnownTexts:
    """Of one release. What its papers say of themselves is used, and need not be true.

    Attributes:
      stated: the privacy statement; None without a valid one.
      model: name and length of the latent, of a generator; None of a data set.
      contents: of a generator's JSON files, which its graph holds, too.
    """

    stated: Optional[Mapping[str, Any]] = None
    model: Optional[tuple[str, int]] = None
    contents: frozenset[str] = frozenset()

    @classmethod
    def of(cls, folder: pathlib.Path) -> KnownTexts:
        """Of a data set, or of one version of a generator."""
        stated, model = None, None
        description, model_statement = (
            folder / "assets.extra" / name for name in ("model.json", papers.STATEMENT_FILE)
        )
        contents = frozenset(
            file.read_text(encoding="utf-8", errors="replace")
            for file in (description, model_statement)
            if file.is_file()
        )
        with contextlib.suppress(OSError, ValueError, RecursionError):
            file = model_statement if model_statement.is_file() else folder / papers.STATEMENT_FILE
            read = json.loads(file.read_text(encoding="utf-8"))
            stated = None if statement.validate_statement(read) else read
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            read = json.loads(description.read_text(encoding="utf-8"))
            model = str(read["name"]), int(read["latent_dim"])
        return cls(stated, model, contents)

    def file(self, name: str) -> bool:
        """Whether the writers name a file or folder so, but for names that are listed anyhow."""
        if _FILES.fullmatch(name):
            return True
        tfds_name = re.escape(self._tfds_name or "")
        if re.fullmatch(rf"{tfds_name}-train\.tfrecord-\d{{5}}(-of-\d{{5}})?", name):
            return True
        top, _, rest = name.partition("/")
        return top in self._class_names and re.fullmatch(r"(\d{8,}\.png)?", rest) is not None

    def field(self, name: str, place: str, text: str) -> bool:
        """Whether a JSON file of that name has the text there, as the name of a field or as what it holds."""
        if name == papers.STATEMENT_FILE:
            return self._field_of_statement(place, text)
        if place.rpartition(".")[2] in _NUMBERS and text.isdecimal():
            return True
        if (name, place) == ("dataset_info.json", "name") and text == self._tfds_name:
            return True
        return text in _stored().get(name, {}).get(place, ())

    def _field_of_statement(self, place: str, text: str) -> bool:
        if place == "files":
            return re.fullmatch("[0-9a-f]{64}", text) is not None
        if place == "files (key)":
            return self.file(text)
        if place == "accountant.version":
            return re.fullmatch(r"\d+(\.\d+)*", text) is not None
        return (place, text) in _words_of_schema() or text in self._sentences.get(place, ())

    def sheet_line(self, line: str) -> bool:
        """Whether the data sheet has that line before the owner fills it in; its names are those of the statement."""
        return _without_version(line) in self._sheet

    def graph_text(self, place: str, text: str) -> bool:
        """Whether a generator's graph has that text there."""
        word = "#" if is_counted(place, text) else without_numbers(text)
        return text in self.contents or word in _words_of_graph()

    def request(self, record: bytes) -> bool:
        """Whether it is a warm-up request of the model."""
        return record in self._requests

    @property
    def _class_names(self) -> list[str]:
        described = self.stated["data_set"] if self.stated else None
        return described["class_names"] if described else []

    @property
    def _tfds_name(self) -> Optional[str]:
        described = self.stated["data_set"] if self.stated else None
        return dataset_formats.tfds_name(described["name"]) if described else None

    @functools.cached_property
    def _sentences(self) -> dict[str, frozenset[str]]:
        """Of a privacy statement, by field."""
        older = _stored()[papers.STATEMENT_FILE]["random_number_caveats"]
        known = {
            "unit": {"one record"},
            "not_protected": {*statement.NOT_PROTECTED},
            "earlier_releases.not_seen": {*budget_book.NOT_SEEN},
            "random_number_caveats": {
                *statement.EXACT_CAVEATS,
                *statement.CRITIC_CAVEATS,
                *older,
            },
        }
        if self.stated is not None:
            known["headline"] = {statement.headline(self.stated)}
            warning = deltas.warning(self.stated["delta"], self.stated.get("num_records"))
            known["warnings"] = set() if warning is None else {warning}
        return {place: frozenset(some) for place, some in known.items()}

    @functools.cached_property
    def _sheet(self) -> frozenset[str]:
        described = self.stated["data_set"] if self.stated else None
        if self.stated is None or described is None:
            return frozenset()
        policy = statement.label_policy(self.stated)
        assert policy is not None  # the schema wants one of a data set
        try:
            plan = DrawPlan(described["num_examples"], described["seed"], policy)
            counts = dict(zip(described["class_names"], papers.class_counts(plan).tolist()))
            sheet = datasheet.datasheet(self.stated, counts, "0")
        except ValueError:  # no such data set can be drawn
            return frozenset()
        return frozenset(map(_without_version, sheet.splitlines()))

    @functools.cached_property
    def _requests(self) -> frozenset[bytes]:
        from tfartgen import warmup

        if self.model is None:
            return frozenset()
        return frozenset(warmup.requests(name=self.model[0], latent_dim=self.model[1]))


def is_counted(place: str, text: str) -> bool:
    """Whether it is TensorFlow's own number of a captured variable, which grows as long as a program runs."""
    return place.endswith("arg_attr.attr.s") and re.fullmatch(r"\d{1,9}", text) is not None


def without_numbers(text: str) -> str:
    """A name in a graph without what is counted up in it. Numbers that are long enough to tell something stay."""
    if re.fullmatch(r"__inference_\w+_\d{1,9}", text):
        return re.sub(r"\d+$", "#", text)
    return re.sub(r"(?<!\d)\d{1,4}(?!\d)", "#", text)


def _without_version(line: str) -> str:
    """A line of the data sheet without the version of this program, which may be another than that which reads."""
    return re.sub(r"(: tfartgen )\d[\w.+]{0,20}(, Apache-2\.0)", r"\g<1>0\g<2>", line)


@functools.cache
def _stored() -> dict[str, Any]:
    """Names in the graph of a generator; of JSON files, what is in each field."""
    return json.loads((_SCHEMAS / "known_texts.json").read_text(encoding="utf-8"))


@functools.cache
def _words_of_graph() -> frozenset[str]:
    return frozenset(_stored()["graph"])


@functools.cache
def _words_of_schema() -> frozenset[tuple[str, str]]:
    """Names of fields of a privacy statement, and values that each may have."""
    schema = json.loads((_SCHEMAS / "privacy.schema.json").read_text(encoding="utf-8"))
    words: set[tuple[str, str]] = set()

    def visit(part: Mapping[str, Any], place: str) -> None:
        if "$ref" in part:
            part = functools.reduce(lambda at, key: at[key], part["$ref"].split("/")[1:], schema)
        values = [*part.get("enum", ()), part.get("const")]
        words.update((place, value) for value in values if isinstance(value, str))
        for key, inner in part.get("properties", {}).items():
            words.add((f"{place} (key)".strip(), key))
            visit(inner, f"{place}.{key}".lstrip("."))
        if isinstance(part.get("items"), Mapping):
            visit(part["items"], place)

    visit(schema, "")
    return frozenset(words)
