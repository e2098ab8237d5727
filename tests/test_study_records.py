# SPDX-License-Identifier: Apache-2.0
"""When a stage is up to date, and when it is not: every reason by itself."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
from study_samples import DATA, copying, record

from tfartgen import study_records
from tfartgen.study_records import GOES_ON, UP_TO_DATE, WILL_RUN, StudyRecords, Verdict

STAGE = copying(
    "draw",
    "train",
    location=("--dataset=digits",),
    reads=("train.txt", "model"),
    writes=("drawn",),
    may_write=("figures/*.png",),
    of_owner=("drawn/SHEET.md",),
)
NOBODY = 2**22 + 1  # above any process number


@pytest.fixture(name="records")
def _records(tmp_path):
    """A stage that has finished."""
    for name in ("train.txt", "model/1/weights", "drawn/data", "drawn/SHEET.md", "figures/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    records = StudyRecords(tmp_path, DATA)
    records.end(STAGE, records.begin(STAGE, NOBODY), study_records.FINISHED, 12.5)
    return records


def test_a_stage_that_finished_is_up_to_date(records):
    assert records.judge(STAGE) == Verdict(UP_TO_DATE)
    assert records.last_seconds("draw") == 12.5
    assert records.processes() == []


def test_a_stage_without_a_record_or_with_a_damaged_one_runs(records, tmp_path):
    assert records.judge(copying("other")) == Verdict(WILL_RUN, "has not run")
    path = tmp_path / "stages" / "draw.json"
    for damage in ("{", "[]", json.dumps({"schema": study_records.SCHEMA, "state": "finished"})):
        path.write_text(damage)
        assert records.judge(STAGE) == Verdict(WILL_RUN, "has not run")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("drawn/data", "drawn/data was altered"),
        ("figures/a.png", "figures/a.png was altered"),
        ("figures/b.png", "figures/b.png is not of this stage"),
        ("drawn/new", "drawn/new is not of this stage"),
        ("train.txt", "train.txt has changed"),
        ("model/1/weights", "model/1/weights has changed"),
        ("model/2/weights", "model/2/weights has changed"),
    ],
)
def test_a_changed_file_is_named(records, tmp_path, name, reason):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("changed")
    assert records.judge(STAGE) == Verdict(WILL_RUN, reason)


def test_a_missing_file_is_named(records, tmp_path):
    for name in ("drawn/data", "model/1/weights"):
        (tmp_path / name).unlink()
        assert records.judge(STAGE) == Verdict(WILL_RUN, f"{name} is missing")


def test_what_is_the_owners_to_fill_in_counts_for_nothing_and_is_set_aside(records, tmp_path):
    sheet = tmp_path / "drawn" / "SHEET.md"
    assert records.clear_way(STAGE) == []
    sheet.write_text("filled in")
    assert records.judge(STAGE) == Verdict(UP_TO_DATE)
    (kept,) = records.clear_way(STAGE)
    assert (tmp_path / kept).read_text() == "filled in" and not sheet.exists()


def test_other_arguments_data_or_versions_are_reasons(records, tmp_path, monkeypatch):
    other = dataclasses.replace(STAGE, arguments=("--seed=1",))
    assert records.judge(other).reason == "has other arguments"
    assert StudyRecords(tmp_path, {}).judge(STAGE).reason == "the private data is another"
    monkeypatch.setattr("tfartgen.__version__", "99")
    assert records.judge(STAGE).reason.endswith("is 99")


def test_where_the_data_lies_is_no_reason(records):
    moved = dataclasses.replace(STAGE, location=("--dataset=/elsewhere/digits",))
    assert records.judge(moved) == Verdict(UP_TO_DATE)


@pytest.mark.parametrize(
    ("state", "reason"),
    [(study_records.FAILED, "failed"), (study_records.STOPPED, "was stopped")],
)
def test_a_stage_that_did_not_finish_goes_on_and_its_time_adds_up(records, state, reason):
    records.end(STAGE, records.begin(STAGE, NOBODY), state, 3.0)
    assert records.judge(STAGE) == Verdict(GOES_ON, reason)
    records.end(STAGE, records.begin(STAGE, NOBODY), study_records.FINISHED, 4.0)
    assert records.last_seconds("draw") == 7.0
    assert records.judge(STAGE) == Verdict(UP_TO_DATE)


def test_a_stage_that_was_killed_goes_on(records, tmp_path):
    records.begin(STAGE, NOBODY)
    assert records.judge(STAGE) == Verdict(GOES_ON, "was cut off")
    assert records.processes() == [NOBODY]
    (tmp_path / "train.txt").write_text("changed")
    assert records.judge(STAGE) == Verdict(WILL_RUN, "train.txt has changed")


def test_a_stage_that_runs_now_says_so(records):
    records.begin(STAGE, os.getpid())
    assert records.judge(STAGE) == Verdict(GOES_ON, "runs now")


def test_a_stage_that_left_nothing_behind_has_not_finished(records, tmp_path):
    (tmp_path / "drawn").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match="ended without having written drawn"):
        records.end(STAGE, records.begin(STAGE, NOBODY), study_records.FINISHED, 1.0)
    assert record(tmp_path, "draw")["state"] == study_records.STARTED


def test_a_record_of_another_schema_is_refused_by_name(records, tmp_path):
    path = tmp_path / "stages" / "draw.json"
    path.write_text(path.read_text().replace(study_records.SCHEMA, "tfartgen.study_stage/9"))
    with pytest.raises(
        ValueError, match=r"stages/draw.json has the schema 'tfartgen.study_stage/9'"
    ):
        records.judge(STAGE)
