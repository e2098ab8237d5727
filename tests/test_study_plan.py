# SPDX-License-Identifier: Apache-2.0
"""The plan of a study: states, estimates and commands, within 80 columns, and no file."""

from __future__ import annotations

import pathlib

import pytest
from study_samples import DATA, DIAMOND, copying, run, settings, write_programs

from tfartgen import study_plan, study_stages, study_times
from tfartgen.study_records import StudyRecords
from tfartgen.study_times import DataSize, Estimate, estimate, makespan, shown

DIGITS, MNIST = DataSize(1_438, 64), DataSize(60_000, 784)


def plan(folder, all_stages=DIAMOND, jobs=2, shown_as=None):
    planned = study_plan.make(all_stages, StudyRecords(folder, DATA), DIGITS)
    return study_plan.text(planned, pathlib.Path(shown_as or folder), jobs)


def test_a_plan_writes_nothing_and_fits_80_columns(tmp_path):
    folder, long = tmp_path / "study", settings(
        location=(f"--dataset={'/folder' * 6}", "--attribute=a b")
    )
    all_stages = study_stages.stages(long, {"train": ["--steps=5"] * 9})
    text = plan(folder, all_stages, shown_as="studies/digits")
    assert not folder.exists()
    assert max(map(len, text.splitlines())) < 80
    assert all(f"{stage.name} " in text for stage in all_stages)
    assert text.count("will run: has not run") == 7
    # Its commands are for a shell.
    joined = text.replace(" \\\n       ", "")
    assert "    bin/generate --model=model --output=artificial --overwrite\n" in joined
    assert (
        f"bin/evaluate --dataset={'/folder' * 6} '--attribute=a b' --artificial=artificial"
        in joined
    )


def test_a_plan_says_what_is_done_what_changed_and_what_follows(tmp_path):
    programs = write_programs(tmp_path / "bin", *(stage.name for stage in DIAMOND))
    folder = tmp_path / "study"
    run(folder, programs)
    assert plan(folder).endswith("Everything is up to date; only the tables are written anew.")
    (folder / "left.txt").unlink()
    lines = {line.split()[0]: line for line in plan(folder).splitlines() if line.strip()}
    assert lines["first"].endswith("-  up to date") and lines["right"].endswith("up to date")
    assert lines["left"].endswith("will run: left.txt is missing")
    assert lines["last"].endswith("will run: depends on left") or lines["last"].endswith(
        "will run: left.txt is missing"
    )
    assert "~" not in lines["left"]  # it was timed
    assert "Times without ~ are those" in plan(folder)


def test_a_stage_that_takes_up_again_takes_at_most_its_time(tmp_path):
    programs = write_programs(tmp_path / "bin", "first")
    (programs / "fail_first").write_text("no")
    run(tmp_path / "study", programs, [DIAMOND[0]])
    text = plan(tmp_path / "study", [DIAMOND[0]], jobs=1)
    assert "goes on: failed" in text and "at most its time" in text
    assert "at a time" not in text


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_recorded_time_is_believed_and_others_are_scaled(name):
    stage = copying(name)
    assert estimate(stage, MNIST, 7.0) == Estimate(7.0, True)
    fast, slow = study_times._MEASURED[name]
    assert estimate(stage, DIGITS, None).seconds == pytest.approx(fast)
    assert estimate(stage, MNIST, None).seconds == pytest.approx(slow)
    assert estimate(stage, DataSize(1, 1), None).seconds == fast  # starting up takes its time
    middle = DataSize(*(round((a * b) ** 0.5) for a, b in zip(DIGITS, MNIST)))
    assert estimate(stage, middle, None).seconds == pytest.approx((fast * slow) ** 0.5, rel=1e-3)
    assert not estimate(copying("unheard_of"), MNIST, None).is_recorded


def test_few_records_make_training_quicker_and_leave_an_evaluation_as_long():
    few = MNIST._replace(records=300)
    for name, is_quicker in (("train", True), ("evaluate", False)):
        of_few, of_many = (estimate(copying(name), size, None).seconds for size in (few, MNIST))
        assert (of_few < of_many) == is_quicker


def test_every_stage_of_a_study_was_measured():
    assert set(study_times._MEASURED) == {stage.name for stage in study_stages.stages(settings())}


def test_the_time_of_stages_beside_each_other_by_hand():
    seconds = {"first": 3.0, "left": 5.0, "right": 2.0, "last": 1.0}
    assert makespan(DIAMOND, seconds, 1) == 11.0
    assert makespan(DIAMOND, seconds, 2) == 3.0 + 5.0 + 1.0
    free = [copying(name) for name in "abc"]
    # The longest first: 4, and beside it 3 and then 2.
    assert makespan(free, {"a": 2.0, "b": 3.0, "c": 4.0}, 2) == 5.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(6.4, "6 s"), (99.4, "99 s"), (99.6, "2 min"), (1_596, "27 min"), (7_200, "2.0 h")],
)
def test_times_for_people(seconds, text):
    assert shown(seconds) == text
