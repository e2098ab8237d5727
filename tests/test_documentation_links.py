# SPDX-License-Identifier: Apache-2.0
"""Links of the documentation lead to files, and to headings, that are there."""

from __future__ import annotations

import re

import pytest
from scripts import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(text):
    """What a heading is linked by: lower case, blanks as hyphens, no other punctuation."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", match[1].strip().lower()).replace(" ", "-")
        for match in HEADING.finditer(plain)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), f"{path} is not there"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


def test_anchors_are_made_as_on_github():
    text = "# One, two: `three`\n```sh\n# no heading\n```\n## SVHN & co\n"
    assert anchors(text) == {"one-two-three", "svhn--co"}
