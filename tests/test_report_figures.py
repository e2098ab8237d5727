# SPDX-License-Identifier: Apache-2.0
"""Charts of a report: whole, in the page's colours, and with the documents' values."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import report_samples

from tfartgen import report_figures
from tfartgen.report_standing import LossBound


def document(file, name="mnist"):
    return json.loads((report_samples.RESULTS / name / f"{file}.json").read_text(encoding="utf-8"))


CHARTS = {
    "accuracy": lambda: report_figures.accuracy(document("evaluation")),
    "membership": lambda: report_figures.membership(document("membership")),
    "inversion": lambda: report_figures.inversion(document("inversion")),
    "mu": lambda: report_figures.mu(document("privacy_estimate")),
    "roc": lambda: report_figures.roc(document("membership"))[0][1],
}


@pytest.fixture(name="charts", scope="module")
def _charts():
    return {name: make() for name, make in CHARTS.items()}


def test_charts_are_whole_elements_without_a_size_of_their_own(charts):
    for svg in charts.values():
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg") and "viewBox" in root.attrib
        assert not {"width", "height"} & set(root.attrib)


def test_charts_take_ink_from_the_page_and_have_no_black(charts):
    for svg in charts.values():
        assert "currentColor" in svg
        assert not re.search(r"#0[0-4]0[0-5]0[0-6]\b|#000000|#ffffff", svg)


def test_identifiers_differ_between_charts_and_references_are_met(charts):
    known = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in charts.values()]
    assert sum(map(len, known)) == len(set().union(*known))
    for own, svg in zip(known, charts.values()):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= own


def test_charts_are_text_that_can_be_read_and_the_same_every_time(charts):
    assert "logistic regression" in charts["accuracy"] and "PATE" in charts["accuracy"]
    assert "likelihood ratio" in charts["membership"] and "strong attack" in charts["inversion"]
    for name, make in CHARTS.items():
        assert make() == charts[name]


def test_a_bound_that_was_refused_everywhere_has_no_chart():
    refused = copy.deepcopy(document("privacy_estimate"))
    for row in refused["mu"]:
        row["refused"] = "too few records"
    assert report_figures.mu(refused) is None
    refused["mu"][0]["refused"] = None
    assert report_figures.mu(refused) is not None


def test_what_the_accountant_bounds_is_drawn_where_it_is_near_and_called_what_it_is():
    content = document("privacy_estimate", "mnist_eps1")
    nats = content["formal"]["kl_bound"]
    assert "proven, for every record" in report_figures.mu(content, LossBound(nats, True))
    of_ideal = report_figures.mu(content, LossBound(nats, False))
    assert "accounted, with ideal noise" in of_ideal and "proven" not in of_ideal
    for far in (None, LossBound(1e9, True)):
        assert "proven" not in report_figures.mu(document("privacy_estimate"), far)


def test_a_higher_rate_is_further_right():
    def left_of_first_marker(rate):
        changed = copy.deepcopy(document("inversion"))
        changed["rows"] = changed["rows"][:1]
        changed["rows"][0]["top1"].update(rate=rate)
        svg = report_figures.inversion(changed)
        return float(re.findall(r'<use [^>]*x="([\d.]+)"[^>]*fill: #2b8cbe', svg)[0])

    low, middle, high = map(left_of_first_marker, (0.0, 0.5, 1.0))
    assert middle - low == pytest.approx(high - middle, rel=1e-3) and middle > low
