# SPDX-License-Identifier: Apache-2.0
"""`bin/report` as a person meets it."""

from __future__ import annotations

import json
import shutil

import pytest
import report_samples
import scripts
from report_samples import documents, drawn


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """A release of digits, and results about it, where a person who works in this folder has them."""
    folder = tmp_path_factory.mktemp("work")
    digest = drawn(folder / "artificial" / "digits", "digits", 300)
    documents("digits", folder / "evaluations" / "digits", digest)
    drawn(folder / "artificial" / "other", "digits", 301)
    return folder


@pytest.fixture(name="report", scope="module")
def _report(folder):
    del folder  # drawn by another program, whose flags must be gone
    with scripts.main_of("report") as main:
        yield main


@pytest.fixture(autouse=True)
def _work_there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_two_pages_are_written_and_named_in_80_columns(folder, report, capsys):
    assert report("--release=artificial/digits", "--dataset=digits", "--output=out/page.html") == 0
    out = capsys.readouterr().out
    assert {path.name for path in (folder / "out").iterdir()} == {"page.html", "PRIVATE_page.html"}
    assert "out/page.html" in out and "out/PRIVATE_page.html" in out and "Missing" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_was_not_measured_is_named_with_its_command(folder, report, capsys, tmp_path):
    shutil.copy(folder / "evaluations" / "digits" / "inversion.json", tmp_path)
    report("--release=artificial/digits", f"--results={tmp_path}", "--output=few.html")
    out = capsys.readouterr().out
    assert "bin/evaluate --dataset=digits --artificial=artificial/digits" in out
    assert "bin/infer_membership" in out and "bin/invert" not in out
    assert "without real records; give --dataset" in out


def test_a_release_that_nobody_measured_has_a_page_that_says_so(
    folder, report, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    release = folder / "artificial" / "digits"
    assert report(f"--release={release}", "--image_size=8") == 0
    out = capsys.readouterr().out
    assert out.count("Missing:") == 4
    assert f"bin/invert --dataset=digits --image_size=8 --artificial={release}" in out
    assert (tmp_path / "report.html").is_file()


def test_an_altered_release_is_refused_and_nothing_is_written(folder, report, tmp_path):
    altered = shutil.copytree(folder / "artificial" / "digits", tmp_path / "altered")
    with open(altered / "data.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(
        ValueError, match=r"--release=.*altered: data\.npz was altered: its SHA-256"
    ):
        report(f"--release={altered}", f"--output={tmp_path}/page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["altered"]


def test_results_of_another_release_are_refused(report, tmp_path):
    with pytest.raises(
        ValueError, match=r"evaluations/digits/evaluation\.json is about another release"
    ):
        report("--release=artificial/other", f"--output={tmp_path}/page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "give --release, such as --release=artificial/digits"),
        (["--release=nothing"], r"--release=nothing: it has no privacy\.json"),
        (
            ["--release=artificial/digits", "--output=page.pdf"],
            r"--output=page\.pdf must be a file",
        ),
        (
            ["--release=artificial/digits", "--results=none"],
            "--results=none: there is no such folder",
        ),
        (["--release=artificial/digits", "--dataset=nothing"], "--dataset=nothing is neither"),
        (
            ["--release=artificial/digits", "--dataset=digits", "--image_size=16"],
            "has images 8 x 8",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(report, flags, message):
    with pytest.raises(ValueError, match=message):
        report(*flags)


def test_another_schema_ends_in_one_line_and_status_1(folder, tmp_path):
    results = documents(
        "digits", tmp_path / "results", report_samples.digest(folder / "artificial/digits")
    )
    content = json.loads((results / "inversion.json").read_text())
    (results / "inversion.json").write_text(
        json.dumps({**content, "schema": "tfartgen.inversion/9"})
    )
    process = scripts.start(
        "report",
        folder,
        "--release=artificial/digits",
        f"--results={results}",
        f"--output={tmp_path}/p.html",
    )
    status, out, err = scripts.ended(process)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "inversion.json has the schema 'tfartgen.inversion/9'" in err
    assert not (tmp_path / "p.html").exists()
