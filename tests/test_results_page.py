# SPDX-License-Identifier: Apache-2.0
"""`docs/results.md` says what the committed documents say."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"


@pytest.fixture(name="results_page", scope="module")
def _results_page():
    path = ROOT / "tests" / "benchmarks" / "results_page.py"
    spec = importlib.util.spec_from_file_location("results_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_figures_of_its_documents(results_page):
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- results: ") == page.count("<!-- end -->") > 10
    assert results_page.filled(page) == page
    document = json.loads((PAGE.parent / "results/mnist/evaluation.json").read_text())
    accuracy = document["table"][0]["accuracy"]["mean"]
    assert f"| {100 * accuracy:.2f} ± " in page


def test_a_figure_that_was_changed_by_hand_is_noticed(results_page):
    page = PAGE.read_text(encoding="utf-8")
    changed = re.sub(r"± \d", "± 7", page, count=1)
    changed = changed if changed != page else re.sub(r"± 7", "± 3", page, count=1)
    assert results_page.filled(changed) == page != changed


def test_every_picture_of_the_page_is_there():
    for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).is_file(), name
