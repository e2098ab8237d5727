# SPDX-License-Identifier: Apache-2.0
"""What a page of a report is made of: sections of blocks, without a word about how they look."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional, Union

from tfartgen.evaluation_tables import Table


@dataclasses.dataclass(frozen=True)
class Text:
    """Paragraphs; an important one warns of what is said in it."""

    paragraphs: Sequence[str]
    important: bool = False


@dataclasses.dataclass(frozen=True)
class Heading:
    """The title of a part of a section."""

    title: str


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list under a line that introduces it; nothing is shown of an empty one."""

    title: str
    items: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values, side by side."""

    pairs: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Figures:
    """A table with its caption."""

    caption: str
    table: Table


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawing, as SVG, whose numbers are in a table beside it.

    Attributes:
      caption: above it.
      description: instead of it, for those who do not see it.
      svg: the element.
    """

    caption: str
    description: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image.

    Attributes:
      source: a data URI.
      description: instead of it.
      note: below it.
      private: whether it is a real record.
    """

    source: str
    description: str
    note: str = ""
    private: bool = False


@dataclasses.dataclass(frozen=True)
class PictureRow:
    """Pictures side by side: groups of them, each under its name."""

    label: str
    groups: Sequence[tuple[str, Sequence[Picture]]]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Rows of pictures under a title, and what they show."""

    title: str
    caption: str
    rows: Sequence[PictureRow]


@dataclasses.dataclass(frozen=True)
class Missing:
    """What was not measured, and the command that does."""

    what: str
    command: str


Block = Union[Text, Heading, Bullets, Facts, Figures, Chart, Gallery, Missing]


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what is under it.

    Attributes:
      anchor: of links to it.
      title: the heading.
      blocks: from top to bottom.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
      title: of the document, and its first heading.
      lead: below it.
      sections: from top to bottom.
      banner: what makes the page private; None of one that can be published.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    banner: Optional[str] = None
