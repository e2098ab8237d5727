# SPDX-License-Identifier: Apache-2.0
"""The privacy statement: what it says of what ran, its schema, and its price with a class histogram."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math

import dp_accounting
import pytest
from dp_accounting import pld

from tfartgen import statement as statements
from tfartgen.accounting import Stretch
from tfartgen.artificial import LabelPolicy
from tfartgen.rounding import upwards
from tfartgen.statement import dataset_statement, privacy_statement, validate_statement

POISSON = Stretch("poisson", 0.01, 1.5, 1.0, 100, 300, coordinates=356)
SHUFFLED = Stretch("shuffle", 0.01, 20.0, 1.0, 100, 300, coordinates=356)
NOISELESS = dataclasses.replace(POISSON, noise_multiplier=0.0)
#: Priced, and of no use; and so small that the limit of its draws takes all of delta.
USELESS = Stretch("poisson", 1.0, 2.0, 1.0, 100, 300, coordinates=356)
SMALL = dataclasses.replace(POISSON, noise_multiplier=0.05)
EXACT = Stretch("poisson", 1.0, 20.0, 1.0, 1, 1, "mean embedding", 900, 2**31)
#: As version 0.1 wrote it.
OLD = dataclasses.replace(POISSON, coordinates=None)


def test_statement_says_what_ran():
    other = Stretch("poisson", 0.02, 2.0, 0.5, 200, 50, coordinates=356)
    statement = privacy_statement([POISSON, other], 1e-5, critic_steps=350, budget_epsilon=3.0)
    assert json.loads(json.dumps(statement, allow_nan=False)) == statement
    assert statement["guarantee"] == "formal"
    assert 0 < statement["epsilon"] < statement["epsilon_rdp"] < 3
    assert statement["headline"].startswith("Differentially private for one record")
    assert f"epsilon = {upwards(statement['epsilon'])} at delta = 1e-05" in statement["headline"]
    assert statement["version"] == 2 and statement["ideal_epsilon"] == statement["epsilon"]
    assert 0 < statement["taken_off_delta"] < 1e-12
    assert statement["critic_steps"] == 350
    assert [run["steps"] for run in statement["mechanism"]] == [300, 50]
    assert statement["mechanism"][1] == {
        "mechanism": "gaussian",
        "sampler": "poisson",
        "sampling_rate": 0.02,
        "noise_multiplier": 2.0,
        "clip_norm": 0.5,
        "batch_size": 200,
        "steps": 50,
        "stage": "critic",
        "coordinates": 356,
    }
    assert statement["accountant"]["name"] == "pld" and statement["accountant"]["version"]


@pytest.mark.parametrize("counted", [299, 301, 0])
def test_promise_12_unpriced_steps_get_no_statement(counted):
    with pytest.raises(ValueError, match=f"ledger has 300 critic steps .* counted {counted}"):
        privacy_statement([POISSON], 1e-5, critic_steps=counted)


def test_promise_12_void_run_gets_no_epsilon():
    statement = privacy_statement(
        [POISSON], 1e-5, critic_steps=300, void_reasons=["the noise was predictable"]
    )
    assert statement["headline"].startswith("VOID: the noise was predictable")
    assert statement["guarantee"] == "none"
    assert statement["epsilon"] is None and statement["epsilon_rdp"] is None
    assert statement["ideal_epsilon"] is None


def test_promise_12_a_large_epsilon_is_called_no_guarantee():
    statement = privacy_statement([USELESS], 1e-5, critic_steps=300)
    assert statement["guarantee"] == "none" and statement["epsilon"] > 50
    assert statement["headline"].startswith("No useful worst-case guarantee: epsilon = ")


def test_promise_12_small_noise_whose_draws_end_has_no_epsilon():
    statement = privacy_statement([SMALL], 1e-5, critic_steps=300)
    assert statement["guarantee"] == "none" and statement["accountant"]["name"] == "none"
    assert statement["epsilon"] is None and statement["epsilon_rdp"] is None
    assert all(row["epsilon"] is None for row in statement["epsilons"])
    assert statement["ideal_epsilon"] > 100 and statement["taken_off_delta"] == 1e-5
    assert statement["headline"].startswith("No formal privacy guarantee: noise was so small that")
    assert f"ideal noise would give {upwards(statement['ideal_epsilon'])}" in statement["headline"]
    assert "without noise" not in statement["headline"]


def test_promise_12_one_noiseless_stretch_voids_the_bound():
    noiseless = dataclasses.replace(NOISELESS, steps=5)
    for steps in (POISSON, SMALL):
        statement = privacy_statement([steps, noiseless], 1e-5, critic_steps=305)
        assert statement["epsilon"] is None and statement["epsilon_rdp"] is None
        assert statement["guarantee"] == "none" and statement["ideal_epsilon"] is None
        assert statement["headline"].startswith(
            "No formal privacy guarantee: some or all critic steps ran without noise"
        )


def test_promise_12_steps_without_coordinates_have_no_price_in_this_version():
    with pytest.raises(ValueError, match="without coordinates has no price") as error:
        privacy_statement([POISSON, OLD], 1e-5, critic_steps=600)
    assert "\n" not in str(error.value)


def test_statement_of_version_1_says_what_it_said():
    """Of ideal noise, under its own version and caveats; a data set from it is stated likewise."""
    stated = privacy_statement([OLD], 1e-5, critic_steps=300, version=1)
    assert stated["version"] == 1 and validate_statement(stated) == []
    assert not {"taken_off_delta", "ideal_epsilon"} & set(stated)
    assert stated["mechanism"] == [
        {k: v for k, v in POISSON.as_json().items() if k != "coordinates"}
    ]
    today = privacy_statement([POISSON], 1e-5, critic_steps=300)
    assert stated["epsilon"] == pytest.approx(today["epsilon"], rel=1e-6)
    assert stated["random_number_caveats"] != today["random_number_caveats"]
    drawn = dataset_statement(stated, DATA_SET, LabelPolicy.uniform(2))
    assert drawn["version"] == 1 and drawn["epsilon"] == stated["epsilon"]


def test_exact_noise_has_no_caveat_for_floating_point():
    of_critic, of_both, of_embedding = (
        privacy_statement(stretches, 1e-5, critic_steps=steps)["random_number_caveats"]
        for stretches, steps in (([POISSON], 300), ([EXACT, POISSON], 300), ([EXACT], 0))
    )
    assert of_both == [*of_embedding, *of_critic]
    assert "floating" in " ".join(of_critic) and "floating" not in " ".join(of_embedding)
    exact = privacy_statement([EXACT], 1e-5, critic_steps=0)
    assert exact["mechanism"] == [EXACT.as_json()] and validate_statement(exact) == []


def test_promise_12_shuffled_run_is_stated_in_its_own_relation():
    statement, poisson = (
        privacy_statement([stretch], 1e-5, critic_steps=300) for stretch in (SHUFFLED, POISSON)
    )
    assert statement["neighbouring_relation"] != poisson["neighbouring_relation"]
    assert statement["mechanism"][0]["sampler"] == "shuffle"


def test_promise_12_no_statement_over_budget():
    for stretch in (POISSON, USELESS, SMALL, NOISELESS):
        with pytest.raises(ValueError, match="exceeds the budget --epsilon=0.1"):
            privacy_statement([stretch], 1e-5, critic_steps=300, budget_epsilon=0.1)


def test_promise_8_choices_on_private_data_are_listed():
    statement = privacy_statement(
        [POISSON], 1e-5, critic_steps=300, selected_on_private_data=["learning rate"]
    )
    assert statement["selected_on_private_data"] == ["learning rate"]
    assert "not covered" in statement["headline"]


def test_delta_must_be_a_probability():
    with pytest.raises(ValueError, match="delta must be between 0 and 1"):
        privacy_statement([POISSON], math.nan, critic_steps=300)


DATA_SET = {
    "name": "pets",
    "format": "npz",
    "num_examples": 6,
    "image_shape": (9, 13, 3),
    "class_names": ("cat", "dog"),
    "seed": 7,
}


def test_statement_follows_the_schema_whatever_ran():
    for stretch in (POISSON, USELESS, SMALL, NOISELESS, SHUFFLED):
        for void in ((), ("a test",)):
            stated = privacy_statement([stretch], 1e-5, critic_steps=300, void_reasons=void)
            assert validate_statement(stated) == []
            drawn = dataset_statement(stated, DATA_SET, LabelPolicy.uniform(2))
            assert validate_statement({**drawn, "files": {"data.npz": "0" * 64}}) == []


def test_headline_comes_first():
    assert next(iter(privacy_statement([POISSON], 1e-5, critic_steps=300))) == "headline"


def test_epsilon_is_stated_at_three_deltas():
    stated = privacy_statement([POISSON], 1e-5, critic_steps=300)
    rows = stated["epsilons"]
    assert [row["delta"] for row in rows] == pytest.approx([1e-5, 1e-6, 1e-7])
    assert rows[0]["epsilon"] == stated["epsilon"] < rows[1]["epsilon"] < rows[2]["epsilon"]
    accountant = pld.PLDAccountant().compose(POISSON.event())
    for row in rows:
        assert row["epsilon"] == pytest.approx(accountant.get_epsilon(row["delta"]), rel=1e-3)
    assert 0 < stated["kl_bound"] < stated["epsilon"]


@functools.cache
def formal():
    """The statement of a run with a guarantee, priced once; nobody may change it."""
    return privacy_statement([POISSON], 1e-5, critic_steps=300)


@pytest.mark.parametrize(
    "change, where",
    [
        ({"epsilon": "small"}, "$.epsilon"),
        ({"epsilon": math.nan}, "$"),
        ({"epsilon": 25.0}, "$.epsilon"),
        ({"guarantee": "strong"}, "$.guarantee"),
        ({"void_reasons": ["a test"]}, "$.guarantee"),
        ({"headline": "Perfectly safe"}, "$.headline"),
        ({"mechanism": [{}]}, "$.mechanism[0]"),
        ({"files": {"/home/ada/data.npz": "0" * 64}}, "$.files"),
        ({"files": {"../data.npz": "0" * 64}}, "$.files"),
        ({"note": "more"}, "$"),
        ({"released": "data set"}, "$.data_set"),
        ({"epsilons": []}, "$.epsilons"),
        ({"taken_off_delta": -1e-9}, "$.taken_off_delta"),
        ({"ideal_epsilon": "small"}, "$.ideal_epsilon"),
        ({"version": 3}, "$.version"),
        ({"version": 1}, "$"),
        ({"mechanism": [OLD.as_json()]}, "$.mechanism[0]"),
        ({"mechanism": [{**POISSON.as_json(), "grid": 2**31}]}, "$.mechanism[0]"),
        (
            {"mechanism": [{**EXACT.as_json(), "sampling_rate": 0.5}]},
            "$.mechanism[0].sampling_rate",
        ),
    ],
)
def test_schema_refuses(change, where):
    stated = {**formal(), **change}
    assert where in [line.split(": ")[0] for line in validate_statement(stated)]


def test_promise_12_schema_wants_no_epsilon_of_noiseless_steps():
    stated = copy.deepcopy(privacy_statement([POISSON], 1e-5, critic_steps=300))
    stated["mechanism"][0]["noise_multiplier"] = 0
    assert "$.epsilon" in " ".join(validate_statement(stated))


def test_schema_names_what_is_missing_and_what_is_no_statement():
    stated = privacy_statement([POISSON], 1e-5, critic_steps=300)
    for name in ("kl_bound", "taken_off_delta", "ideal_epsilon"):
        rest = {key: value for key, value in stated.items() if key != name}
        said = validate_statement(rest)
        assert any(f"'{name}' is a required property" in line for line in said)
    assert validate_statement([]) and validate_statement(None)


def test_drawing_costs_nothing():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300, budget_epsilon=3.0)
    for policy in (LabelPolicy.uniform(2), LabelPolicy.declared([0.25, 0.75], ("cat", "dog"))):
        drawn = dataset_statement(model, DATA_SET, policy)
        figures = ("epsilon", "epsilons", "kl_bound", "guarantee", "headline", "budget_epsilon")
        figures += ("taken_off_delta", "ideal_epsilon", "random_number_caveats")
        assert {key: drawn[key] for key in figures} == {key: model[key] for key in figures}
        assert drawn["data_set"] == {
            **DATA_SET,
            "image_shape": [9, 13, 3],
            "class_names": ["cat", "dog"],
        }


def test_promise_9_noised_histogram_is_priced_with_the_steps():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300)
    drawn = dataset_statement(model, DATA_SET, LabelPolicy("noised", (0.5, 0.5), 4.0))
    both = dp_accounting.ComposedDpEvent([POISSON.event(), dp_accounting.GaussianDpEvent(4.0)])
    for row in drawn["epsilons"]:
        outside = pld.PLDAccountant().compose(both).get_epsilon(row["delta"])
        assert row["epsilon"] == pytest.approx(outside, rel=1e-3)
    assert drawn["kl_bound"] == pytest.approx(model["kl_bound"] + 1 / (2 * 4.0**2), rel=1e-3)
    assert drawn["epsilon"] > model["epsilon"] and "histogram included" in drawn["headline"]
    assert len(drawn["random_number_caveats"]) == len(model["random_number_caveats"]) + 1
    assert drawn["critic_steps"] == 300 and len(drawn["mechanism"]) == 1


def test_promise_9_a_histogram_with_little_noise_takes_the_guarantee_away():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300)
    drawn = dataset_statement(model, DATA_SET, LabelPolicy("noised", (0.5, 0.5), 0.05))
    assert model["guarantee"] == "formal" and drawn["guarantee"] == "none"
    assert drawn["headline"].startswith("No useful worst-case guarantee")


def test_promise_9_declared_histogram_is_listed_as_not_protected():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300)
    drawn = dataset_statement(model, DATA_SET, LabelPolicy.declared([0.9, 0.1], ("cat", "dog")))
    assert any("declared to be public" in line for line in drawn["not_protected"])
    assert drawn["label_policy"]["probabilities"] == [0.9, 0.1]


def test_promise_12_data_set_is_priced_from_the_mechanisms_not_from_figures():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300)
    drawn = dataset_statement({**model, "epsilon": 0.001}, DATA_SET, LabelPolicy.uniform(2))
    assert drawn["epsilon"] == model["epsilon"]
    assert statements.repriced(drawn)["epsilons"] == model["epsilons"]


def test_void_stays_void():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300, void_reasons=["a test"])
    drawn = dataset_statement(model, DATA_SET, LabelPolicy("noised", (0.5, 0.5), 4.0))
    assert drawn["headline"].startswith("VOID: a test") and drawn["epsilon"] is None
    assert all(row["epsilon"] is None for row in drawn["epsilons"]) and drawn["kl_bound"] is None


def test_statement_of_another_kind_cannot_be_built_on():
    model = privacy_statement([POISSON], 1e-5, critic_steps=300)
    drawn = dataset_statement(model, DATA_SET, LabelPolicy.uniform(2))
    for broken in ({"version": 1, "headline": "a test"}, drawn):
        with pytest.raises(
            ValueError, match="privacy.json cannot be built on .*export the model again"
        ):
            dataset_statement(broken, DATA_SET, LabelPolicy.uniform(2))


@pytest.mark.parametrize(
    "text",
    [
        "/home/ada",
        '"/etc/x"',
        "in ~/runs",
        r"C:\Users",
        "file:///x",
        "a:/srv",
        "(/data)",
        "`/tmp/x`",
        r"\\host\c",
    ],
)
def test_absolute_path_is_seen(text):
    assert statements.ABSOLUTE_PATH.search(text)
    assert statements.ABSOLUTE_PATH.search(json.dumps({"a": text}))


@pytest.mark.parametrize(
    "text", ["and/or", "https://arxiv.org/abs/1", "1 / 2", "a/b/c.png", "</p>", "n/a"]
)
def test_what_is_no_absolute_path_is_not(text):
    assert not statements.ABSOLUTE_PATH.search(text)
