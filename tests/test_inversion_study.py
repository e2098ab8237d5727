# SPDX-License-Identifier: Apache-2.0
"""The study of inversions: its attack works where nothing protects, its controls know nothing, nothing runs twice."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
from inversion_samples import CLASS_NAMES, real, release

from tfartgen import (
    inversion_judge,
    inversion_study,
    inversion_tables,
    inversion_targets,
    students,
)
from tfartgen.classification import proportion, wilson_interval
from tfartgen.evaluation_config import Budget, EvaluationConfig
from tfartgen.evaluation_data import EvaluationData
from tfartgen.evaluation_rows import RowMaker
from tfartgen.inversion import CLASSIC, Inversion
from tfartgen.inversion_judge import JudgeConfig
from tfartgen.inversion_study import InversionStudy, InversionStudyConfig
from tfartgen.inversion_targets import TargetTrials
from tfartgen.packed_arrays import unpacked
from tfartgen.students import StudentConfig
from tfartgen.trials import TrialStore

ATTACK = dataclasses.replace(CLASSIC, steps=40)
CONFIG = InversionStudyConfig(
    targets=("real", "artificial"),
    architectures=("logistic_regression",),
    seeds=2,
    classes=tuple(range(6)),
    attacks=("strong",),
    judge=JudgeConfig(networks=1, steps=60),
)
STUDENTS = EvaluationConfig(
    studies=("table",),
    architectures=("logistic_regression",),
    seeds=2,
    student=StudentConfig(steps=60, batch_size=32, learning_rate=0.01),
    epsilon=8.0,
    dp_steps=3,
    dp_batch_size=60,
)


@pytest.fixture(name="quick", scope="module", autouse=True)
def _quick():
    """Few steps, and those of the attack that is quick to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inversion_study.ATTACKS, "strong", ATTACK)
        yield


def targets_of(data, config=CONFIG, releases=None, store=None):
    releases = [release()] if releases is None else releases
    maker = RowMaker(data, releases, STUDENTS, Budget(8.0, 1e-5), store)
    return TargetTrials(data, releases, maker, config.attack_configs, config.classes)


def study_of(folder, config=CONFIG, data=None, **others):
    data, store = data or real(), TrialStore(folder)
    targets = targets_of(data, config, store=store, **others)
    releases = others.get("releases", [release()])
    return InversionStudy(data, targets, config, store, releases=releases)


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
    """The folder of trials, the document and the pictures."""
    folder = tmp_path_factory.mktemp("inversion")
    study = study_of(folder)
    done = []
    document = study.run(done.append)
    assert done == [1] * (len(study.trials()) + 1) and len(study.trials()) == 8
    return folder, document, study.pictures()


def row_of(document, target):
    (found,) = [row for row in document["rows"] if row["target"] == target]
    return found


# What is found


def test_people_are_identified_from_targets_without_protection(whole):
    for target in ("real", "artificial"):
        found = row_of(whole[1], target)
        assert found["accuracy"]["mean"] > 0.9, target
        assert found["top1"]["rate"] > 0.8, target
        assert found["confidence"] > 0.9


def test_a_release_is_judged_as_it_is(whole):
    (found,) = whole[1]["releases"]
    assert found["folder"] == release().folder and found["digest"] == release().digest
    assert found["top1"]["trials"] == 60  # ten of each class
    assert found["top1"]["rate"] > 0.9 and "face" not in found
    told = " ".join(inversion_tables.text(whole[1]).split())
    assert f"of the images of {release().folder} themselves" in told


def test_images_that_show_the_wrong_class_are_not_identified(tmp_path):
    wrong = release(labels=(release().labels + 1) % 6)
    study = study_of(tmp_path, releases=[wrong])
    assert study._as_published(wrong)["top1"]["rate"] < 0.2


def test_promise_14_baseline_and_control_are_near_chance(whole):
    chance, known = whole[1]["chance"], row_of(whole[1], "real")["top1"]
    assert chance == pytest.approx(1 / 6)
    for target in ("shuffled", "untrained"):
        found = row_of(whole[1], target)["top1"]
        assert found["low"] <= chance <= found["high"], target
        assert found["high"] < known["low"], target


def test_promise_14_every_attack_has_baseline_control_and_intervals(whole):
    assert [row["target"] for row in whole[1]["rows"]] == [
        "real",
        "artificial",
        "shuffled",
        "untrained",
    ]
    for row in whole[1]["rows"]:
        for key in ("top1", "top5", "nearer_to_training"):
            found = row[key]
            low, high = wilson_interval(found["successes"], 12)
            assert (found["trials"], found["low"], found["high"]) == (12, low, high)
        assert row["top1"]["successes"] <= row["top5"]["successes"]
        assert row["accuracy"]["half_width"] is not None and len(row["accuracies"]) == 2
        assert row["accuracy"]["mean"] == pytest.approx(np.mean(row["accuracies"]))
        assert row["diverged"] == 0 and "face" not in row
        assert len(row["seconds"]) == len(row["train_seconds"]) == 2
    (table,) = inversion_tables.tables(whole[1]).values()
    names = ["real data", "artificial data", "baseline: shuffled labels", "control: not trained"]
    assert [row[0] for row in table.rows] == names
    for row, cells in zip(whole[1]["rows"], table.rows):
        low, high = (round(100 * row["top1"][end]) for end in ("low", "high"))
        assert cells[2] == f"{round(100 * row['top1']['rate'])} ({low}-{high})"
    assert "The attack works: from every unprotected target" in flat(
        inversion_tables.text(whole[1])
    )


def test_the_document_is_json_and_says_what_was_attacked(whole):
    document = json.loads(json.dumps(whole[1], allow_nan=False))
    assert document["rows"] == whole[1]["rows"]
    assert document["schema"] == "tfartgen.inversion/1"
    assert document["settings"]["attacks"]["strong"]["steps"] == 40
    assert document["dataset"]["class_names"] == list(CLASS_NAMES)
    yardstick = document["real_images"]
    assert yardstick["accuracy"]["rate"] > 0.95
    assert yardstick["accuracy"]["trials"] == document["dataset"]["num_test"]
    assert yardstick["top1"]["successes"] == yardstick["accuracy"]["successes"]
    assert "nearer_to_training" not in yardstick


def test_pictures_are_of_the_first_seed(whole):
    data, pictures = real(), whole[2]
    assert set(pictures) == {
        (row["target"], "logistic_regression", "strong") for row in whole[1]["rows"]
    }
    trial = targets_of(data).trial("shuffled", "logistic_regression", 0)
    stored = TrialStore(whole[0]).peek(trial)["attacks"]["strong"]["images"]
    picture = pictures["shuffled", "logistic_regression", "strong"]
    np.testing.assert_array_equal(picture, unpacked(stored))
    assert (picture.shape, picture.dtype) == ((6, 12, 12, 1), np.uint8)


def test_scores_count_what_the_judge_says():
    scores = [
        {"rank": [0, 1, 5], "feature_distance": [1.0, 2, 3], "ssim": [0.1, 0.2, 0.3]},
        {"rank": [0, 4, 9], "feature_distance": [4.0, 5, 6], "ssim": [0.4, 0.5, 0.6]},
    ]
    for each, nearer, face in zip(scores, ([True] * 3, [False] * 3), ([True] * 3, [False] * 3)):
        each.update(nearer_to_training=nearer, face=face)
    found = inversion_study._averaged(scores)
    assert found["top1"] == proportion(2, 6) and found["top5"] == proportion(4, 6)
    assert (found["feature_distance"], found["ssim"]) == pytest.approx((3.5, 0.35))
    assert found["nearer_to_training"] == found["face"] == proportion(3, 6)
    assert found["recognisable"] == proportion(1, 6)  # a face, and identified


# Nothing runs twice


def never(*arguments, **more):
    raise AssertionError("computed again")


@pytest.fixture(name="computes_nothing")
def _computes_nothing(monkeypatch):
    monkeypatch.setattr(students, "train_student", never)
    monkeypatch.setattr(students, "new_student", never)
    monkeypatch.setattr(inversion_targets, "invert", never)
    monkeypatch.setattr(inversion_judge, "_trained", never)


def test_a_second_run_computes_nothing_and_says_the_same(whole, computes_nothing):
    del computes_nothing
    study = study_of(whole[0])
    assert study.run() == whole[1]
    for key, picture in study.pictures().items():
        np.testing.assert_array_equal(picture, whole[2][key])


@pytest.mark.parametrize(
    "change", [{"classes": (0, 1)}, {"attacks": ("classic",)}, {"attacks": ("classic", "strong")}]
)
def test_other_classes_or_attacks_are_another_trial(whole, computes_nothing, change):
    del computes_nothing
    with pytest.raises(AssertionError, match="computed again"):
        study_of(whole[0], dataclasses.replace(CONFIG, **change)).run()


def test_another_setting_of_an_attack_is_another_trial(whole, computes_nothing, monkeypatch):
    del computes_nothing
    other = dataclasses.replace(ATTACK, smoothness=0.5)
    monkeypatch.setitem(inversion_study.ATTACKS, "strong", other)
    with pytest.raises(AssertionError, match="computed again"):
        study_of(whole[0]).run()


def test_trials_differ_in_whatever_they_depend_on():
    data, config = real(), CONFIG
    keys = [
        targets_of(data).trial(kind, "logistic_regression", seed).key
        for kind in (*inversion_targets.KINDS, *inversion_targets.CONTROLS)
        for seed in (0, 1)
    ]
    keys.append(targets_of(data, releases=[release(digest="f" * 64)]).trial(*ARTIFICIAL).key)
    keys.append(targets_of(real(train=174)).trial("real", "logistic_regression", 0).key)
    keys.append(targets_of(data).given(None, "digest").key)
    keys.append(targets_of(data).given(None, "another").key)
    assert len(set(keys)) == len(keys)
    another_judge = dataclasses.replace(config, judge=JudgeConfig(networks=1, steps=61))
    same = targets_of(data, another_judge).trial(*ARTIFICIAL).key
    assert same == targets_of(data).trial(*ARTIFICIAL).key


ARTIFICIAL = ("artificial", "logistic_regression", 0)


def test_another_judge_judges_stored_reconstructions_anew(whole, monkeypatch):
    def trained(*arguments):
        raise AssertionError("a judge is trained")

    monkeypatch.setattr(students, "train_student", never)
    monkeypatch.setattr(inversion_targets, "invert", never)
    monkeypatch.setattr(inversion_judge, "_trained", trained)
    with pytest.raises(AssertionError, match="a judge is trained"):
        study_of(whole[0], dataclasses.replace(CONFIG, judge=JudgeConfig(1, 61))).run()


# Targets


def test_targets_are_trained_on_what_they_are_called(monkeypatch):
    seen = {}

    def train(images, labels, num_classes, config):
        seen[config.seed] = images, labels
        return students.new_student(num_classes, config)

    data = real()
    monkeypatch.setattr(students, "train_student", train)
    targets = targets_of(data)
    for seed, kind in enumerate(("real", "artificial", "shuffled", "shuffled")):
        targets._train(kind, "logistic_regression", seed)
    np.testing.assert_equal(seen[0], data.train)
    np.testing.assert_equal(seen[1], (release().images, release().labels))
    for seed in (2, 3):
        np.testing.assert_array_equal(seen[seed][0], data.train[0])
        np.testing.assert_array_equal(np.sort(seen[seed][1]), np.sort(data.train[1]))
        assert (seen[seed][1] == data.train[1]).mean() < 0.4
    assert (seen[2][1] != seen[3][1]).any()


def test_a_given_target_is_attacked_alone_so_that_a_low_rate_proves_nothing(tmp_path):
    data, store = real(), TrialStore(tmp_path)
    config = dataclasses.replace(CONFIG, targets=(), architectures=(), seeds=1)
    targets = targets_of(data, config, releases=[], store=store)
    student = students.train_student(*data.train, 6, STUDENTS.student)
    given = targets.given(student, "digest")
    document = InversionStudy(data, targets, config, store, given).run()
    (found,) = document["rows"]
    assert (found["target"], found["architecture"]) == ("given", "given")
    assert found["top1"]["rate"] > 0.8 and found["train_seconds"] == [0.0]
    text = inversion_tables.text(document)
    assert "the given model" in text and "No unprotected target was attacked beside" in flat(text)


@pytest.fixture(name="lost", scope="module")
def _lost(tmp_path_factory):
    """A document of a study in which the real targets of some seeds diverged, by which seeds these are."""
    data = real(train=60)
    config = dataclasses.replace(CONFIG, targets=("real",), classes=(0, 1), judge=JudgeConfig(1, 1))

    def invert(target, classes, image_shape, config, seed):
        nothing = np.zeros([len(classes), *image_shape], np.float32)
        return Inversion(nothing, np.ones(len(classes)), np.ones(len(classes), int))

    def run(seeds):
        def train(images, labels, num_classes, config):
            student = students.new_student(num_classes, config)
            student(images[:1] / np.float32(255))
            if config.seed in seeds and (labels == data.train[1]).all():
                student.set_weights([np.full_like(w, np.nan) for w in student.get_weights()])
            return student

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(students, "train_student", train)
            patch.setattr(inversion_targets, "invert", invert)
            study = study_of(tmp_path_factory.mktemp("lost"), config, data)
            return study.run(), study.pictures()

    return {seeds: run(seeds) for seeds in ((0,), (0, 1))}


def test_targets_that_diverged_are_a_row_without_rates_and_the_tables_say_so(lost):
    document, pictures = lost[0, 1]
    found = row_of(document, "real")
    assert found["diverged"] == 2 and found["accuracies"] == pytest.approx([1 / 6] * 2)
    assert not {"top1", "ssim", "nearer_to_training"} & set(found)
    assert found["confidence"] is None and found["seconds"] == []
    assert ("real", "logistic_regression", "strong") not in pictures and len(pictures) == 2
    text = inversion_tables.text(document)
    assert "diverged" in line_of(text, "real data") and max(map(len, text.splitlines())) <= 80
    assert "Every unprotected target diverged, so a low rate proves nothing." in flat(text)
    assert json.loads(json.dumps(document, allow_nan=False))["rows"] == document["rows"]


def test_rates_are_over_the_targets_that_did_not_diverge(lost):
    found = row_of(lost[(0,)][0], "real")
    assert found["diverged"] == 1 and found["top1"]["trials"] == 2
    assert row_of(lost[(0,)][0], "shuffled")["top1"]["trials"] == 4


# Refusals


def test_labels_of_names_in_the_order_given():
    data = real(train=60)
    assert inversion_study.labels_of(None, data) == tuple(range(6))
    assert inversion_study.labels_of(["spot", "across", "spot"], data) == (5, 0)


@pytest.mark.parametrize(
    "names, message",
    [
        (["across", "cat"], "--classes=cat is no class of --dataset=shapes, which has across, "),
        (["0"], "--classes=0 is no class.*across, down, falling, rising, frame, ...; give"),
        ([], "--classes= is no class of --dataset=shapes"),
    ],
)
def test_a_class_that_is_not_there_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        inversion_study.labels_of(names, real(train=60))


def test_a_class_with_one_training_record_is_refused(tmp_path):
    data = real(train=60)
    images, labels = data.train
    kept = (labels != 3) | (np.cumsum(labels == 3) == 1)
    fewer = dataclasses.replace(data, train=(images[kept], labels[kept]))
    message = "--dataset=shapes: class rising has one training record only.* at least 2 of every"
    with pytest.raises(ValueError, match=message):
        inversion_study.require_records(fewer)
    with pytest.raises(ValueError, match=message):
        study_of(tmp_path, data=fewer)
    assert isinstance(data, EvaluationData) and inversion_study.require_records(data) is None


# Tables


def flat(text):
    return " ".join(text.split())


def line_of(text, start):
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def made_up(real_successes, shuffled_successes, trials=120, faces=None):
    """A document with rows of known rates; `faces` of them show a face, half of those one that is identified."""
    rows = [
        {
            "target": target,
            "architecture": architecture,
            "attack": "strong",
            "accuracies": [1.0, 1.0, 1.0],
            "accuracy": {"mean": 1.0, "half_width": 0.123},
            "diverged": 0,
            "top1": proportion(found, trials),
            "top5": proportion(trials, trials),
            "ssim": -0.123,
            "nearer_to_training": proportion(trials // 2, trials),
            "seconds": [1.0, 12.3],
            "train_seconds": [4.56, 1.0],
            **({} if target != "dp_sgd" else {"epsilon": 0.1234}),
        }
        for architecture in ("logistic_regression", "cnn")
        for target, found in (
            ("real", real_successes),
            ("dp_sgd", trials),
            ("shuffled", shuffled_successes),
            ("untrained", 0),
        )
    ]
    document = {
        "dataset": {"name": "made up", "class_names": [*"abcdefgh"], "num_train": 12345},
        "settings": {"classes": [*range(8)], "seeds": 3, "judge": {"networks": 3}},
        "chance": 1 / 8,
        "real_images": {"accuracy": proportion(95, 100), "ssim": 0.5},
        "releases": [],
        "rows": rows,
    }
    if faces is not None:
        document["real_images"]["face"] = proportion(90, 100)
        for row in rows:
            row["face"] = proportion(faces, trials)
            row["recognisable"] = proportion(faces // 2, trials)
    return document


@pytest.mark.parametrize("faces", [None, 120])
def test_tables_fit_in_80_columns(whole, faces):
    for document in (made_up(120, 0, faces=faces), whole[1]):
        text = inversion_tables.text(document)
        assert max(map(len, text.splitlines())) <= 80, text
        assert max(map(len, inversion_tables.cost_table(document).text().splitlines())) <= 80
    assert "DP-SGD, epsilon 0.124" in inversion_tables.text(made_up(1, 0))  # 0.1234, rounded up


def test_tables_hold_what_the_rows_say():
    document = made_up(60, 15, faces=30)
    found = inversion_tables.tables(document)
    assert list(found) == ["logistic regression, strong attack", "CNN, strong attack"]
    table = found["CNN, strong attack"]
    low, high = (round(100 * end) for end in wilson_interval(60, 120))
    assert table.header[1:] == ("accuracy %", "identified %", "top 5 %", "SSIM", "face %")
    assert table.rows[0] == (
        "real data",
        "100.0 ± 12.3",
        f"50 ({low}-{high})",
        "100",
        "-0.12",
        "25",
    )
    document["dataset"]["class_names"] = [*"abcde"]
    assert "top 5 %" not in inversion_tables.tables(document)["CNN, strong attack"].header
    costs = inversion_tables.cost_table(document).rows
    assert costs[0] == ("logistic regression, real data", "strong", "12.3", "4.6")


WORKS = (
    "The attack works: from every unprotected target it identifies more than from the baseline and "
    "the control."
)


def of_target(document, target, **changes):
    """The same with other rates of a target of both architectures; without it where there are none."""
    rows = [row for row in document["rows"] if row["target"] != target]
    if changes:
        rows = [{**r, **(changes if r["target"] == target else {})} for r in document["rows"]]
    return {**document, "rows": rows}


def headline(document):
    return flat(" ".join(inversion_tables.headline(document)))


def test_the_headline_says_that_an_attack_works():
    text = headline(made_up(60, 15))
    assert WORKS in text
    assert "FAILS" not in text and "Face" not in text
    assert "It is right about 95.0% of real test images; chance is 12.5%." in text
    assert "over 8 classes and 3 seeds" in text


def test_the_headline_says_that_an_attack_fails():
    """Its interval must lie above that of the baseline of the same architecture."""
    document = made_up(60, 15)
    low = document["rows"][0]["top1"]["low"]
    (baseline,) = [r for r in document["rows"][4:] if r["target"] == "shuffled"]
    baseline["top1"] = proportion(50, 120)
    assert baseline["top1"]["rate"] < 0.5 and baseline["top1"]["high"] > low
    text = flat(" ".join(inversion_tables.headline(document)))
    assert "The attack FAILS on the unprotected target of CNN (strong):" in text
    assert "The attack works" not in text
    text = flat(" ".join(inversion_tables.headline(made_up(15, 15))))
    assert "FAILS on the unprotected target of logistic regression (strong), CNN (strong)" in text


@pytest.mark.parametrize("target", ["shuffled", "untrained"])
def test_promise_14_an_attack_works_where_it_beats_the_baseline_and_the_control(target):
    beaten = of_target(made_up(60, 15), target, top1=proportion(30, 120))
    assert WORKS in headline(beaten)
    as_good = headline(of_target(made_up(60, 15), target, top1=proportion(58, 120)))
    assert WORKS not in as_good
    assert "FAILS on the unprotected target of logistic regression (strong), CNN (str" in as_good
    only_one = made_up(60, 15)
    (row,) = [r for r in only_one["rows"][:4] if r["target"] == target]
    row["top1"] = proportion(58, 120)
    assert "FAILS on the unprotected target of logistic regression (strong):" in headline(only_one)


def test_promise_14_whether_an_attack_works_is_a_matter_of_its_intervals():
    """Half against a quarter: of 120 reconstructions that is more, of 8 it may be luck."""
    assert WORKS in headline(made_up(60, 30, trials=120))
    few = headline(made_up(4, 2, trials=8))
    assert WORKS not in few and "The attack FAILS" in few
    for of_real, of_shuffled in (((6, 10), (240, 600)), ((70, 120), (2, 8))):
        found, nothing = proportion(*of_real), proportion(*of_shuffled)
        assert found["rate"] > nothing["high"] or found["low"] > nothing["rate"]
        document = of_target(made_up(0, 0), "real", top1=found)
        assert "FAILS" in headline(of_target(document, "shuffled", top1=nothing))


@pytest.mark.parametrize("target", ["shuffled", "untrained"])
def test_promise_14_without_baseline_or_control_it_is_not_known_whether_an_attack_works(target):
    missing = (
        "Baseline or control is missing beside the unprotected target of logistic regression (strong), "
        "CNN (strong), so whether the attack works there is not known, and a low rate proves nothing."
    )
    text = headline(of_target(made_up(120, 0), target))
    assert missing in text and WORKS not in text and "FAILS" not in text
    diverged = made_up(120, 0)
    for row in diverged["rows"][:4]:
        if row["target"] == target:
            del row["top1"]
    text = headline(diverged)
    assert "missing beside the unprotected target of logistic regression (strong), so" in text
    assert WORKS not in text


def test_promise_14_an_attack_that_fails_somewhere_and_is_alone_elsewhere_says_both():
    document = made_up(15, 15)
    document["rows"] = [
        r for r in document["rows"] if (r["architecture"], r["target"]) != ("cnn", "untrained")
    ]
    text = headline(document)
    assert "FAILS on the unprotected target of logistic regression (strong): what" in text
    assert "missing beside the unprotected target of CNN (strong), so whether" in text


def test_without_an_unprotected_target_a_low_rate_proves_nothing():
    document = made_up(60, 15)
    document["rows"] = [row for row in document["rows"] if row["target"] != "real"]
    text = flat(" ".join(inversion_tables.headline(document)))
    assert "No unprotected target was attacked beside (--targets=real), so a low rate" in text


def test_the_headline_tells_identified_from_recognisable():
    document = made_up(60, 15, faces=24)
    better = document["rows"][4]
    better["recognisable"] = proportion(30, 120)
    text = flat(" ".join(inversion_tables.headline(document)))
    assert "it does in 90% of real test images" in text
    one, other = ([round(100 * end) for end in wilson_interval(n, 120)] for n in (60, 30))
    assert (
        f"at most, from CNN of real data (strong attack), 50 ({one[0]}-{one[1]})% of the people are "
        f"identified, and 25 ({other[0]}-{other[1]})% in a picture in which a face is found."
    ) in text


def test_the_headline_says_what_a_release_shows_without_an_attack():
    published = {"folder": "artificial/x", "top1": proportion(90, 100), "face": proportion(7, 10)}
    document = {**made_up(60, 15, faces=24), "releases": [published]}
    text = flat(" ".join(inversion_tables.headline(document)))
    assert "images of artificial/x themselves 90 (83-94)% are identified, and a face is" in text
    assert "found in 70%" in text


def test_the_headline_says_whether_records_are_shown():
    document = copy.deepcopy(made_up(60, 15))
    document["rows"][0]["nearer_to_training"] = proportion(90, 120)
    low, high = (round(100 * end) for end in wilson_interval(90, 120))
    text = flat(" ".join(inversion_tables.headline(document)))
    assert f"a training record in 75 ({low}-{high})% of cases at most (logistic regression" in text
