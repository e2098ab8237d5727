# SPDX-License-Identifier: Apache-2.0
"""Both pages of a report: what they say, what they show, and that the public one shows no real record."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import math
import os
import pathlib
import re
import stat

import numpy as np
import pytest
import report_samples
from PIL import Image
from report_samples import documents, written_release, zeros_and_ones

from tfartgen import (
    data,
    evaluation_data,
    feature_spaces,
    released_data,
    report,
    report_documents,
    report_guarantee,
    report_pictures,
    report_private,
    statement,
)
from tfartgen.artificial import LabelPolicy
from tfartgen.rounding import downwards, upwards

#: Of the release that the committed documents of MNIST are about.
MNIST_DIGEST = "7e666e49d6d60fbc8e043e3b9b7737efb0bb26537a59185ecef3dc5e85050fb4"
MNIST = report_samples.MNIST


def pictures(page):
    """Of every inline image its pixels, and whether it is marked as a real record."""
    found = []
    for private, content in re.findall(
        r'<li( class="private")?><img src="data:image/png;base64,([^"]+)"', page
    ):
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            found.append((np.asarray(image), bool(private)))
    assert len(found) == page.count("<img")
    return found


def is_record(pixels, private):
    images = np.concatenate([private.train.arrays()[0], private.held_out.arrays()[0]])
    return bool((images[..., 0] == pixels).all(axis=(1, 2)).any())


def text_of(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def exposure(digest, *records):
    return {
        "schema": "tfartgen.exposure/2",
        "release": {"digest": digest},
        "records": [
            {"position": p, "loss": 0.25, "saturated": s, "nearest_artificial": n, "distance": 1.5}
            for p, n, s in records
        ],
    }


class Study:
    """A release of zeros and ones with documents, and the pages on it."""

    def __init__(self, folder, copied=0, with_records=True):
        self.private = zeros_and_ones()
        self.folder = folder / "artificial" / "zeros_and_ones"
        self.folder.parent.mkdir(parents=True)
        written_release(self.folder, self.private, copied)
        self.release = released_data.read(self.folder)
        self.results = documents("digits", folder / "results", self.release.digest)
        for path in self.results.iterdir():
            content = json.loads(path.read_text(encoding="utf-8"))
            content["dataset"]["name"] = self.private.name
            path.write_text(json.dumps(content), encoding="utf-8")
        listed = exposure(self.release.digest, (3, 5, False), (0, 7, True))
        (self.results / "PRIVATE_most_exposed.json").write_text(json.dumps(listed))
        self.data = evaluation_data.prepare(self.private) if with_records else None
        self.output = folder / "pages" / "report.html"

    def report(self):
        found = report_documents.gather([self.results], self.release.digest, self.release.name)
        return report.Report(self.release, found, self.data)

    def pages(self):
        made = self.report()
        return [path.read_text(encoding="utf-8") for path in report.write(made, self.output)]


@pytest.fixture(name="study", scope="module")
def _study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(name="pages", scope="module")
def _pages(study):
    return study.pages()


@pytest.fixture(name="bare")
def _bare(tmp_path):
    return Study(tmp_path, with_records=False)


def test_promise_the_public_page_shows_no_real_record(study, pages):
    shown = pictures(pages[0])
    assert len(shown) == 2 * (1 + report_pictures.NEAREST)
    for pixels, private in shown:
        assert not private and not is_record(pixels, study.private)


def test_promise_the_committed_page_shows_no_real_record():
    if not MNIST.is_dir():
        pytest.skip(f"needs MNIST in {MNIST.parent}")
    private = data.load("mnist", str(MNIST.parent))
    shown = pictures((report_samples.RESULTS / "mnist" / "report.html").read_text(encoding="utf-8"))
    assert len(shown) == 10 * (1 + report_pictures.NEAREST)
    for pixels, marked in shown:
        assert not marked and not is_record(pixels, private)


def test_the_committed_page_is_about_the_committed_documents():
    text = text_of((report_samples.RESULTS / "mnist" / "report.html").read_text(encoding="utf-8"))
    found = report_documents.gather([report_samples.RESULTS / "mnist"], MNIST_DIGEST, "mnist")
    assert len(found) == 4 and MNIST_DIGEST in text
    assert "0 of 60,000 artificial images equal a training record" in text


def test_promise_a_copy_of_a_record_is_counted_and_not_shown(tmp_path, monkeypatch):
    make = (
        feature_spaces.make
    )  # principal components are quicker than a student, and do as well here
    monkeypatch.setattr(feature_spaces, "make", lambda name, *rest: make("pca", *rest))
    study = Study(tmp_path, copied=40)
    public, private = study.pages()
    for pixels, _ in pictures(public):
        assert not is_record(pixels, study.private)
    told = "40 of 60 artificial images equal a training record in every pixel"
    assert told in text_of(public) and told in text_of(private)
    assert "They are not shown here" in text_of(public)


def test_the_private_page_marks_real_records_and_nothing_else(study, pages):
    shown = pictures(pages[1])
    assert sum(private for _, private in shown) == 2 + 6 * (2 + 10)
    for pixels, private in shown:
        assert private == is_record(pixels, study.private)


def test_the_private_page_says_so_in_title_banner_and_file_name(study, pages):
    assert re.search(r"<title>PRIVATE: ", pages[1])
    assert re.search(r'<p class="banner" role="note">PRIVATE\. ', pages[1])
    assert sorted(path.name for path in study.output.parent.iterdir()) == [
        "PRIVATE_report.html",
        "report.html",
    ]
    assert "PRIVATE" not in pages[0].replace("PRIVATE_most_exposed", "")


def test_the_closest_records_are_the_closest(study, pages):
    artificial = study.release.images[np.flatnonzero(study.release.labels == 0)[0]] / 255.0
    records = study.private.train.arrays()[0] / 255.0
    distances = np.sqrt(((records - artificial) ** 2).sum(axis=(1, 2, 3)))
    told = re.findall(r'alt="real record (\d+), ([\d.]+) away in pixels"', pages[1])[:3]
    order = np.argsort(distances, kind="stable")[:3]
    assert told == [(str(i), f"{distances[i]:.2f}") for i in order]


def test_neighbours_of_an_artificial_image_are_artificial_and_nearest(study, pages):
    images = study.release.images / 255.0
    first = np.flatnonzero(study.release.labels == 1)[0]
    distances = np.sqrt(((images - images[first]) ** 2).sum(axis=(1, 2, 3)))
    nearest = np.sort(np.delete(distances, first))[: report_pictures.NEAREST]
    told = re.findall(r'alt="artificial \d, ([\d.]+) away"', pages[0])[report_pictures.NEAREST :]
    assert told == [f"{distance:.1f}" for distance in nearest]


def test_exposed_records_are_those_of_the_list(study, pages):
    section = pages[1][pages[1].index('id="exposed"') : pages[1].index('id="membership"')]
    shown = pictures(section)
    images = study.private.train.arrays()[0][..., 0]
    for (pixels, _), expected in zip(
        shown,
        [images[3], study.release.images[5, ..., 0], images[0], study.release.images[7, ..., 0]],
    ):
        assert (pixels == expected).all()
    assert [private for _, private in shown] == [True, False, True, False]
    assert "at least 0.25 nats" in text_of(section)


def test_every_section_is_there_and_linked(pages):
    for page, count in zip(pages, (8, 3)):
        anchors = re.findall(r'<section id="([^"]+)"', page)
        assert len(anchors) == count
        assert re.findall(r'<li><a href="#([^"]+)"', page) == anchors
        identifiers = re.findall(r'\bid="([^"]+)"', page)
        assert len(identifiers) == len(set(identifiers))


def test_nothing_is_fetched_from_elsewhere(pages):
    for page in pages:
        assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
        assert "<script" not in page and "@import" not in page and "url(http" not in page
        assert "default-src 'none'" in page


def test_the_figures_are_those_of_the_documents(study, pages):
    text = text_of(pages[0])
    membership = json.loads((study.results / "membership.json").read_text())
    for attack in membership["attacks"]:
        for role in ("main", "control", "memorised"):
            auc = attack[role]["auc"]
            assert f"{auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})" in text
    evaluation = json.loads((study.results / "evaluation.json").read_text())
    for row in evaluation["table"]:
        assert f"{100 * row['accuracy']['mean']:.2f} ± " in text
    estimate = json.loads((study.results / "privacy_estimate.json").read_text())
    for row in estimate["mu"]:
        assert upwards(row["bounds"]["saw_yang_mo"]["per_release"], 3) in text
    assert study.release.digest in text


@pytest.mark.parametrize(
    "name, told", [("eps1", "epsilon = 1"), ("no_noise", "noise_multiplier = 0")]
)
def test_an_audit_is_told_as_one_of_its_own_training(bare, name, told):
    audit = json.loads((report_samples.RESULTS / f"digits_audit_{name}" / "audit.json").read_text())
    audit["dataset"]["name"] = bare.release.name
    (bare.results / "audit.json").write_text(json.dumps(audit))
    text = text_of(report.write(bare.report(), bare.output)[0].read_text())
    assert f"trained a model of its own with {told}, with records planted" in text
    assert f"epsilon is at least {downwards(audit['lower_bound'])} with 95% confidence" in text


def test_without_documents_each_is_named_with_its_command(bare):
    made = report.Report(bare.release, {}, None)
    public, private = (path.read_text() for path in report.write(made, bare.output))
    programs = ("bin/evaluate", "bin/estimate_privacy", "bin/invert", "bin/infer_membership")
    assert [command.split()[0] for _, command in made.missing("--dataset=x")] == list(programs)
    for _, command in made.missing("--dataset=x"):
        assert f" --dataset=x --artificial={bare.release.folder}" in command
        shown = command.replace(bare.release.folder, "zeros_and_ones").replace(
            "=x", "=zeros_and_ones"
        )
        assert f"<code>{html.escape(shown)}</code>" in public
    assert "--most_exposed=20" in private and "bin/report" in private and not pictures(private)
    assert text_of(public).count(": not measured") == len(programs)


def test_a_bound_that_was_refused_says_why(bare):
    path = bare.results / "privacy_estimate.json"
    content = json.loads(path.read_text())
    content["mu"][0].update(
        refused="too few records <5", bounds=None, least_per_release=None, least_by=None
    )
    path.write_text(json.dumps(content))
    public = report.write(bare.report(), bare.output)[0].read_text()
    assert "0.01: too few records &lt;5" in public
    assert ">0.01</th><td>-</td><td>-</td><td>-</td>" in public


def test_promise_18_the_private_page_is_for_its_owner_alone_and_the_public_one_is_not(
    tmp_path, monkeypatch
):
    """Its temporary copy, too, from the first byte on."""
    made = report.Report(report_samples.stating(drawn()), {}, None)
    seen, replace = {}, os.replace

    def look(source, target):
        seen[pathlib.Path(target).name] = mode(source)
        return replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    before = os.umask(0o022)
    try:
        public, private = report.write(made, tmp_path / "report.html")
    finally:
        os.umask(before)
    assert seen == {"PRIVATE_report.html": 0o600, "report.html": 0o644}
    assert mode(private) == 0o600 and mode(public) == 0o644


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_no_absolute_path_is_published(bare):
    assert bare.release.folder.startswith("/")
    found = report_documents.gather([bare.results], bare.release.digest, bare.release.name)
    made = report.Report(bare.release, found, None)
    public = report.write(made, bare.output)[0].read_text()
    assert "/tmp" not in public and str(bare.folder.parent) not in public


def test_a_page_that_would_hold_an_absolute_path_is_not_written(bare):
    release = dataclasses.replace(bare.release, class_names=("/home/someone/zeros", "1"))
    with pytest.raises(ValueError, match="would hold an absolute path, '/home/someone/zeros"):
        report.write(report.Report(release, {}, None), bare.output)
    assert not bare.output.parent.exists()


def test_names_are_text_and_no_markup(bare):
    name = "<script>alert(1)</script>"
    release = dataclasses.replace(bare.release, class_names=(name, "1"))
    public = report.write(report.Report(release, {}, None), bare.output)[0].read_text()
    assert "<script" not in public and html.escape(name) in public


@pytest.mark.parametrize(
    "file, key",
    [("membership.json", "attacks"), ("inversion.json", "rows"), ("privacy_estimate.json", "mu")],
)
def test_a_damaged_document_is_named(bare, file, key):
    content = json.loads((bare.results / file).read_text())
    content[key][0] = {}
    (bare.results / file).write_text(json.dumps(content))
    made = bare.report()
    with pytest.raises(
        ValueError, match=rf"{file} is damaged \(KeyError: .*\); make it anew with bin/"
    ):
        report.write(made, bare.output)
    assert not bare.output.parent.exists()


@pytest.mark.parametrize(
    "file, spoil",
    [
        ("membership.json", lambda content: content["attacks"][0]["main"].pop("roc")),
        ("privacy_estimate.json", lambda content: content.update(mean_loss="much")),
        ("evaluation.json", lambda content: content.pop("versions")),
        ("inversion.json", lambda content: content["releases"][0].update(folder=[])),
        ("PRIVATE_most_exposed.json", lambda content: content.pop("records")),
    ],
)
def test_damage_anywhere_in_a_document_is_named(bare, file, spoil):
    content = json.loads((bare.results / file).read_text())
    spoil(content)
    (bare.results / file).write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=rf"{file} is damaged \(\w+Error: .*\); make it anew with bin/"
    ):
        report.write(with_records(bare), bare.output)
    assert not bare.output.parent.exists()


def with_records(bare):
    """A report that shows records, without the time that comparing them takes."""
    made = bare.report()
    made._records = report_private.Records(
        *bare.private.train.arrays(), bare.private.held_out.arrays()[0]
    )
    return made


def test_documents_about_other_records_than_the_data_are_refused(tmp_path):
    study = Study(tmp_path)
    path = study.results / "inversion.json"
    content = json.loads(path.read_text())
    content["dataset"].update(
        num_train=len(study.data.train[1]),
        num_test=len(study.data.test[1]),
        digest=study.data.digest,
    )
    path.write_text(json.dumps(content))
    report_documents.require_same_records(found_in(study), study.data)
    content["dataset"]["digest"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"inversion\.json is about other records than --dataset=zeros_and_ones"
    ):
        study.report()


def found_in(study):
    return report_documents.gather([study.results], study.release.digest, study.release.name)


def test_exposed_records_that_do_not_exist_are_refused(study):
    found = found_in(study)["exposure"]
    records = report_private.Records(*study.data.train, study.data.test[0])
    listed = dataclasses.replace(found, content=exposure(study.release.digest, (10**6, 0, False)))
    with pytest.raises(ValueError, match=r"PRIVATE_most_exposed\.json names record 1000000"):
        report_private.exposed_section(study.release, records, listed, [])


def drawn():
    """The statement of a data set."""
    return statement.dataset_statement(formal(), report_samples.DATA_SET, LabelPolicy.uniform(2))


def formal(epsilon=1.0, **changes):
    stretch = statement.accounting.Stretch("poisson", 0.01, 4.0, 1.0, 100, 30, coordinates=356)
    stated = statement.privacy_statement([stretch], 1e-5, critic_steps=30, budget_epsilon=epsilon)
    return {**stated, **changes}


def test_a_guarantee_is_told_in_words_and_as_a_test():
    stated = formal(epsilon_rdp=1.2)
    section = report_guarantee.guarantee_section({**stated, "epsilon": 1.0})
    words = " ".join(section.blocks[1].paragraphs)
    assert "e^1 = 2.72" in words and "1e-05" in words and "one record" in words
    assert ("1", "2.72") in section.blocks[2].table.rows


def test_without_a_guarantee_no_factor_is_told(bare):
    section = report_guarantee.guarantee_section(bare.release.statement)
    assert section.blocks[0].important
    assert "e^" not in " ".join(section.blocks[1].paragraphs)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 3.0, 1000.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.1])
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.1, 0.5, 0.99])
def test_the_power_of_a_test_is_the_highest_that_both_inequalities_allow(epsilon, delta, rate):
    powers = np.linspace(0, 1, 200_001)
    # For neighbours P and Q: Q(S) <= e^epsilon P(S) + delta, for the accepted set and for its complement.
    grows = math.exp(min(epsilon, 700))
    allowed = (powers <= grows * rate + delta) & (1 - rate <= grows * (1 - powers) + delta)
    found = report_guarantee.most_found(epsilon, delta, rate)
    assert found == pytest.approx(powers[allowed].max(), abs=1e-5)


def test_copies_are_found_byte_by_byte():
    images = np.random.default_rng(0).integers(256, size=(5, 4, 4, 3), dtype=np.uint8)
    others = images[[3, 1]].copy()
    others[1, 0, 0, 0] ^= 1
    assert report_pictures.copies(images, others).tolist() == [False, False, False, True, False]


def test_neighbours_by_pixels_do_not_depend_on_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    images, others = (rng.integers(256, size=(n, 3, 3, 1), dtype=np.uint8) for n in (4, 50))
    whole = report_pictures.nearest_pixels(images, others, 3)
    monkeypatch.setattr(report_pictures, "_BLOCK", 9 * 7)
    parts = report_pictures.nearest_pixels(images, others, 3)
    assert (whole.indices == parts.indices).all() and (whole.distances == parts.distances).all()
    brute = np.sqrt((((images[:, None] - others[None].astype(float)) / 255) ** 2).sum((2, 3, 4)))
    assert np.allclose(whole.distances, np.sort(brute)[:, :3])
