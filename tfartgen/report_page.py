# SPDX-License-Identifier: Apache-2.0
"""A page of a report as one HTML file: nothing in it is fetched from elsewhere."""

from __future__ import annotations

import functools

import jinja2
import markupsafe

from tfartgen.report_blocks import Page


def render(page: Page, made: str) -> str:
    """The file's text.

    Args:
      page: what is on it; all of its text is escaped, but for charts.
      made: where and when, for the foot of the page.
    """
    template = _environment().get_template("report.html")
    return template.render(page=page, made=made)


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfartgen", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests["block"] = lambda value, name: type(value).__name__ == name
    environment.filters["svg"] = markupsafe.Markup
    return environment
