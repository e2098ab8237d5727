# SPDX-License-Identifier: Apache-2.0
"""Releases from the same records together: what statements add up, and what nobody may call a guarantee."""

from __future__ import annotations

import dataclasses
import math

import pytest
from dp_accounting import pld

from tfartgen import accounting, statement
from tfartgen.accounting import Stretch
from tfartgen.artificial import LabelPolicy
from tfartgen.statement import dataset_statement, privacy_statement, validate_statement

DELTA = 1e-5
EXACT = Stretch("poisson", 1.0, 4.0, 1.0, 1, 1, "mean embedding", 900, 2**31)
CRITIC = Stretch("poisson", 0.01, 1.5, 1.0, 15, 300, coordinates=356)
NOISED = LabelPolicy("noised", (0.75, 0.25), 6.0)
DATA_SET = {
    "name": "pets",
    "format": "npz",
    "num_examples": 6,
    "image_shape": (9, 13, 3),
    "class_names": ("cat", "dog"),
    "seed": 7,
}


def other(stretch, state="settled", version=2):
    steps = dataclasses.replace(stretch, coordinates=None, grid=None) if version == 1 else stretch
    return {"state": state, "version": version, "mechanism": [steps.as_json()]}


def stated(*releases, ran=EXACT, delta=DELTA, **more):
    earlier = {
        "counted_since": "a day",
        "releases": list(releases),
        "total_epsilon": None,
        "total_delta": None,
        "not_seen": ["other books"],
    }
    found = privacy_statement(
        [ran],
        delta,
        critic_steps=ran.steps if ran.stage == "critic" else 0,
        num_records=1500,
        earlier=earlier,
        **more,
    )
    assert validate_statement(found) == []
    return found


def joint(found):
    return found["earlier_releases"]["joint_epsilon"]


def test_promise_18_ledgers_compose_and_epsilons_do_not():
    """Against the exact curve of Gaussians: two of sigma s are one of s / sqrt(2)."""
    both = joint(stated(other(EXACT)))
    one = dataclasses.replace(EXACT, noise_multiplier=EXACT.noise_multiplier / math.sqrt(2))
    exact = pld.PLDAccountant().compose(one.event()).get_epsilon(DELTA)
    assert both == pytest.approx(exact, rel=1e-3)
    alone = accounting.epsilon([EXACT], DELTA)
    assert alone < both < 2 * alone


def test_promise_18_every_release_that_is_listed_counts():
    states = ("settled", "reserved", "lost", "public start")
    found = [joint(stated(*(other(EXACT, each) for each in states[:n]))) for n in range(5)]
    assert found[0] == pytest.approx(stated()["epsilon"])
    assert found == sorted(found) and len({*found}) == 5
    together = joint(stated(other(CRITIC), other(EXACT)))
    assert together == accounting.epsilon([EXACT, CRITIC, EXACT], DELTA)


@pytest.mark.parametrize(
    ("releases", "more"),
    [
        ((other(EXACT), other(dataclasses.replace(CRITIC, noise_multiplier=0.0))), {}),
        ((other(dataclasses.replace(CRITIC, noise_multiplier=0.02)),), {}),
        ((other(CRITIC, version=1),), {}),
        ((other(EXACT),), {"void_reasons": ["predictable noise"]}),
    ],
)
def test_promise_12_what_has_no_price_leaves_nothing_to_say_of_all_together(releases, more):
    found = stated(*releases, **more)
    assert joint(found) is None
    if not more:
        assert found["guarantee"] == "formal" and "there is no guarantee" in found["headline"]


def test_promise_12_a_release_of_version_1_has_no_joint_epsilon_itself():
    old = dataclasses.replace(CRITIC, coordinates=None)
    assert joint(stated(other(EXACT), ran=old, version=1)) is None
    assert joint(stated(ran=old, version=1)) is None


def test_promise_12_a_noised_histogram_counts_in_the_joint_epsilon_too():
    drawn = dataset_statement(stated(other(EXACT)), DATA_SET, NOISED)
    assert validate_statement(drawn) == []
    assert joint(drawn) == accounting.epsilon([EXACT, NOISED.stretch(), EXACT], DELTA)
    assert joint(drawn) > joint(stated(other(EXACT)))


def test_promise_12_the_joint_epsilon_is_computed_and_not_believed():
    """Whatever an earlier statement said of it: a data set's is priced again, at the statement's own delta."""
    model = stated(other(EXACT))
    model["earlier_releases"].update(joint_epsilon=0.01, joint_delta=0.5)
    drawn = dataset_statement(model, DATA_SET, LabelPolicy.uniform(2))
    assert joint(drawn) == joint(stated(other(EXACT)))
    assert drawn["earlier_releases"]["joint_delta"] == drawn["delta"] == DELTA


def test_promise_20_the_joint_epsilon_of_a_headline_is_rounded_upwards():
    for noise in (4.0, 4.1, 4.2, 4.3, 4.4):
        found = stated(other(dataclasses.replace(EXACT, noise_multiplier=noise)))
        told = statement.together(found)
        assert told in found["headline"]
        printed = float(told.split("epsilon = ")[1].split(" ")[0])
        assert joint(found) <= printed < 1.001 * joint(found)


def test_nothing_is_said_of_others_where_there_are_none():
    assert statement.together(stated()) == ""
    assert statement.together(privacy_statement([EXACT], DELTA, critic_steps=0)) == ""
