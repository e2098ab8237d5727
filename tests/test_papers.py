# SPDX-License-Identifier: Apache-2.0
"""The papers of a data set: statement with digests, data sheet, preview."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from tfartgen import papers
from tfartgen.accounting import Stretch
from tfartgen.artificial import DrawPlan, LabelPolicy, ModelSpec, example_labels
from tfartgen.datasheet import OPEN
from tfartgen.rounding import upwards
from tfartgen.statement import privacy_statement, validate_statement


def privacy_of(rate, noise):
    stretch = Stretch("poisson", rate, noise, 1.0, 100, 300, coordinates=356)
    return privacy_statement([stretch], 1e-5, critic_steps=300)


#: So small that the limit of its draws takes all of delta; priced, and of no use; of use.
SMALL_NOISE, USELESS, FORMAL = privacy_of(0.01, 0.05), privacy_of(1.0, 2.0), privacy_of(0.01, 1.5)
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def spec_of(privacy, class_names=("cat", "dog", "eel"), name="pets") -> ModelSpec:
    return ModelSpec(name, (9, 13, 3), class_names, 5, privacy)


def one_colour_each(*counts):
    """For each class so many images of its own colour."""
    return [np.full((n, 9, 13, 3), colour, np.uint8) for n, colour in zip(counts, COLOURS)]


def write(folder, privacy=FORMAL, policy=None, **spec):
    (folder / "data.npz").write_bytes(b"pixels")
    (folder / "more").mkdir()
    (folder / "more" / "part.txt").write_text("a")
    plan = DrawPlan(60, 7, policy or LabelPolicy.uniform(3))
    preview = one_colour_each(2, 12, 0)
    return papers.write_papers(folder, spec_of(privacy, **spec), plan, "npz", preview)


def test_statement_holds_the_digest_of_every_released_file(tmp_path):
    stated = write(tmp_path)
    assert json.loads((tmp_path / "privacy.json").read_text()) == stated
    assert validate_statement(stated) == []
    assert sorted(stated["files"]) == ["data.npz", "more/part.txt", "preview.png"]
    assert stated["files"]["data.npz"] == hashlib.sha256(b"pixels").hexdigest()
    assert sorted(os.listdir(tmp_path)) == [
        "DATASHEET.md",
        "data.npz",
        "more",
        "preview.png",
        "privacy.json",
    ]


def test_statement_says_what_was_drawn(tmp_path):
    stated = write(tmp_path, policy=LabelPolicy.declared([0.5, 0.25, 0.25], ("cat", "dog", "eel")))
    assert stated["data_set"] == {
        "name": "pets",
        "format": "npz",
        "num_examples": 60,
        "image_shape": [9, 13, 3],
        "class_names": ["cat", "dog", "eel"],
        "seed": 7,
    }
    assert stated["label_policy"]["kind"] == "declared"
    assert stated["epsilon"] == FORMAL["epsilon"]


def test_same_plan_same_papers(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    for name in ("privacy.json", "DATASHEET.md", "preview.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_sheet_says_in_its_first_line_of_text_what_the_guarantee_is(tmp_path):
    for number, privacy in enumerate((SMALL_NOISE, USELESS, FORMAL)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, privacy)
        lines = (folder / "DATASHEET.md").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "# Data sheet: artificial pets"
        assert lines[2] == f"**{privacy['headline']}**"
        first = (folder / "privacy.json").read_text(encoding="utf-8").splitlines()[1]
        assert privacy["headline"] in first
    assert lines[2].startswith("**Differentially private for one record")


def test_promise_12_sheet_of_a_large_epsilon_calls_it_useless(tmp_path):
    write(tmp_path, USELESS)
    text = (tmp_path / "DATASHEET.md").read_text(encoding="utf-8")
    assert "Epsilon (correct, and no useful guarantee)" in text
    assert "Differentially private for" not in text


def test_promise_12_sheet_of_noise_whose_draws_end_gives_no_epsilon(tmp_path):
    write(tmp_path, SMALL_NOISE)
    text = (tmp_path / "DATASHEET.md").read_text(encoding="utf-8")
    assert "No formal privacy guarantee: noise was so small" in text
    assert "Epsilon" not in text and "Differentially private for" not in text
    assert "without noise" not in text


def counted(**changes):
    """A statement of 1,000 records, with what a book counted."""
    stretch = Stretch("poisson", 0.01, 1.5, 1.0, 100, 300, coordinates=356)
    before = {
        "counted_since": "2026-11-28",
        "releases": [],
        "total_epsilon": None,
        "total_delta": None,
        "not_seen": ["other books"],
        **changes.pop("earlier", {}),
    }
    facts = {"critic_steps": 300, "num_records": 1000, "earlier": before, **changes}
    return privacy_statement([stretch], facts.pop("delta", 1e-5), **facts)


def sheet_of(folder, privacy):
    folder.mkdir()
    write(folder, privacy)
    return (folder / "DATASHEET.md").read_text(encoding="utf-8")


def test_promise_18_sheet_says_what_else_these_records_have_spent(tmp_path):
    assert "Nobody counted what else was released" in sheet_of(tmp_path / "a", FORMAL)
    alone = sheet_of(tmp_path / "b", counted())
    assert "Counted since 2026-11-28: nothing else was spent on these records." in alone
    assert "Not seen by that count: other books." in alone and "ceiling" not in alone
    step = Stretch.of_sums(5.0, 1.0, 10).as_json()
    other = {"state": "settled", "version": 2, "mechanism": [step]}
    earlier = {"releases": [other], "total_epsilon": 3.0, "total_delta": 1e-5}
    privacy = counted(earlier=earlier)
    both = sheet_of(tmp_path / "c", privacy)
    joint = privacy["earlier_releases"]["joint_epsilon"]
    assert joint > privacy["epsilon"] and f"(1 listed): epsilon = {upwards(joint)} at" in both
    assert "under a ceiling of epsilon = 3 at delta = 1e-05" in both


def test_promise_19_sheet_says_the_unit_its_number_and_a_large_delta(tmp_path):
    fine = sheet_of(tmp_path / "a", counted())
    assert "n = 1,000 records were trained on, which is public; none that was held out" in fine
    assert "n being public and fixed (zero-out). Unit: one record" in fine
    assert "Warning" not in fine and "n = 1,000" not in sheet_of(tmp_path / "b", FORMAL)
    warned = sheet_of(tmp_path / "c", counted(delta=5e-4))
    assert "Warning: delta = 0.0005 is above 1 / (10 n) for 1,000 records" in warned
    assert "Differentially private for" in warned
    refused = sheet_of(tmp_path / "d", counted(delta=1e-3))
    assert "No formal privacy guarantee: delta = 0.001 is not below 1 / n" in refused
    assert "Differentially private for" not in refused


def test_promise_12_void_sheet_gives_no_epsilon(tmp_path):
    void = privacy_statement([], 1e-5, critic_steps=0, void_reasons=["the noise was predictable"])
    write(tmp_path, void)
    text = (tmp_path / "DATASHEET.md").read_text(encoding="utf-8")
    assert "VOID: the noise was predictable" in text and "Epsilon" not in text


def test_sheet_answers_what_ran_and_leaves_the_rest_visibly_open(tmp_path):
    write(tmp_path)
    text = (tmp_path / "DATASHEET.md").read_text(encoding="utf-8")
    labels = example_labels(LabelPolicy.uniform(3), 7, 0, 60)
    for row in zip(("cat", "dog", "eel"), np.bincount(labels)):
        assert "| {} | {} |".format(*row) in text
    for answer in (
        "9 x 13 pixels with 3 channels",
        "seed 7",
        "| poisson | 0.01 | 1.5 | 1 | 100 | 300 |",
    ):
        assert answer in text
    assert "every class alike" in text and "{" not in text
    questions = [
        line for line in text.splitlines() if line.startswith("**") and line.endswith("?**")
    ]
    assert text.count(OPEN) >= 15 and len(questions) > 2 * 15
    for section in (
        "Motivation",
        "Composition",
        "Collection process",
        "Uses",
        "Distribution",
        "Maintenance",
    ):
        assert f"## {section}" in text


def test_names_cannot_break_the_sheet(tmp_path):
    write(tmp_path, class_names=("a|b", "<b>", "{x} line"))
    text = (tmp_path / "DATASHEET.md").read_text(encoding="utf-8")
    assert "| a\\|b |" in text and "&lt;b>" in text and "{x} line" in text


def test_class_counts_do_not_depend_on_how_they_are_counted(monkeypatch):
    plan = DrawPlan(1000, 3, LabelPolicy.declared([0.7, 0.3, 0.0], ("cat", "dog", "eel")))
    whole = papers.class_counts(plan)
    monkeypatch.setattr(papers, "_LABELS_AT_ONCE", 64)
    np.testing.assert_array_equal(papers.class_counts(plan), whole)
    assert whole.sum() == 1000 and whole[2] == 0 and abs(whole[0] - 700) < 60


@pytest.mark.parametrize(
    "bad", [{"name": "/home/ada/pets"}, {"class_names": ("cat", "a\nb", "eel")}]
)
def test_promise_22_odd_names_get_no_papers(tmp_path, bad):
    with pytest.raises(ValueError, match="and it is published; rename"):
        write(tmp_path, **bad)
    assert not (tmp_path / "privacy.json").exists()


def test_promise_13_absolute_path_in_a_statement_gets_no_papers(tmp_path):
    privacy = {**FORMAL, "selected_on_private_data": ["tried on /home/ada/pets"]}
    with pytest.raises(ValueError, match="privacy.json must not hold .*/home/ada.*absolute path"):
        write(tmp_path, privacy)
    assert not (tmp_path / "privacy.json").exists()


def test_model_without_a_statement_of_ours_is_refused(tmp_path):
    with pytest.raises(ValueError, match="privacy.json cannot be built on"):
        write(tmp_path, {"version": 1, "headline": "a test"})


def test_preview_has_a_row_of_its_own_images_for_each_class(tmp_path):
    write(tmp_path)
    with Image.open(tmp_path / "preview.png") as image:
        pixels = np.asarray(image)
    height = pixels.shape[0] // 3
    for row, (count, colour) in enumerate(zip((2, 10, 0), COLOURS)):
        band = pixels[row * height : (row + 1) * height]
        zoom = 4  # to 52 pixels a side
        assert (band == colour).all(axis=-1).sum() == count * 9 * 13 * zoom * zoom
        assert (band.astype(int).sum(axis=-1) < 100).any()  # the name


def test_preview_of_one_channel_many_classes_and_long_names():
    images = [np.full((3, 8, 8, 1), 128, np.uint8)] * 60
    picture = papers.preview_grid(images, ["x" * 200, "", "日本", *map(str, range(57))])
    assert picture.width < 1000
    grid = np.asarray(picture)[:, -papers.PREVIEW_COLUMNS * 52 :]  # without the names
    assert (grid == 128).all(axis=-1).sum() == 50 * 3 * 48 * 48
