# SPDX-License-Identifier: Apache-2.0
"""Documents of a report: refused by name where they are not about its release, never mixed."""

from __future__ import annotations

import json

import pytest
import report_samples

from tfartgen import report_documents

OWN, OTHER = "a" * 64, "b" * 64


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return report_samples.documents("digits", tmp_path / "results", OWN)


def gather(*folders, digest=OWN):
    return report_documents.gather(folders, digest, "digits")


def changed(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_all_documents_of_a_release_are_found(folder):
    found = gather(folder)
    assert list(found) == ["evaluation", "privacy_estimate", "inversion", "membership"]
    for kind, each in found.items():
        assert each.path == folder / report_documents.KINDS[kind].file
        assert each.content["schema"] == report_documents.KINDS[kind].schema


def test_documents_may_lie_in_several_folders(folder, tmp_path):
    (tmp_path / "more").mkdir()
    (folder / "membership.json").rename(tmp_path / "more" / "membership.json")
    assert list(gather(folder, tmp_path / "more")) == list(gather(tmp_path / "more", folder))


@pytest.mark.parametrize("file", report_samples.FILES)
def test_results_of_another_release_are_refused_by_name(folder, file):
    def other(content):
        for release in content.get("releases", []) + [content.get("release", {})]:
            release.update(digest=OTHER, folder="artificial/other")

    changed(folder / file, other)
    with pytest.raises(
        ValueError, match=rf"{file} is about another release: artificial/other .b{{12}}.*a{{12}}"
    ):
        gather(folder)


@pytest.mark.parametrize("file", report_samples.FILES)
def test_another_schema_version_is_refused_by_name(folder, file):
    changed(folder / file, lambda content: content.update(schema=content["schema"][:-1] + "2"))
    with pytest.raises(
        ValueError,
        match=rf"{file} has the schema 'tfartgen\.\w+/2', not 'tfartgen\.\w+/1'; make it",
    ):
        gather(folder)


@pytest.mark.parametrize("content", ["{", "[]", "null", '"text"', "{}", "\x00"])
def test_what_is_no_document_is_refused_by_name(folder, content):
    (folder / "inversion.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"inversion\.json (cannot be read|has the schema)"):
        gather(folder)


@pytest.mark.parametrize("releases", [[], "text", [1], None])
def test_a_document_whose_releases_are_damaged_is_refused(folder, releases):
    changed(folder / "evaluation.json", lambda content: content.update(releases=releases))
    with pytest.raises(ValueError, match=r"evaluation\.json is about another release"):
        gather(folder)


def test_a_pool_of_releases_is_not_this_one(folder):
    def pool(content):
        content["releases"].append({**content["releases"][0], "digest": OTHER})

    changed(folder / "evaluation.json", pool)
    with pytest.raises(ValueError, match="is about 2 releases, not about this one alone"):
        gather(folder)


def test_results_of_another_data_set_are_refused(folder):
    changed(folder / "membership.json", lambda content: content["dataset"].update(name="faces"))
    with pytest.raises(
        ValueError,
        match=r"membership\.json is about the data set 'faces', the release about 'digits'",
    ):
        gather(folder)


def test_an_audit_is_about_the_data_set_and_no_release(folder):
    audit = json.loads((report_samples.RESULTS / "digits_audit_eps1" / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    assert "audit" in gather(folder)
    with pytest.raises(
        ValueError, match=r"audit\.json is about the data set 'digits', the release about 'mnist'"
    ):
        report_documents.load("audit", folder / "audit.json", OWN, "mnist")


def test_two_documents_of_a_kind_are_not_mixed(folder, tmp_path):
    other = report_samples.documents("digits", tmp_path / "other", OWN)
    with pytest.raises(
        ValueError, match=r"results/evaluation\.json and .*other/evaluation\.json are of one kind"
    ):
        gather(folder, other)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"--results=.*/nothing: there is no such folder; give those that bin/evaluate",
    ):
        gather(tmp_path / "nothing")


def test_the_command_of_what_is_missing_names_release_and_data():
    command = report_documents.command("inversion", "artificial/x", "--dataset=x")
    assert command == "bin/invert --dataset=x --artificial=artificial/x"
