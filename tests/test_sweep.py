# SPDX-License-Identifier: Apache-2.0
"""Sweeps: points that resume, are reported when they diverge, and are known by all their settings."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from evaluation_samples import CLASS_NAMES, private

from tfartgen import evaluation_data, evaluation_files, evaluation_tables, sweep, train_config
from tfartgen.evaluation_config import EvaluationConfig
from tfartgen.inversion import CLASSIC
from tfartgen.inversion_judge import JudgeConfig
from tfartgen.inversion_study import ATTACKS
from tfartgen.packed_arrays import unpacked
from tfartgen.students import StudentConfig
from tfartgen.sweep import Sweep, SweepConfig

TINY = (
    "steps=3",
    "batch_size=16",
    "generator_width=2",
    "critic_width=2",
    "latent_dim=4",
    "generator_batch_size=4",
)
STUDENTS = EvaluationConfig(
    studies=("table",),
    methods=("real", "artificial"),
    architectures=("logistic_regression",),
    seeds=1,
    student=StudentConfig(steps=5),
)


def sweep_of(folder, text="noise_multiplier:0,1", settings=TINY, students=STUDENTS, judge=None):
    data = private()
    config = SweepConfig.parse(text, 30, settings)
    return Sweep(data, evaluation_data.prepare(data), config, students, folder, judge)


@pytest.fixture(name="swept", scope="module")
def _swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    lines = []
    document = sweep_of(folder).run(lines.append)
    assert lines[0] == "point 1 of 2: noise_multiplier=0"
    return folder, document


def test_every_point_has_its_price_and_its_students(swept):
    _, document = swept
    assert json.loads(json.dumps(document, allow_nan=False))["schema"] == "tfartgen.sweep/1"
    first, second = document["points"]
    assert (first["value"], first["epsilon"], first["status"]) == (0.0, None, "ok")
    assert second["value"] == 1.0 and 0 < second["epsilon"] < 20
    for point in (first, second):
        assert [row["num_examples"] for row in point["artificial"]] == [30]
    assert [row["method"] for row in document["real"]] == ["real"]


def test_the_price_is_that_of_the_statement_which_is_published(swept):
    folder, document = swept
    stated = [
        json.loads(path.read_text())["epsilon"]
        for path in sorted(folder.glob("points/noise_multiplier=1-*/artificial/privacy.json"))
    ]
    assert stated == [document["points"][1]["epsilon"]]


def test_a_second_run_trains_nothing_and_says_the_same(swept, monkeypatch):
    folder, document = swept
    monkeypatch.setattr(sweep.generating, "generate", None)
    monkeypatch.setattr("tfartgen.gan.ArtGAN.fit", None)
    monkeypatch.setattr("tfartgen.students.train_student", None)
    assert sweep_of(folder).run() == document


def test_students_of_every_point_are_attacked_where_that_is_asked(swept, monkeypatch):
    folder, plain = swept
    assert "inversion" not in plain and "inversion" not in plain["points"][0]
    students = dataclasses.replace(STUDENTS, methods=("real", "artificial", "dp_sgd"), dp_steps=2)
    monkeypatch.setitem(ATTACKS, "strong", dataclasses.replace(CLASSIC, steps=20))
    judge = JudgeConfig(networks=1, steps=5)
    document = sweep_of(folder, students=students, judge=judge).run()
    targets = [[row["target"] for row in point["inversion"]] for point in document["points"]]
    assert targets == [["artificial"], ["artificial", "dp_sgd"]]
    known = document["inversion"]
    assert [row["target"] for row in known["real"]] == ["real", "shuffled", "untrained"]
    assert unpacked(known["records"]).shape == (3, 8, 8, 1) and known["chance"] == 1 / 3
    for row in [*known["real"], *document["points"][1]["inversion"]]:
        assert unpacked(row["images"]).shape == (3, 8, 8, 1)
        assert row["top1"]["trials"] == 3 and row["architecture"] == "logistic_regression"
    assert document["points"][1]["inversion"][1]["epsilon"] <= document["points"][1]["epsilon"]
    written = evaluation_files.write_sweep(document, folder / "written")
    assert "sweep_inversion.png" in [path.name for path in written]
    monkeypatch.setattr("tfartgen.inversion_targets.invert", None)
    assert sweep_of(folder, students=students, judge=judge).run() == document


def test_other_settings_make_other_points(swept, monkeypatch):
    folder, _ = swept
    trained = []
    monkeypatch.setattr(sweep.training, "train", lambda *a, **_: trained.append(a) or _stopped())
    with pytest.raises(KeyboardInterrupt):
        sweep_of(folder, settings=(*TINY[1:], "steps=4")).run()
    assert not trained[0][2].exists()


def _stopped():
    class Stopped:
        model_path, stopped_by = None, None

    return Stopped()


def test_a_point_that_diverged_is_reported_and_never_dropped(tmp_path):
    settings = (*TINY, "generator_learning_rate=1e30")
    document = sweep_of(tmp_path, "noise_multiplier:0.5,1", settings).run()
    for point in document["points"]:
        assert point["status"] == "diverged" and point["artificial"] == []
        assert point["reason"] in (
            "the generator draws values that are no numbers",
            "the generator draws the same image whatever the label and the latent",
        )
    text = evaluation_tables.sweep_text(document)
    assert text.count("diverged") == 4 and "noise_multiplier = 0.5 diverged: the generator" in text
    csv = evaluation_files.sweep_csv(document).splitlines()
    assert [line.split(",")[1] for line in csv] == ["status", "diverged", "diverged", ""]


def test_dp_sgd_runs_at_the_epsilon_of_each_point_that_has_one(swept):
    folder, before = swept
    students = dataclasses.replace(
        STUDENTS, methods=("artificial", "dp_sgd"), dp_steps=2, dp_batch_size=120
    )
    document = sweep_of(folder, students=students).run()
    assert document["points"][0]["dp_sgd"] == [] and document["real"] == []
    (row,) = document["points"][1]["dp_sgd"]
    assert row["epsilon"] <= before["points"][1]["epsilon"] * (1 + 1e-5)
    assert row["epsilon"] == pytest.approx(before["points"][1]["epsilon"], rel=0.01)


def test_students_see_all_that_was_drawn_however_many_real_records_there_are(tmp_path):
    data = private()
    config = SweepConfig.parse("noise_multiplier:1,2", 200, TINY)
    cut = evaluation_data.prepare(data)
    assert len(cut.train[1]) == 120
    document = Sweep(data, cut, config, STUDENTS, tmp_path).run()
    counts = [row["num_examples"] for point in document["points"] for row in point["artificial"]]
    assert counts == [200, 200]


def test_parsing():
    config = SweepConfig.parse("epsilon:1,2.5", None, ["steps=7", "loss=hinge", "ema_decay=0.9"])
    assert (config.parameter, config.values) == ("epsilon", (1.0, 2.5))
    assert config.train_settings == (("steps", 7), ("loss", "hinge"), ("ema_decay", 0.9))
    assert train_config.TrainConfig.__annotations__.keys() >= dict(config.train_settings).keys()


@pytest.mark.parametrize(
    "text, settings, message",
    [
        ("epsilon", (), "--sweep=epsilon is not NAME:VALUE"),
        ("epsilon:1;2", (), "--sweep=epsilon:1;2 is not NAME:VALUE"),
        ("delta:1,2", (), "--sweep must be one of noise_multiplier, epsilon"),
        ("epsilon:1", (), "at least two values, all different, got 1"),
        ("epsilon:1,1", (), "at least two values, all different"),
        ("epsilon:0,1", (), "--epsilon must be a positive number"),
        ("noise_multiplier:-1,1", (), "--noise_multiplier must be a non-negative number"),
        ("epsilon:1,2", ("steps",), "--train_setting=steps is not NAME=VALUE"),
        ("epsilon:1,2", ("step=1",), "--train_setting=step=1 is not NAME=VALUE"),
        ("epsilon:1,2", ("steps=x",), "--train_setting=steps=x must be of type int"),
        ("epsilon:1,2", ("steps=0",), "--steps must be a positive whole number"),
        ("epsilon:1,2", ("noise_multiplier=1",), "--train_setting=noise_multiplier contradicts"),
    ],
)
def test_what_cannot_be_swept_is_refused_by_name(text, settings, message):
    with pytest.raises(ValueError, match=message):
        SweepConfig.parse(text, None, settings)


def test_sweep_examples_must_be_a_number_of_examples():
    with pytest.raises(ValueError, match="--sweep_examples"):
        SweepConfig("epsilon", (1.0, 2.0), 0)


def test_class_names_of_the_document_are_those_of_the_data(swept):
    assert tuple(swept[1]["dataset"]["class_names"]) == CLASS_NAMES
    assert math.isfinite(swept[1]["points"][1]["epsilon"])
