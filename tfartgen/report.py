# SPDX-License-Identifier: Apache-2.0
"""A report on a release: a page that can be published, and a private one with the real records beside it."""

from __future__ import annotations

import contextlib
import datetime
import html
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

import tfartgen
from tfartgen import (
    report_documents,
    report_evidence,
    report_guarantee,
    report_pictures,
    report_private,
    report_summary,
)
from tfartgen.evaluation_data import EvaluationData
from tfartgen.released_data import ReleasedData
from tfartgen.report_blocks import Block, Bullets, Heading, Missing, Page, Section, Text
from tfartgen.report_documents import KINDS, Found
from tfartgen.report_page import render
from tfartgen.report_private import Closeness, Records
from tfartgen.statement import ABSOLUTE_PATH
from tfartgen.whole_files import write_atomically

PRIVATE_PREFIX = "PRIVATE_"

_BANNER = (
    "PRIVATE. This page shows real records and tells of single ones. It must not leave the owner of the data; no epsilon "
    "covers it."
)

#: What one damaged value in a document can raise, while it is put into words.
_DAMAGE = (KeyError, TypeError, IndexError, AttributeError, ArithmeticError, ValueError)


class Report:
    """Both pages on a release, from the documents about it."""

    def __init__(
        self,
        release: ReleasedData,
        found: Mapping[str, Found],
        data: Optional[EvaluationData],
        stage: Callable[[str], object] = lambda _: None,
    ):
        """Compares the release with the real records, where they are given.

        Args:
          release: an artificial data set, whose digests were checked.
          found: documents about it, as `report_documents.gather` returned them.
          data: the real data that it was learned from; without it the private page shows no record.
          stage: told what happens next.

        Raises:
          ValueError: a document is about other records than the data.
        """
        self._release, self._found = release, found
        self._folder = pathlib.PurePath(release.folder).name
        self._documents = {}
        for kind, each in found.items():
            with _damage(each):
                folders = _folders(each.content)
                self._documents[kind] = _renamed(each.content, folders, self._folder)
        self._records = self._copied = self._closeness = None
        if data is not None:
            report_documents.require_same_records(found, data)
            self._records = Records(*data.train, np.concatenate([data.test[0], data.public]))
            stage("copies")
            self._copied = report_pictures.copies(release.images, data.train[0])
            self._closeness = Closeness(release, self._records, stage)

    def missing(self, location: str) -> list[tuple[str, str]]:
        """What was not measured of what every report should have, for people, and the command that does.

        Args:
          location: flags that name the real data.
        """
        folder = self._release.folder
        return [
            (KINDS[kind].title, report_documents.command(kind, folder, location))
            for kind in report_summary.missing_kinds(self._documents)
        ]

    def public_page(self) -> Page:
        """The page that can be published: aggregates, and artificial images."""
        release, stated = self._release, self._release.statement
        return Page(
            title=f"Artificial data in place of {release.name}: a report",
            lead=(
                f"{len(release.images):,} artificial labelled images, and what is known about them: what is guaranteed of the private "
                "records and what is not, what was measured, what attackers got, and what the images are good for."
            ),
            sections=[
                self._summary(),
                report_guarantee.released_section(release),
                report_guarantee.guarantee_section(stated),
                Section("estimate", "The empirical estimate", self._evidence("privacy_estimate")),
                Section("attacks", "Attacks", self._attacks()),
                Section("usefulness", "Usefulness", self._evidence("evaluation")),
                Section("pictures", "Pictures", self._pictures()),
                Section("provenance", "How these figures were made", [self._provenance()]),
            ],
        )

    def private_page(self) -> Page:
        """The page for the owner alone."""
        release = self._release
        needs_data = Missing(
            "the real records were not given",
            f"bin/report --release={release.folder} --dataset={release.name}",
        )
        exposure = self._found.get("exposure")
        missing = [] if self._records is not None else [needs_data]
        if exposure is None:
            missing.append(self._missing("exposure"))
        return Page(
            title=f"PRIVATE: {release.name}, artificial images beside real records",
            lead="For the owner of the data, beside the public page. Pictures with a red frame are real records.",
            sections=[
                report_private.closest_section(self._closeness, self._copies, release, needs_data),
                self._exposed(exposure, missing),
                self._membership(),
            ],
            banner=_BANNER,
        )

    def _summary(self) -> Section:
        known, powerless = [], []
        for kind, content in self._documents.items():
            with _damage(self._found[kind]):
                known += report_summary.known(kind, content)
                powerless += report_summary.powerless(content) if kind == "membership" else []
        missing = report_summary.missing_kinds(self._documents)
        return report_summary.section(
            self._release.statement,
            known,
            powerless,
            self._copies,
            missing,
            measured=bool({*self._documents} - {"exposure"}),  # which is for the other page
        )

    @property
    def _copies(self) -> Optional[int]:
        return None if self._copied is None else int(self._copied.sum())

    def _exposed(self, exposure: Optional[Found], missing: Sequence[Missing]) -> Section:
        with _damage(exposure) if exposure else contextlib.nullcontext():
            return report_private.exposed_section(self._release, self._records, exposure, missing)

    def _membership(self) -> Section:
        found, missing = self._found.get("membership"), self._missing("membership")
        with _damage(found) if found else contextlib.nullcontext():
            return report_private.membership_section(self._documents.get("membership"), missing)

    def _provenance(self) -> Block:
        listed = []
        for kind, content in self._documents.items():
            with _damage(self._found[kind]):
                listed += _measured(KINDS[kind].title, content)
        if listed:
            return Bullets("Measured:", listed)
        if self._documents:
            return Text(["The documents do not say where and when they were made."])
        nothing = "Nothing was measured." if self._copies is None else "Copies alone were counted."
        return Text([nothing])

    def _attacks(self) -> list[Block]:
        blocks: list[Block] = []
        for kind, title in _ATTACKS.items():
            if kind in self._documents or not report_summary.is_optional(kind):
                blocks += [Heading(title), *self._evidence(kind)]
        return blocks

    def _evidence(self, kind: str) -> list[Block]:
        if kind not in self._documents:
            return [self._missing(kind)]
        with _damage(self._found[kind]):
            if kind == "privacy_estimate":
                return report_evidence.estimate_blocks(
                    self._documents[kind], self._release.statement
                )
            return _EVIDENCE[kind](self._documents[kind])

    def _missing(self, kind: str) -> Missing:
        folder = self._release.folder
        # What is absolute tells of the owner's machine.
        shown = self._folder if pathlib.PurePath(folder).is_absolute() else folder
        command = report_documents.command(kind, shown, f"--dataset={self._release.name}")
        return Missing(KINDS[kind].title, command)

    def _pictures(self) -> list[Block]:
        blocks: list[Block] = []
        if self._copies:
            blocks.append(
                Text(
                    [
                        f"{self._copies:,} artificial images equal a training record in every pixel. They are not shown here."
                    ],
                    important=True,
                )
            )
        if self._copied is None or not self._copied.all():
            blocks.append(report_pictures.diversity(self._release, self._copied))
        return blocks


_ATTACKS = {
    "membership": "Membership inference",
    "inversion": "Model inversion",
    "audit": "Audit of the training by planted canaries",
}

_EVIDENCE: Mapping[str, Callable[[Mapping[str, Any]], list[Block]]] = {
    "membership": report_evidence.membership_blocks,
    "inversion": report_evidence.inversion_blocks,
    "audit": report_evidence.audit_blocks,
    "evaluation": report_evidence.usefulness_blocks,
}


def write(report: Report, output: pathlib.Path) -> list[pathlib.Path]:
    """Writes both pages: `output`, and beside it the private one.

    Returns:
      The paths; the public page's first. The private one is for its owner alone, whatever the umask.

    Raises:
      OSError: no space, or no permission.
      ValueError: the public page would hold an absolute path; nothing is written.
    """
    made = f"Made by tfartgen {tfartgen.__version__} on {datetime.date.today().isoformat()}."
    public, private = render(report.public_page(), made), render(report.private_page(), made)
    _refuse_paths(public)
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(PRIVATE_PREFIX + output.name)
    write_atomically(beside, private, private=True)
    write_atomically(output, public)
    return [output, beside]


def _refuse_paths(page: str) -> None:
    text = html.unescape(re.sub(r"<[^>]*>", "\n", page))
    found = ABSOLUTE_PATH.search(text)
    if found:
        shown = text[found.start() :].strip().splitlines()[0][:60]
        raise ValueError(
            f"the public page would hold an absolute path, {shown!r}; make the documents anew with paths from the working "
            "folder"
        )


def _measured(title: str, content: Mapping[str, Any]) -> list[str]:
    """Where and when a document was made; nothing of one that does not say."""
    if "date" not in content:
        return []
    versions = ", ".join(f"{name} {each}" for name, each in content["versions"].items())
    place = f"{content['machine']}, Python {content['python']}"
    return [f"{title}: {content['date']}, {place}, {versions}"]


def _folders(content: Mapping[str, Any]) -> set[str]:
    """Folders of releases that a document names."""
    releases = content.get("releases", []) + [content.get("release")]
    return {each["folder"] for each in releases if isinstance(each, dict) and "folder" in each}


def _renamed(value: Any, folders: set[str], name: str) -> Any:
    """A document with folders, which are paths of the owner's machine, replaced by a name."""
    if isinstance(value, dict):
        return {key: _renamed(each, folders, name) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, folders, name) for each in value]
    return name if isinstance(value, str) and value in folders else value


@contextlib.contextmanager
def _damage(found: Found) -> Iterator[None]:
    """Names the file whose content cannot be put into words.

    Raises:
      ValueError: it cannot.
    """
    try:
        yield
    except _DAMAGE as error:
        if str(found.path) in str(error):  # says so itself
            raise
        raise ValueError(
            f"{found.path} is damaged ({type(error).__name__}: {error}); make it anew with {KINDS[found.kind].command.split()[0]}"
        ) from error
