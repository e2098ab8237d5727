# SPDX-License-Identifier: Apache-2.0
"""The tables of the three experiments, and what is never mixed in them."""

from __future__ import annotations

import json

import pytest
from study_samples import DOCUMENTS

from tfartgen import papers, study_stages, study_tables

KINDS = ("evaluation", "privacy_estimate", "inversion", "membership")


def load(kind):
    return json.loads((DOCUMENTS / f"{kind}.json").read_text())


def put(folder, kind, change=lambda found: None):
    """A document of a finished study, with the digest of the release in the folder."""
    found, digest = load(kind), papers.sha256(folder / study_stages.STATEMENT)
    for release in found.get("releases", [found.get("release")]):
        release["digest"] = digest
    change(found)
    path = folder / study_stages.DOCUMENTS[kind]
    path.write_text(json.dumps(found))


@pytest.fixture(name="folder")
def _folder(tmp_path):
    for name in ("artificial", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / study_stages.STATEMENT).write_text("a release")
    for kind in KINDS:
        put(tmp_path, kind)
    return tmp_path


def test_tables_hold_what_the_documents_say(folder):
    assert [path.name for path in study_tables.write(folder)] == ["tables.md", "tables.json"]
    tables = json.loads((folder / "tables.json").read_text())
    assert tables["schema"] == "tfartgen.study/1"
    assert tables["release"]["digest"] == papers.sha256(folder / study_stages.STATEMENT)
    evaluation, estimate, inversion = map(load, KINDS[:3])
    cnn_pate = [
        r for r in evaluation["table"] if (r["method"], r["architecture"]) == ("pate", "cnn")
    ]
    found = [
        r
        for r in tables["usefulness"]["rows"]
        if (r["method"], r["architecture"]) == ("pate", "cnn")
    ]
    assert found[0]["accuracy"] == cnn_pate[0]["accuracy"]
    assert tables["estimate"]["mu"] == estimate["mu"]
    assert [r["top1"] for r in tables["inversion"]["rows"]] == [
        r["top1"] for r in inversion["rows"]
    ]
    assert tables["inversion"]["release_itself"] == inversion["releases"][0]["top1"]


def test_times_and_dates_are_no_part_of_the_document(folder):
    study_tables.write(folder)
    before = (folder / "tables.json").read_bytes()
    for name in ("seconds", "train_seconds", '"date"', '"machine"'):
        assert name.encode() not in before
    for kind in KINDS:
        put(folder, kind, lambda found: found.update(date="2030-01-01", machine="another"))
    study_tables.write(folder)
    assert (folder / "tables.json").read_bytes() == before
    assert "another, 2030-01-01" in (folder / "tables.md").read_text()


def test_the_page_has_every_experiment_and_its_caveats(folder):
    study_tables.write(folder)
    page = (folder / "tables.md").read_text()
    assert page.startswith("# Study of digits\n\n**Private**")
    assert "| trained on | logistic regression % | MLP % | CNN % |" in page
    assert "| gamma | mu per example | mu per release | least known per release |" in page
    assert "an estimate" in page.lower() and "not a guarantee" in page and "calibration" in page
    assert "| target trained on | accuracy % | classic attack, identified % |" in page
    assert "chance is 10.0%" in page and "Of the release's own images, without any attack" in page


def test_what_has_no_figure_has_a_dash(folder):
    put(
        folder,
        "privacy_estimate",
        lambda found: found["mu"][0].update(refused="too few", bounds={}, least_per_release=None),
    )
    put(folder, "inversion", lambda found: found["rows"][0].pop("top1"))
    put(folder, "evaluation", lambda found: found["table"].pop(0))
    study_tables.write(folder)
    page = (folder / "tables.md").read_text()
    assert "| 0.01 | - | - | - |" in page
    assert "| diverged |" in page
    assert "| real data, no privacy | - |" in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_of_another_release_is_refused_by_name(folder, kind):
    (folder / study_stages.DOCUMENTS[kind]).write_text(json.dumps(load(kind)))
    with pytest.raises(ValueError, match=rf"results/{kind}.json is about another release"):
        study_tables.write(folder)
    assert not (folder / "tables.json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_of_another_schema_is_refused_by_name(folder, kind):
    put(folder, kind, lambda found: found.update(schema=f"tfartgen.{kind}/9"))
    with pytest.raises(
        ValueError, match=rf"results/{kind}.json has the schema 'tfartgen.{kind}/9'"
    ):
        study_tables.write(folder)


def test_a_document_that_is_missing_or_of_other_data_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="is about the data set 'digits'"):
        study_tables.write(folder, "mnist")
    (folder / study_stages.DOCUMENTS["inversion"]).unlink()
    with pytest.raises(ValueError, match="results/inversion.json cannot be read"):
        study_tables.write(folder)
