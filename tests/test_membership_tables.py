# SPDX-License-Identifier: Apache-2.0
"""What a person reads of attacks and audits: made-up documents, whose sentences are known."""

from __future__ import annotations

import numpy as np
import pytest

from tfartgen import audit as lower_bounds
from tfartgen import membership, membership_tables
from tfartgen.rounding import downwards

LONG = "a_data_set_with_a_name_that_nobody_would_type_" * 3


def result(mean, rates=(0.01, 0.001), count=1000):
    rng = np.random.default_rng(round(abs(10 * mean)))
    return membership.success(rng.normal(mean, 1, count), rng.normal(0, 1, count), rates)


def attack(main=0.0, control=0.0, memorised=9.0, rates=(0.01, 0.001), **changes):
    return {
        "target": "student of artificial data",
        "name": "likelihood ratio",
        "published": True,
        "main": result(main, rates),
        "control": result(control, rates),
        "memorised": result(memorised, rates),
        **changes,
    }


def document(*attacks, rates=(0.01, 0.001), name="toy"):
    sizes = {"num_train": 60000, "num_members": 1000, "num_non_members": 1000}
    return {
        "settings": {"false_positive_rates": list(rates)},
        "dataset": {"name": name, **sizes, "num_references": 123456},
        "attacks": list(attacks),
    }


def sentences(text):
    """Sentences with a bullet, each on a line."""
    return [" ".join(each.split()) for each in text.split("\n* ")[1:]]


def test_the_table_has_a_row_for_each_role():
    content = document(attack(main=9.0), attack(name="loss threshold"))
    table = membership_tables.table(content)
    assert table.header == ("attack", "AUC", "accuracy %", "at 1% FPR", "at 0.1% FPR")
    names = [row[0] for row in table.rows]
    assert names[0] == "student of artificial data: likelihood ratio"
    assert names[3] == "student of artificial data: loss threshold" and len(names) == 6
    assert [name.split()[0] for name in names[1:3]] == ["control,", "memorised"]
    assert table.rows[0][1:] == ("1.000 (0.998-1.000)", "100.0", "100.0", "100.0")
    auc = content["attacks"][0]["control"]["auc"]
    assert table.rows[1][1] == f"{auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})"


def test_a_rate_that_a_target_cannot_show_is_a_dash():
    only_one = {**attack(), "memorised": result(9.0, (0.01,))}
    rows = membership_tables.table(document(only_one)).rows
    assert rows[2][3:] == ("100.0", "-") and "-" not in rows[0][3:]


@pytest.mark.parametrize(
    "rates", [(), (0.01, 0.001), (0.1, 0.05, 0.02, 0.01, 0.005, 0.0025, 0.00125)]
)
def test_text_is_80_columns_wide_whatever_the_names_and_rates(rates):
    attacks = [attack(rates=rates), attack(rates=rates, target="critic (not released)")]
    text = membership_tables.text(document(*attacks, rates=rates, name=LONG))
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("Membership in the 60,000 training records of") and "123,456" in text
    shown = text.split("\n\n", 1)[1]
    for rate in rates:
        assert shown.count(f"at {100 * rate:g}% FPR") == 1


def test_the_figures_are_under_the_name_of_their_attack():
    text = membership_tables.text(document(attack(main=1.0), attack(3.0, name="other")))
    lines = text.splitlines()
    for each, name in (("likelihood ratio", 1.0), ("other", 3.0)):
        place = lines.index(f"student of artificial data: {each}")
        assert lines[place + 1].startswith("  attack ")
        assert f" {result(name)['auc']['value']:.3f} (" in lines[place + 1]
        assert lines[place + 2].startswith("  control") and "(" in lines[place + 2]
        assert lines[place + 3].startswith("  memorised") and " 1.000 (" in lines[place + 3]


def verdict(**roles):
    return sentences(membership_tables.text(document(attack(**roles))))[1]


def test_an_attack_that_finds_members_or_could_have():
    start = "Student of artificial data, likelihood ratio: "
    assert verdict(main=3.0) == (
        f"{start}finds members; it could have succeeded (1.00 in what memorised)."
    )
    assert verdict(main=0.0) == (
        f"{start}is at chance; it could have succeeded (1.00 in what memorised)."
    )


def with_auc(role, value, low, high, **others):
    """A verdict where one AUC and its interval are given."""
    auc = {"value": value, "low": low, "high": high}
    given = attack(**others)
    content = document({**given, role: {**given[role], "auc": auc}})
    return sentences(membership_tables.text(content))[1]


def test_promise_14_an_attack_that_cannot_succeed_proves_little():
    found = verdict(main=0.0, memorised=1.0)
    auc = result(1.0)["auc"]
    assert auc["value"] < 0.9
    assert found.endswith(
        f"finds only {auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f}) in what memorised, so it "
        "proves little."
    )
    assert "could have succeeded" not in found
    assert "it could have succeeded (0.90 in" in with_auc("memorised", 0.9, 0.8, 0.95)
    assert "so it proves little" in with_auc("memorised", 0.89, 0.8, 0.95)


def test_promise_14_success_on_few_that_may_be_luck_is_none():
    lucky = membership.success(np.array([3.0, 2.0]), np.array([1.0, 0.0]), ())["auc"]
    assert lucky["value"] == 1 and lucky["low"] < 0.5
    assert "so it proves little" in with_auc("memorised", **lucky)


def test_promise_14_members_are_found_where_intervals_say_so_and_not_by_the_value_alone():
    chance = {"value": 0.5, "low": 0.45, "high": 0.55}
    found = "likelihood ratio: finds members; it could"
    assert found in with_auc("main", 0.6, 0.55, 0.65)
    assert "is at chance; it could" in with_auc("main", 0.6, 0.49, 0.7)
    assert "is at chance; it could" in with_auc("main", 0.4, 0.3, 0.51)
    assert "is below chance; it could" in with_auc("main", 0.4, 0.3, 0.49)

    def beside(control):
        given = attack()
        for role, auc in (
            ("main", {"value": 0.6, "low": 0.55, "high": 0.65}),
            ("control", control),
        ):
            given[role] = {**given[role], "auc": auc}
        return sentences(membership_tables.text(document(given)))[1]

    assert found in beside(chance)
    assert "finds no more than in the control; it could" in beside({**chance, "high": 0.65})
    assert "finds no more than in the control (mem" in beside(
        {"value": 0.58, "low": 0.53, "high": 0.62}
    )


@pytest.mark.parametrize("role", ["main", "control", "memorised"])
def test_promise_14_every_attack_shows_its_control_and_what_memorised_with_intervals(role):
    attacks = attack(0.5, 0.2, 2.0), attack(1.0, 0.1, 3.0, target="release", name="nearest")
    text = membership_tables.text(document(*attacks))
    place = ("main", "control", "memorised").index(role)
    lines = [line for line in text.splitlines() if "(" in line and line.startswith("  ")]
    for each, line in zip(attacks, lines[place::3]):
        auc = each[role]["auc"]
        assert f" {auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})" in line
        assert line.split()[0].startswith({"main": "attack"}.get(role, role))
    assert "AUC with its 95% interval (0.5 is chance)" in sentences(text)[0]
    assert "The control never saw the candidates; another target was made to" in sentences(text)[0]
    with pytest.raises(KeyError, match=role):
        membership_tables.text(document({k: v for k, v in attacks[0].items() if k != role}))


def test_members_are_found_where_there_is_more_than_in_the_control():
    control = result(1.0)["auc"]["value"]
    about = f" (members and non-members differ by themselves: control {control:.3f}); it could"
    assert f"finds members{about}" in verdict(main=2.0, control=1.0)
    assert f"finds no more than in the control{about}" in verdict(main=1.0, control=1.0)
    assert f"is at chance{about}" in verdict(main=0.0, control=1.0)
    assert "differ by themselves" in verdict(main=0.0, control=-1.0)


def test_names_keep_their_capitals():
    text = membership_tables.text(document(attack(target="student of DP-SGD")))
    assert sentences(text)[1].startswith("Student of DP-SGD, likelihood ratio: ")


def test_what_is_not_released_is_said_to_be_so():
    about = "no part of a release"
    released = membership_tables.text(document(attack()))
    other = membership_tables.text(document(attack(), attack(published=False)))
    assert about not in " ".join(released.split()) and about in " ".join(other.split())


def audit(**changes):
    score = {"guesses": 40, "correct": 33, "auc": 0.8125, "lower_bound": 0.75}
    return {
        "dataset": {"name": LONG, "num_train": 1438},
        "candidates": 200,
        "included": 97,
        "confidence": 0.95,
        "scores": {"critic": score, "release": {**score, "auc": None, "lower_bound": 0.25}},
        "lower_bound": 0.75,
        "accountant": {"epsilon": 1234.5, "delta": 1e-5},
        "consistent": True,
        **changes,
    }


def test_an_audit_whose_bounds_nest_says_so():
    text = membership_tables.audit_text(audit())
    assert max(map(len, text.splitlines())) <= 80
    assert "200 canaries, 97 of them planted by coins" in " ".join(text.split())
    rows = [line.split() for line in text.splitlines() if line.startswith("guessed from")]
    assert rows[0] == "guessed from the critic 33 of 40 0.812 0.75".split()
    assert rows[1] == "guessed from the noised mean embedding 33 of 40 - 0.25".split()
    bound, nesting = sentences(text)
    assert bound == (
        "epsilon is at least 0.75 with 95% confidence (Steinke et al. 2023), and the accountant says at most 1,235 at "
        "delta 1e-05."
    )
    assert nesting.startswith("The bounds nest. The most that this audit could have shown is ")
    assert ". A low lower bound proves nothing by itself: hold it against the same" in nesting
    assert "BUG" not in text.upper()


def test_promise_14_an_audit_says_what_it_could_have_shown():
    """By one score of two, each at half of the error: all of its guesses right."""
    most = lower_bounds.epsilon_lower_bound(40, 40, 200, 1e-5, 0.975)
    _, nesting = sentences(membership_tables.audit_text(audit()))
    assert (
        f"most that this audit could have shown is {downwards(most)}, by right guesses" in nesting
    )
    one = audit(scores={"critic": audit()["scores"]["critic"]})
    alone = lower_bounds.epsilon_lower_bound(40, 40, 200, 1e-5, 0.95)
    assert f"shown is {downwards(alone)}, by" in sentences(membership_tables.audit_text(one))[1]
    assert downwards(most) != downwards(alone)


def test_an_audit_of_a_training_without_noise_has_no_upper_bound():
    text = membership_tables.audit_text(audit(accountant={"epsilon": None, "delta": 1e-5}))
    assert "the accountant has no upper bound for it" in " ".join(text.split())


def test_an_audit_that_contradicts_the_accountant_shouts():
    wrong = audit(accountant={"epsilon": 0.5, "delta": 1e-5}, consistent=False)
    text = membership_tables.audit_text(wrong)
    assert max(map(len, text.splitlines())) <= 80
    nesting = sentences(text)[1]
    assert nesting.startswith("THE LOWER BOUND IS ABOVE THE ACCOUNTANT'S EPSILON: the training")
    assert "Do not publish" in nesting and "report this as a bug" in nesting
    assert "The bounds nest" not in text
