# SPDX-License-Identifier: Apache-2.0
"""The report of the committed MNIST release in a real browser: whole, by itself, readable, accessible."""

from __future__ import annotations

import pytest
import report_samples
from browser import chromium

from tfartgen import released_data, report, report_documents

#: On the whole release, see docs/results.md.
COMMITTED = report_samples.RESULTS / "mnist" / "report.html"

#: Of an image that is drawn, and of an axis along which nothing may be scrolled.
_LOADED = "image => image.complete && image.naturalWidth > 0"
_TOO_WIDE = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(name="pages", scope="module")
def _pages(tmp_path_factory):
    """The committed page, and both on fewer images of the same generator, with the committed documents."""
    folder = tmp_path_factory.mktemp("report")
    digest = report_samples.drawn(folder / "mnist", "mnist", 2000)
    results = report_samples.documents("mnist", folder / "results", digest)
    release = released_data.read(folder / "mnist")
    found = report_documents.gather([results], digest, "mnist")
    return [COMMITTED, *report.write(report.Report(release, found, None), folder / "report.html")]


@pytest.fixture(name="browser", scope="module")
def _browser():
    with chromium() as browser:
        yield browser


def opened(browser, path, **look):
    """The page, and what it complained of or asked for."""
    page, complaints = browser.new_context(**look).new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            complaints.append(request.url)
            if not request.url.startswith(("data:", path.as_uri()))
            else None
        ),
    )
    page.goto(path.as_uri())
    return page, complaints


@pytest.mark.parametrize("width", [360, 1000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_whole_and_fit(browser, pages, width, scheme):
    for path in pages:
        look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
        page, complaints = opened(browser, path, **look)
        images = page.locator("img").all()
        assert bool(images) == (path != pages[2])  # without the real records none is beside them
        assert all(image.evaluate(_LOADED) for image in images)
        assert page.evaluate(_TOO_WIDE) <= 0
        assert complaints == []
        page.context.close()


def test_the_test_of_requests_and_width_can_fail(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<body><img src="https://example.org/x.png"><p style="width: 900px">wide')
    page, complaints = opened(browser, path, viewport={"width": 360, "height": 800})
    assert complaints and page.evaluate(_TOO_WIDE) > 0
    assert not page.locator("img").evaluate(_LOADED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_promise_accessibility_has_no_serious_finding(browser, pages, scheme):
    axe_playwright = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="needs axe-core: pip install 'tfartgen[test]'",
    )
    for path in pages:
        page, _ = opened(browser, path, bypass_csp=True, color_scheme=scheme)
        violations = axe_playwright.Axe().run(page).response["violations"]
        serious = [each for each in violations if each["impact"] in ("serious", "critical")]
        assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []
        page.context.close()


def test_on_paper_it_is_black_on_white_without_navigation(browser, pages):
    page, _ = opened(browser, pages[0], color_scheme="dark")
    page.emulate_media(media="print")
    style = page.locator("body").evaluate(
        "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
    )
    assert style == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert not page.locator("nav").is_visible()
    page.context.close()


def test_links_of_the_contents_lead_to_their_sections(browser, pages):
    page, _ = opened(browser, pages[0])
    for link in page.locator("nav a").all():
        link.click()
        name = link.get_attribute("href")
        assert page.locator(f"{name} h2").inner_text() == link.inner_text()
        assert page.locator(f"{name} h2").bounding_box()["y"] < page.viewport_size["height"]
    page.context.close()
