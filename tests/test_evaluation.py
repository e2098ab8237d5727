# SPDX-License-Identifier: Apache-2.0
"""Evaluations: every row is what it says, nothing is trained twice, and what cannot be done is refused."""

from __future__ import annotations

import dataclasses
import json

import dp_accounting
import numpy as np
import pytest
from evaluation_samples import private, real, release, shades
from scipy import stats

from tfartgen import (
    evaluation,
    evaluation_config,
    evaluation_data,
    evaluation_rows,
    ledger,
    student_trials,
    validation_study,
)
from tfartgen.evaluation_config import EvaluationConfig
from tfartgen.students import StudentConfig
from tfartgen.trials import TrialStore

QUICK = StudentConfig(steps=60, batch_size=16, learning_rate=0.02)
TABLE = EvaluationConfig(
    studies=("table",),
    architectures=("logistic_regression",),
    seeds=2,
    student=QUICK,
    epsilon=8.0,
    dp_steps=30,
    dp_batch_size=120,
    dp_learning_rate=0.05,
    num_teachers=6,
    num_queries=9,
)


def evaluate(path, releases, config, data=None):
    return evaluation.Evaluation(data or real(), releases, config, TrialStore(path))


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
    """All studies over two architectures and one release; the folder of trials and the document."""
    folder = tmp_path_factory.mktemp("whole")
    config = dataclasses.replace(
        TABLE,
        studies=evaluation_config.STUDIES,
        methods=("real", "artificial", "pate"),
        architectures=("logistic_regression", "mlp"),
        curve=(9, 150),
    )
    study = evaluate(folder, [release()], config)
    done = []
    document = study.run(done.append)
    assert done == [1] * len(study.trials())
    return folder, config, document


def test_pate_is_left_out_with_a_word_where_too_few_images_are_public():
    few = evaluation_data.prepare(private(held_out=6), 0.2)
    assert len(few.public) == 0
    config = dataclasses.replace(TABLE, methods=evaluation_config.METHODS)
    left, notes = evaluation.suited(config, few)
    assert left.methods == ("real", "artificial", "dp_sgd")
    assert len(notes) == 1 and "needs 9 public images, and there are 0" in notes[0]
    assert evaluation.suited(config, real()) == (config, ())
    without = dataclasses.replace(config, methods=("real",))
    assert evaluation.suited(without, few) == (without, ())


def test_the_document_is_json_and_holds_what_was_asked_for(whole):
    _, _, document = whole
    assert json.loads(json.dumps(document, allow_nan=False))["schema"] == "tfartgen.evaluation/1"
    rows = [(row["architecture"], row["method"]) for row in document["table"]]
    methods = ("real", "artificial", "pate")
    assert rows == [(a, m) for a in ("logistic_regression", "mlp") for m in methods]
    assert [row["num_examples"] for row in document["table"][:3]] == [120, 120, 9]
    assert document["dataset"]["num_test"] + document["dataset"]["num_public"] == 60
    assert [row["num_examples"] for row in document["curve"]] == [9, 150, 9, 150]
    assert len(document["validation"]["configurations"]) == 16
    assert document["fidelity"][0]["num_examples"] == document["dataset"]["num_test"]


def test_students_of_good_data_are_good(whole):
    rows = {row["method"]: row for row in whole[2]["table"][:3]}
    for method in ("real", "artificial"):
        assert rows[method]["accuracy"]["mean"] > 0.9, method
        assert sum(map(sum, rows[method]["outcome"]["confusion"])) == 2 * 42
        assert "epsilon" not in rows[method]


def test_private_students_cost_what_they_say(whole, tmp_path):
    config = dataclasses.replace(TABLE, methods=("dp_sgd",), seeds=1)
    (dp_sgd,) = evaluate(tmp_path, [], config).run()["table"]
    assert dp_sgd["accuracy"]["mean"] > 0.7 and dp_sgd["num_examples"] == 120
    pate = whole[2]["table"][2]
    for row in (dp_sgd, pate):
        assert 0 < row["epsilon"] <= 8.0 and row["delta"] == 1e-5
        outside = dp_accounting.pld.PLDAccountant()
        outside.compose(ledger.Stretch.from_json(row["mechanism"]).event())
        assert outside.get_epsilon(1e-5) == pytest.approx(row["epsilon"], rel=3e-3)
    assert pate["mechanism"]["noise_multiplier"] == pytest.approx(pate["vote_noise"] / 2**0.5)
    assert pate["mechanism"]["steps"] == pate["num_examples"] == 9


def test_a_second_run_trains_nothing_and_says_the_same(whole, monkeypatch):
    folder, config, document = whole
    monkeypatch.setattr(student_trials.students, "train_student", None)
    monkeypatch.setattr(student_trials.dp_students, "train_dp_student", None)
    monkeypatch.setattr(student_trials.pate, "label_publicly", None)
    assert evaluate(folder, [release()], config).run() == document


def test_an_evaluation_that_was_stopped_goes_on(tmp_path, monkeypatch):
    config = dataclasses.replace(TABLE, methods=("real", "artificial"))
    trained = []
    train = student_trials.students.train_student

    def stopped_at_the_third(*arguments):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(arguments)
        return train(*arguments)

    monkeypatch.setattr(student_trials.students, "train_student", stopped_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, [release()], config).run()
    assert len(list(tmp_path.glob("*.json"))) == 2
    monkeypatch.setattr(
        student_trials.students, "train_student", lambda *a: trained.append(a) or train(*a)
    )
    evaluate(tmp_path, [release()], config).run()
    assert len(trained) == 4


def test_other_data_another_release_or_another_setting_is_trained_afresh(tmp_path):
    config = dataclasses.replace(TABLE, methods=("real", "artificial", "dp_sgd", "pate"))
    keys = {trial.key for trial in evaluate(tmp_path, [release()], config).trials()}
    others = {
        "data": evaluate(tmp_path, [release()], config, real(train=126)),
        "setting": evaluate(
            tmp_path,
            [release()],
            dataclasses.replace(
                config,
                student=dataclasses.replace(QUICK, steps=26),
                dp_steps=31,
                num_teachers=7,
            ),
        ),
    }
    for name, other in others.items():
        assert keys.isdisjoint(trial.key for trial in other.trials()), name
    other = {trial.key for trial in evaluate(tmp_path, [release(seed=3)], config).trials()}
    changed = {key.partition("-")[0] for key in keys - other}
    assert changed == {"artificial"}


def test_the_test_set_never_reaches_a_student(tmp_path, monkeypatch):
    data, seen = real(), []
    train = student_trials.students.train_student
    monkeypatch.setattr(
        student_trials.students, "train_student", lambda i, *a: seen.append(i) or train(i, *a)
    )
    config = dataclasses.replace(TABLE, methods=("real", "artificial", "pate"))
    evaluate(tmp_path, [release()], config, data).run()
    test = {image.tobytes() for image in data.test[0]}
    assert len(seen) == 6
    assert not any(image.tobytes() in test for images in seen for image in images)


def test_a_class_that_a_generator_dropped_is_seen(tmp_path):
    images, labels = shades(150, 2)
    images[labels == 2] = shades(150, 2)[0][labels == 0]  # 'bright' is drawn dark
    config = dataclasses.replace(TABLE, methods=("artificial",))
    (row,) = evaluate(tmp_path, [release(images=images)], config).run()["table"]
    # Bright test images are never taken for bright: their recall shows it, whatever the mean.
    assert row["recalls"][2] < 0.6 < row["recalls"][1]
    assert np.argmin(row["recalls"]) == 2


def test_releases_are_pooled_in_like_parts(tmp_path):
    config = dataclasses.replace(TABLE, methods=("real", "artificial"), seeds=1)
    releases = [release(90, seed=2), release(120, seed=3), release(150, seed=4)]
    study = evaluate(tmp_path, releases, config)
    rows = study.run()["table"]
    assert [row["method"] for row in rows] == ["real", *["artificial"] * 3, "pool"]
    assert [row["num_examples"] for row in rows[1:]] == [90] * 4
    assert rows[-1]["release"] == "artificial/shades2 + artificial/shades3 + artificial/shades4"
    assert "see 90 examples" in study.notes[0]


def test_a_student_that_diverged_is_counted_and_not_dropped(tmp_path):
    config = dataclasses.replace(
        TABLE, methods=("real",), student=dataclasses.replace(QUICK, learning_rate=1e38)
    )
    (row,) = evaluate(tmp_path, [], config).run()["table"]
    assert row["diverged"] == 2
    assert row["accuracy"]["mean"] == pytest.approx(1 / 3, abs=0.2)


@pytest.mark.parametrize(
    "config, statements, budget, noted",
    [
        ({"epsilon": 2.0, "delta": 1e-6}, [("none", 4e4)], (2.0, 1e-6), False),
        ({}, [("formal", 5.0)], (5.0, 1e-5), False),
        ({}, [("formal", 5.0), ("formal", 7.0)], (7.0, 1e-5), False),
        ({}, [("formal", 5.0), ("none", 4e4)], (3.0, 1e-5), True),
        ({}, [("none", None)], (3.0, 1e-5), True),
        ({}, [], (3.0, 1e-5), False),
    ],
)
def test_the_budget_of_the_baselines(config, statements, budget, noted):
    releases = [
        release(statement={"guarantee": guarantee, "epsilon": epsilon, "delta": 1e-5})
        for guarantee, epsilon in statements
    ]
    found = evaluation_config.baseline_budget(EvaluationConfig(**config), releases)
    assert (found.epsilon, found.delta) == budget
    assert bool(found.note) == noted


def test_ranking_by_hand():
    # Ranks 1 2 3 4 and 2 1 3 4: rho = 1 - 6 * 2 / (4 * 15) = 0.8.
    found = validation_study.ranking([0.1, 0.2, 0.3, 0.4], [0.6, 0.5, 0.8, 0.9])
    assert found["spearman"] == pytest.approx(0.8)
    assert (found["chosen"], found["best"], found["accuracy_lost"]) == (3, 3, 0.0)
    found = validation_study.ranking([0.9, 0.2, 0.3], [0.6, 0.5, 0.8])
    assert (found["chosen"], found["best"]) == (0, 2)
    assert found["accuracy_lost"] == pytest.approx(0.2)
    assert validation_study.ranking([0.5, 0.5], [0.1, 0.2])["spearman"] is None


def test_the_better_half_is_ranked_by_itself(whole):
    study = whole[2]["validation"]
    rows = sorted(study["configurations"], key=lambda row: row["artificial_accuracy"]["mean"])[8:]
    pairs = [[row[side]["mean"] for row in rows] for side in ("artificial_accuracy", "accuracy")]
    expected = stats.spearmanr(*pairs)[0]
    found = study["better_half"]["spearman"]
    assert found == pytest.approx(expected) if found is not None else np.isnan(expected)


def test_the_interval_of_a_rank_correlation_covers():
    rng, covered = np.random.default_rng(0), 0
    truth = 6 / np.pi * np.arcsin(0.8 / 2)  # Spearman's of a normal pair of Pearson's 0.8
    for _ in range(1000):
        pair = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=24)
        found = validation_study.ranking(pair[:, 0].tolist(), pair[:, 1].tolist())
        assert found["spearman"] == pytest.approx(stats.spearmanr(*pair.T)[0])
        covered += found["spearman_low"] <= truth <= found["spearman_high"]
    assert 0.92 < covered / 1000 < 0.98


def test_curve_counts_grow_by_a_constant_factor():
    assert evaluation_rows.curve_counts(100_000, 1) == (10, 100, 1000, 10_000, 100_000)
    assert evaluation_rows.curve_counts(7, 10) == (7,)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"studies": ("curve",), "curve": (151,)}, "--curve=151 exceeds the 150 examples"),
        ({"num_teachers": 121}, "--num_teachers=121 exceeds the 120 records"),
        ({"num_queries": 19}, "PATE needs 19 public images and has 18"),
        ({"dp_batch_size": 121}, "--dp_batch_size=121 exceeds the 120 records"),
        (
            {"studies": ("fidelity",), "fidelity_examples": 43},
            "--fidelity_examples=43 exceeds the 42",
        ),
        (
            {"studies": ("fidelity",), "fidelity_examples": 5},
            "fidelity needs more than 5 examples of each side, and would have 5",
        ),
    ],
)
def test_what_the_data_does_not_carry_is_refused_before_anything_is_trained(
    tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        evaluate(tmp_path, [release()], dataclasses.replace(TABLE, **changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("study", ["curve", "validation", "fidelity"])
def test_a_study_of_a_release_needs_one(tmp_path, study):
    config = EvaluationConfig(studies=(study,))
    with pytest.raises(ValueError, match=f"--studies={study} needs a release; give --artificial"):
        evaluate(tmp_path, [], config)


def test_a_row_of_artificial_data_needs_a_release_and_none_may_come_twice(tmp_path):
    with pytest.raises(ValueError, match="--methods=artificial needs a release"):
        evaluate(tmp_path, [], EvaluationConfig(studies=("table",)))
    with pytest.raises(ValueError, match="--artificial names artificial/shades2 twice"):
        evaluate(tmp_path, [release(), release(seed=3), release()], TABLE)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"studies": ("tables",)}, "--studies must be one of table, curve"),
        ({"methods": ()}, "--methods is empty"),
        ({"architectures": ("resnet",)}, "--architectures must be one of"),
        ({"architectures": ("cnn",)}, "8 configurations, and a ranking needs 12"),
        ({"seeds": 0}, "--seeds"),
        ({"epsilon": float("nan")}, "--epsilon"),
        ({"delta": 1.0}, "--delta"),
        ({"dp_steps": 0}, "--dp_steps"),
        ({"dp_learning_rate": 0}, "--dp_learning_rate"),
        ({"num_teachers": 0}, "--num_teachers"),
        ({"curve": (0,)}, "--curve"),
    ],
)
def test_settings_out_of_range_are_refused_by_the_name_of_their_flag(settings, message):
    with pytest.raises(ValueError, match=message):
        EvaluationConfig(**settings)
