# SPDX-License-Identifier: Apache-2.0
"""Attacks on small students of noise under labels by lot, which can be known by heart and in no other way."""

from __future__ import annotations

import json

import evaluation_samples
import numpy as np
import pytest

from tfartgen import (
    data,
    dp_students,
    evaluation_config,
    evaluation_data,
    membership,
    student_trials,
    students,
)
from tfartgen.evaluation_config import EvaluationConfig
from tfartgen.evaluation_rows import RowMaker
from tfartgen.membership_students import StudentAttackConfig, StudentAttacks
from tfartgen.membership_study import Candidates, MembershipConfig
from tfartgen.students import StudentConfig
from tfartgen.trials import TrialStore

CLASSES = ("a", "b", "c")
ALL = ("real", "artificial", "dp_sgd")


def lots(count, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(3), rng.integers(3, size=count - 3)]).astype(np.int32)
    return rng.integers(256, size=(count, 8, 8, 1)).astype(np.uint8), labels


def attacks_in(folder, kinds, shadow_models, steps=150, **settings):
    splits = (data.Split.from_arrays(*lots(n, seed)) for n, seed in ((60, 0), (120, 1)))
    private = data.PrivateData("lots", (8, 8, 1), CLASSES, *splits)
    images, labels = lots(70, 5)
    release = evaluation_samples.release(images=images, labels=labels, class_names=CLASSES)
    candidates = Candidates.of(private, MembershipConfig(**settings))
    student = StudentConfig(steps=steps, batch_size=16)
    config = EvaluationConfig(studies=("table",), student=student, dp_steps=3, epsilon=3.0)
    budget, store = evaluation_config.baseline_budget(config, [release]), TrialStore(folder)
    maker = RowMaker(evaluation_data.prepare(private), [release], config, budget, store)
    about = StudentAttackConfig(kinds, "mlp", shadow_models)
    return candidates, StudentAttacks(candidates, 3, [release], maker, about, store)


@pytest.fixture(name="attacked", scope="module")
def _attacked(tmp_path_factory):
    """All students, attacked: the folder of results, candidates, what each was trained on, and what was found."""
    folder, trained = tmp_path_factory.mktemp("students"), []
    candidates, attacks = attacks_in(folder, ALL, 8)
    train = students.train_student

    def watched(images, labels, num_classes, config):
        trained.append((images, labels, config.seed))
        return train(images, labels, num_classes, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(students, "train_student", watched)
        patch.setattr(dp_students, "calibrate_noise_multiplier", lambda *_, **__: 5.0)  # it is slow
        patch.setattr(student_trials, "cost", lambda stretch, delta: {"epsilon": 2.5})
        done = []
        found = attacks.run(done.append)
    assert done == [1] * len(attacks.trials())
    by_name = {(each["target"], each["name"]): each for each in found}
    assert len(by_name) == len(found) == 6
    return folder, candidates, trained, by_name


def at_chance(result):
    return result["auc"]["low"] <= 0.5 <= result["auc"]["high"]


def test_a_student_that_knows_its_records_by_heart_gives_them_away(attacked):
    *_, found = attacked
    loss = found["student of real data", "loss threshold"]["main"]["auc"]["value"]
    ratio = found["student of real data", "likelihood ratio"]["main"]["auc"]["value"]
    assert loss >= 0.9 and ratio >= min(0.9, loss - 0.02)


def test_promise_14_each_attack_is_at_chance_on_the_control_and_succeeds_on_what_memorised(
    attacked,
):
    *_, found = attacked
    for name, each in found.items():
        assert at_chance(each["control"]), name
        assert each["memorised"]["auc"]["value"] >= 0.9, name
        assert each["main"]["num_members"] == each["main"]["num_non_members"] == 60


def test_a_student_of_a_release_that_knows_no_member_is_at_chance(attacked):
    *_, found = attacked
    for name in ("loss threshold", "likelihood ratio"):
        each = found["student of artificial data", name]
        assert at_chance(each["main"]) and each["published"]
        assert not found["student of real data", name]["published"]


def test_a_student_of_three_noisy_steps_is_at_chance_and_says_what_it_cost(attacked):
    *_, found = attacked
    each = found["student of DP-SGD", "loss threshold"]
    assert each["main"]["auc"]["value"] == pytest.approx(0.5, abs=0.21)  # its noise has no seed
    assert each["epsilon"] == 2.5 and not each["published"]
    assert "epsilon" not in found["student of real data", "loss threshold"]
    assert 0 <= each["accuracy"] <= 0.7


def records_of(images, labels):
    return {(image.tobytes(), int(label)) for image, label in zip(images, labels)}


def test_the_student_and_its_control_see_what_they_should(attacked):
    _, candidates, trained, _ = attacked
    by_seed = {}
    for images, labels, seed in trained:
        by_seed.setdefault(seed, []).append(records_of(images, labels))
    assert records_of(*candidates.train) in by_seed[0]
    assert records_of(*(each[:60] for each in lots(70, 5))) in by_seed[0]  # as many as are real
    assert by_seed[1] == [records_of(*candidates.unseen)]
    (memorised,) = by_seed[2]
    assert {image for image, _ in memorised} == {i.tobytes() for i in candidates.members[0]}
    assert memorised != records_of(*candidates.members)  # their labels are drawn by lot


def test_each_record_is_in_exactly_half_of_the_shadow_models(attacked):
    _, candidates, trained, _ = attacked
    shadows = [each for each in trained if 1000 <= each[2] < 2000]
    assert len(shadows) == 8
    counts = {}
    for images, labels, _ in shadows:
        assert 60 < len(labels) < 120  # 180 by fair halves: six standard deviations about 90
        for record in records_of(images, labels):
            counts[record] = counts.get(record, 0) + 1
    assert counts.keys() == records_of(*candidates.pool) and set(counts.values()) == {4}


def test_the_attack_knows_which_shadow_model_saw_which_record(attacked, tmp_path, monkeypatch):
    """What the likelihood ratio is told of the shadow models is what they were trained on."""
    folder, candidates, trained, _ = attacked
    told, score = [], membership.likelihood_ratio_scores

    def watched(target, shadow, trained_on, online=True):
        told.append((trained_on, online))
        return score(target, shadow, trained_on, online)

    monkeypatch.setattr(membership, "likelihood_ratio_scores", watched)
    attacks_in(folder, ("real",), 8)[1].run()
    shadows = [each for each in trained if 1000 <= each[2] < 2000]
    images, labels = candidates.records
    seen = [records_of(images, labels) for images, labels, _ in shadows]
    truth = [
        [(image.tobytes(), int(label)) in each for image, label in zip(images, labels)]
        for each in seen
    ]
    on_candidates = [(matrix, online) for matrix, online in told if np.array_equal(matrix, truth)]
    assert len(on_candidates) >= 2 and all(online for _, online in on_candidates)


def test_results_are_stored_and_nothing_is_trained_twice(attacked, monkeypatch):
    folder, _, _, found = attacked

    def forbidden(*_, **__):
        raise AssertionError("a student was trained again")

    monkeypatch.setattr(students, "train_student", forbidden)
    monkeypatch.setattr(dp_students, "train_dp_student", forbidden)
    again = attacks_in(folder, ALL, 8)[1].run()
    assert json.dumps(again) == json.dumps(list(found.values()))
    with pytest.raises(AssertionError, match="trained again"):  # other candidates are other trials
        attacks_in(folder, ALL, 8, num_candidates=59)[1].run()


def test_without_shadow_models_there_is_the_loss_alone_and_rates_that_are_asked_for(tmp_path):
    _, attacks = attacks_in(tmp_path, ("real",), 0, steps=20, false_positive_rates=(0.1,))
    assert len(attacks.trials()) == 3
    (only,) = attacks.run()
    assert only["name"] == "loss threshold"
    for role in ("main", "control", "memorised"):
        (found,) = only[role]["true_positive_rates"]
        assert found["false_positive_rate"] == 0.1, role
    json.dumps(only, allow_nan=False)
    assert attacks.settings["kinds"] == ("real",) and attacks.settings["student"]["steps"] == 20


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"kinds": ("pate",)}, "--students must be one of real, artificial, dp_sgd, got 'pate'"),
        ({"shadow_models": 7}, "--shadow_models=7 must be 0, .*, or an even number from 8"),
        ({"shadow_models": 9}, "--shadow_models=9 must be 0, .*, or an even number from 8"),
        ({"shadow_models": -1}, "--shadow_models=-1 must be 0, .*, or an even number from 8"),
        (
            {"shadow_models": float("nan")},
            "--shadow_models=nan must be 0, .*, or an even number from 8",
        ),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StudentAttackConfig(**{"kinds": ("real",), **wrong})
    StudentAttackConfig(("real",), "mlp", 8)
