# SPDX-License-Identifier: Apache-2.0
"""A real browser for the tests of pages: headless Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser; skips the test where Playwright or Chromium is not installed."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install 'tfartgen[test]'"
    )
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs the program chromium on the PATH: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # In a container Chromium may neither make its sandbox nor fill /dev/shm.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def errors_of(page: Any) -> list[str]:
    """The uncaught errors of a page, as they come."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors
