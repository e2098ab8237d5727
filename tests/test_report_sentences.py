# SPDX-License-Identifier: Apache-2.0
"""Every sentence of a report is true of its statement, and none is better than its interval: a table of cases."""

from __future__ import annotations

import copy
import dataclasses
import functools
import html
import json
import re

import pytest
import report_samples

from tfartgen import report, report_evidence, report_standing, report_summary, rounding
from tfartgen.accounting import Stretch
from tfartgen.artificial import LabelPolicy
from tfartgen.report_documents import Found
from tfartgen.report_page import render
from tfartgen.statement import dataset_statement, privacy_statement

N = 1500
EXACT = Stretch("poisson", 1.0, 4.0, 1.0, 1, 1, "mean embedding", 900, 2**31)
CRITIC = Stretch("poisson", 0.01, 4.0, 1.0, 15, 30, coordinates=356)
NOISELESS = dataclasses.replace(CRITIC, noise_multiplier=0.0)
SMALL = dataclasses.replace(CRITIC, noise_multiplier=0.05)
USELESS = dataclasses.replace(CRITIC, sampling_rate=1.0, noise_multiplier=2.0, steps=300)
OLD = dataclasses.replace(CRITIC, coordinates=None)
UNIFORM = LabelPolicy.uniform(2)
NOISED = LabelPolicy("noised", (0.75, 0.25), 2.0)
SINCE, NOT_SEEN = "2026-11-28T09:00:00+00:00", "what nobody entered"


def other(state="settled", stretch=EXACT, version=2):
    """Another release, as a statement lists it."""
    steps = dataclasses.replace(stretch, coordinates=None, grid=None) if version == 1 else stretch
    return {"state": state, "version": version, "mechanism": [steps.as_json()]}


def counted(*releases, total=None, total_delta=1e-5):
    """What a budget book says."""
    return {
        "counted_since": SINCE,
        "releases": list(releases),
        "total_epsilon": total,
        "total_delta": None if total is None else total_delta,
        "not_seen": [NOT_SEEN],
    }


def stated(*stretches, delta=1e-5, n=N, labels=UNIFORM, **more):
    """The statement of a data set whose training ran these."""
    steps = sum(each.steps for each in stretches if each.stage == "critic")
    model = privacy_statement(stretches, delta, critic_steps=steps, num_records=n, **more)
    return dataset_statement(model, report_samples.DATA_SET, labels)


def page(statement, documents=None):
    """The public page's text, of a release of four images with this statement."""
    made = report.Report(report_samples.stating(statement), documents or {}, None)
    text = re.sub(r"<style>.*?</style>", " ", render(made.public_page(), "made"), flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)))


CASES = {
    "formal": lambda: stated(EXACT),
    "formal, by a critic": lambda: stated(CRITIC, budget_epsilon=3.0),
    "formal, shuffled": lambda: stated(dataclasses.replace(CRITIC, sampler="shuffle", steps=100)),
    "formal, delta warned of": lambda: stated(EXACT, delta=2e-4),
    "formal, choices": lambda: stated(EXACT, selected_on_private_data=["the width"]),
    "formal, counted alone": lambda: stated(EXACT, earlier=counted()),
    "formal, others": lambda: stated(
        EXACT, earlier=counted(other(), other("reserved", CRITIC), other("lost"), total=5.0)
    ),
    "formal, a public start": lambda: stated(EXACT, earlier=counted(other("public start"))),
    "formal, others without use": lambda: stated(EXACT, earlier=counted(other(stretch=USELESS))),
    "formal, others unbounded": lambda: stated(EXACT, earlier=counted(other(stretch=NOISELESS))),
    "formal, others of 0.1": lambda: stated(EXACT, earlier=counted(other("settled", OLD, 1))),
    "formal, above the ceiling": lambda: stated(EXACT, earlier=counted(other(), total=1.0)),
    "formal, histogram within": lambda: stated(EXACT, labels=NOISED, budget_epsilon=5.0),
    # As an older version stated it; today's names no budget then.
    "formal, histogram beyond": lambda: {**stated(EXACT, labels=NOISED), "budget_epsilon": 1.0},
    "formal, histogram and ceiling": lambda: stated(
        EXACT, labels=NOISED, earlier=counted(other(), total=5.0)
    ),
    "formal, before n was stated": lambda: stated(EXACT, n=None, budget_epsilon=1.0),
    "useless": lambda: stated(USELESS),
    "useless, counted": lambda: stated(USELESS, earlier=counted(other())),
    "noiseless": lambda: stated(NOISELESS),
    "noiseless in part": lambda: stated(CRITIC, dataclasses.replace(NOISELESS, steps=5)),
    "noiseless, counted": lambda: stated(NOISELESS, earlier=counted(other())),
    "noiseless, histogram": lambda: stated(NOISELESS, labels=NOISED),
    "limited": lambda: stated(SMALL),
    "void": lambda: stated(EXACT, void_reasons=["predictable noise"], budget_epsilon=1.0),
    "void, counted": lambda: stated(
        EXACT, void_reasons=["predictable noise"], earlier=counted(other(), total=5.0)
    ),
    "delta above 1 / n": lambda: stated(EXACT, delta=1e-3, earlier=counted(other())),
    "0.1, formal": lambda: stated(OLD, n=None, version=1, budget_epsilon=3.0),
    "0.1, useless": lambda: stated(
        dataclasses.replace(USELESS, coordinates=None), n=None, version=1
    ),
    "0.1, noiseless": lambda: stated(
        dataclasses.replace(NOISELESS, coordinates=None), n=None, version=1
    ),
}


@functools.cache
def case(name):
    """A statement, priced once; nobody may change it."""
    return CASES[name]()


@functools.cache
def text(name):
    return page(case(name))


_NOISE = "Noise was added and every step was counted"
_ADDED = "the release changes these odds by a factor of at most e^"
_NOBODY = "Nobody counted what else was released from these records"
_PRESUMES = "It presumes that what a run was to spend was not chosen by looking"

#: For each case what its page says, and what it must not say.
SAID = {
    "formal": (
        [
            "Guarantee: epsilon = 0.9264 at delta = 1e-05 for one record",
            _ADDED,
            _NOBODY,
            "Unit one record",
            "add or remove one record, n being public and fixed (zero-out)",
            "Number n of them in training 1,500, which is public, and the same in neighbouring data sets",
            "Held out from training not read by it, and not covered",
            "Delta beside 1 / n 0.016 of it, well below",
            "Budget none is stated",
            "Bound on the expected loss (KL) 0.0313 nats The same",
            "It does not speak of records that were held out from training",
        ],
        [
            "Warning",
            "Together with",
            "budget book",
            "The statement is void",
            "and choices",
            "all of this page",
        ],
    ),
    "formal, by a critic": (
        [
            "Budget epsilon = 3, which training could not exceed",
            "nats, of noise without an end; a critic's draws end, which is left to delta",
            "sampling rate noise multiplier clip norm steps coordinates critic gaussian poisson 0.01 4 1 30 356",
        ],
        ["Epsilon is above the budget"],
    ),
    "formal, delta warned of": (
        [
            "but for that delta. Warning: delta = 0.0002 is above 1 / (10 n) for 1,500 records",
            "epsilon = 0.7225 at delta = 0.0002. Warning: delta = 0.0002 is above 1 / (10 n)",
            "Delta beside 1 / n 0.3 of it, where it should be well below",
            _ADDED,
        ],
        ["of it, well below"],
    ),
    "formal, choices": (
        [
            "Choices that were made by looking at the private data are not covered.",
            "through the mechanisms and choices that are listed under the guarantee",
            "Chosen by looking at the private data, which no epsilon covers: the width",
        ],
        [],
    ),
    "formal, counted alone": (
        [
            f"Other releases: none from these records in the owner's budget book, since {SINCE} and up to this training.",
            f"What the budget book cannot see: {NOT_SEEN}.",
            f"Counted by the owner's budget book, since {SINCE} and up to this training Beside this one none",
            "Ceiling none was fixed for all releases together",
            "The owner's budget book counts no other from these records",
        ],
        [_NOBODY, "Together with", _PRESUMES],
    ),
    "formal, others": (
        [
            "Other releases: 3 (1 spent; 1 reserved by a run that goes on or died; 1 spent before a folder went back to an older "
            "state). Together with this one: epsilon = 1.7 at delta = 1e-05.",
            "Together with what the owner's budget book counts: epsilon = 1.7 at delta = 1e-05.",
            "Ceiling epsilon = 5 at delta = 1e-05 for all releases together The figure",
            _PRESUMES,
            "1 what another run has spent mean embedding discrete gaussian poisson 1 4 1 1 900 2,147,483,648",
            "2 what another run, which goes on or died, may have spent critic gaussian poisson 0.01 4 1 30 356",
            "3 what a run spent before its folder went back to an older state mean embedding",
            f"What the budget book cannot see: {NOT_SEEN}",
        ],
        [_NOBODY, "no guarantee holds jointly", "exceeds"],
    ),
    "formal, a public start": (
        [
            "1 what the model that a training started from has spent, on records that may be among these"
        ],
        [],
    ),
    "formal, others without use": (
        ["Together with this one: epsilon = 77.42 at delta = 1e-05, which is no guarantee of use."],
        ["no guarantee holds jointly"],
    ),
    "formal, others unbounded": (
        ["Together with this one: no guarantee holds jointly, since epsilon is unbounded."],
        [_PRESUMES],
    ),
    "formal, others of 0.1": (
        [
            "no guarantee holds jointly, since the noise of tfartgen 0.1, which one of them had, has no proven price.",
            "1 what another run has spent; of tfartgen 0.1, without a proven price",
        ],
        [_PRESUMES],
    ),
    "formal, above the ceiling": (
        [
            "Ceiling epsilon = 1 at delta = 1e-05 for all releases together, which this release exceeds"
        ],
        [],
    ),
    "formal, histogram within": (
        [
            "Budget epsilon = 5, which training could not exceed",
            "released with noise, whose cost is in epsilon",
            "class histogram discrete gaussian poisson 1 2 1 1 2 2,147,483,648",
        ],
        ["Epsilon is above the budget"],
    ),
    "formal, histogram beyond": (
        [
            "Budget: epsilon is above the budget of 1: 2.259. The budget was of training alone; the noised class histogram",
            "Budget epsilon = 1, which this release exceeds",
            "Epsilon is above the budget of 1: 2.259.",
        ],
        ["could not exceed"],
    ),
    "formal, histogram and ceiling": (
        ["epsilon = 5 at delta = 1e-05 for all releases together"],
        ["exceeds"],
    ),
    "formal, before n was stated": (
        [
            "Number n of them in training not stated; it is public all the same",
            "n is not stated, so whoever knows it has to compare",
            _NOBODY,
        ],
        ["of it, well below"],
    ),
    "useless": (
        [
            "Guarantee: none of use. What the training spent was counted: epsilon = 73.63",
            f"There is no guarantee of use. {_NOISE}",
            "In the worst case, one who knows all other records",
        ],
        ["ran without noise", "unbounded"],
    ),
    "useless, counted": (
        ["Together with this one: epsilon = 7", "which is no guarantee of use"],
        [],
    ),
    "noiseless": (
        [
            "Guarantee: none. All of the 30 steps that read private records ran without noise, so epsilon is unbounded.",
            "nothing bounds what such steps tell",
            "Epsilon none: unbounded at delta = 1e-05",
        ],
        ["too much to exclude", "was counted"],
    ),
    "noiseless in part": (
        ["5 of the 35 steps that read private records ran without noise"],
        ["All of the", "was counted"],
    ),
    "noiseless, counted": (["no guarantee holds jointly, since epsilon is unbounded"], []),
    "noiseless, histogram": (
        [
            "All of the 30 steps",
            "as frequent as in a histogram that was released with noise Format",
        ],
        ["cost is in epsilon"],
    ),
    "limited": (
        [
            "Guarantee: none. Noise was so small beside the end of its draws that epsilon is unbounded.",
            f"There is no guarantee. {_NOISE}, but the noise was so small",
            "If noise had no end epsilon = 929.2; it had one",
        ],
        ["ran without noise", "too much to exclude", "Bound on the expected loss"],
    ),
    "void": (
        [
            "Guarantee: none. The statement is void: predictable noise.",
            "The mechanisms are listed as they ran, and have no price.",
            "Epsilon none, since the statement is void",
            "Budget epsilon = 1 was asked for; a statement that is void keeps none",
        ],
        ["was counted", "could not exceed", "price them again", "Bound on the expected loss"],
    ),
    "void, counted": (
        ["no guarantee holds jointly, since this one is void", "was asked for, and is not kept"],
        [_PRESUMES],
    ),
    "delta above 1 / n": (
        [
            "Guarantee: none at the delta that was chosen. delta = 0.001 is not below 1 / n for 1,500 records",
            f"There is no guarantee at the delta that was chosen. {_NOISE}",
            "0.001, a delta at which nothing is guaranteed",
            "Delta beside 1 / n 1.5 of it, where it should be well below",
            "a delta well below 1 / n, as it is by default; bin/train",
        ],
        [
            "Differentially private for",
            "too much to exclude",
            "may find it in the release",
            "of it, well below",
        ],
    ),
    "0.1, formal": (
        [
            "This statement was made by tfartgen 0.1.",
            "tfartgen 0.1 stated, which is not proven: Differentially private for",
            "Guarantee: not proven. tfartgen 0.1 stated epsilon = 0.04225",
            "There is no guarantee that is proven.",
            "as tfartgen 0.1 stated it; not proven",
            "kept by the accounting of tfartgen 0.1; not proven",
        ],
        ["could not exceed", "was counted", "Bound on the expected loss", "at most, of 100"],
    ),
    "0.1, useless": (["tfartgen 0.1 stated epsilon = 73.63"], ["was counted"]),
    "0.1, noiseless": (
        ["Guarantee: none, and tfartgen 0.1 stated none.", "tfartgen 0.1 stated: No formal"],
        ["was counted"],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_promise_20_a_page_says_what_is_true_of_its_statement_and_nothing_else(name):
    said, unsaid = SAID[name]
    for sentence in said:
        assert sentence in text(name)
    for sentence in unsaid:
        assert sentence not in text(name)


@pytest.mark.parametrize("name", CASES)
def test_promise_20_sentences_on_noise_and_odds_go_with_the_statement(name):
    """Whatever else is said: noise and odds are spoken of where there is noise, and a guarantee."""
    statement, told = case(name), text(name)
    standing = report_standing.standing(statement)
    limited, large, useless = (
        report_standing.LIMITED,
        report_standing.LARGE_DELTA,
        report_standing.USELESS,
    )
    assert (_NOISE in told) == (standing in (limited, large, useless))
    assert ("Noise was added" in told) == (_NOISE in told)
    assert (_ADDED in told) == (standing == report_standing.FORMAL)
    assert ("The worst case. Attacks" in told) == (standing != report_standing.FORMAL)
    assert ("Guarantee: epsilon" in told) == (standing == report_standing.FORMAL)
    assert (_NOBODY in told) == ("earlier_releases" not in statement)
    budget, epsilon = statement["budget_epsilon"], statement["epsilon"]
    kept = budget is not None and epsilon is not None and epsilon <= budget
    proven = standing != report_standing.BEFORE
    assert ("which training could not exceed" in told) == (kept and proven)


@pytest.mark.parametrize("name", CASES)
def test_promise_20_no_epsilon_or_delta_of_a_page_is_below_the_exact_one(name):
    """Every figure that is printed is one of the statement's, and at least as large."""
    statement, told = case(name), text(name)
    earlier = statement.get("earlier_releases", {})
    exact = {
        *(row[key] for row in statement["epsilons"] for key in ("epsilon", "epsilon_rdp")),
        *(statement.get(key) for key in ("ideal_epsilon", "budget_epsilon")),
        *(earlier.get(key) for key in ("joint_epsilon", "total_epsilon")),
    } - {None}
    printed = re.findall(r"(?:[eE]psilon =|Epsilon|budget of|would give) (\d[\d.,e+-]*\d|\d)", told)
    for figure in printed:
        value = float(figure.replace(",", ""))
        assert any(one <= value <= one * 1.002 for one in exact), figure
    if statement["epsilon"] is not None:
        assert printed
    deltas = {*(row["delta"] for row in statement["epsilons"]), earlier.get("total_delta")}
    for figure in re.findall(r"delta = ([\d.e-]*\d)", told):
        assert float(figure) in deltas


def test_promise_20_numbers_that_somebody_gave_are_never_told_smaller():
    assert [rounding.given(value) for value in (1e-5, 3.0, 0.1, 1e-6, 2.5e-6)] == [
        "1e-05",
        "3",
        "0.1",
        "1e-06",
        "2.5e-06",
    ]
    for value in (1.2345678e-6, 2.9999999999, 1 / 3, 7.0000001):
        assert value <= float(rounding.given(value)) <= value * (1 + 1e-5)


def test_promise_20_noise_is_told_smaller_and_rates_larger_never_better():
    odd = dataclasses.replace(CRITIC, noise_multiplier=4.00049, sampling_rate=0.0100004)
    told = page(stated(odd))
    assert "critic gaussian poisson 0.01001 4 1 30 356" in told
    told = page(stated(dataclasses.replace(CRITIC, noise_multiplier=3.99999)))
    assert "critic gaussian poisson 0.01 3.999 1 30 356" in told


def document(kind):
    """A committed one."""
    path = report_samples.RESULTS / "digits" / f"{kind}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def with_document(name, kind, content):
    return page(case(name), {kind: Found(kind, report_samples.RESULTS / f"{kind}.json", content)})


RATIOS = {
    "more": ((1.16, 1.94), "lose more than", ["lose less", "may lose more or less"]),
    "less": ((0.5, 0.9), "lose less than", ["lose more than", "may lose more or less"]),
    "either": (
        (0.96, 1.69),
        "may lose more or less than",
        ["lose more than records", "lose less than"],
    ),
    "from one": ((1.0, 1.5), "may lose more or less than", ["lose more than records"]),
    "to one": ((0.7, 1.0), "may lose more or less than", ["lose less than"]),
    "open": ((0.5, 1e6), "may lose more or less than", ["lose more than records"]),
    "far": ((2.0, 1e6), "lose more than", ["may lose more or less"]),
}


@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("ratio", [0.8, 1.02, 1.3])
def test_promise_20_members_beside_controls_are_told_by_their_interval(name, ratio):
    (low, high), said, unsaid = RATIOS[name]
    content = {"members_to_controls": ratio, "members_to_controls_interval": [low, high]}
    (told,) = report_summary.known("privacy_estimate", content)
    assert said in told and not any(each in told for each in unsaid)
    assert "no more than" not in told and "no less than" not in told
    sentence = report_evidence._members_and_controls(content)
    cannot = f"cannot tell: it may be {report_evidence.ratio_interval(low, high)} times as much"
    assert (cannot in sentence) == (low <= 1 <= high)
    assert ("Training records lose more than" in sentence) == (low > 1)
    assert ("Training records lose less than" in sentence) == (high < 1)
    assert "no more than" not in sentence and "mostly the population" not in sentence


def test_promise_20_an_interval_is_rounded_to_both_sides():
    assert report_evidence.ratio_interval(0.96789, 1.69123) == "0.967 to 1.7"
    assert report_evidence.ratio_interval(0.9999, 1.0001) == "0.999 to 1.01"
    assert report_evidence.ratio_interval(0.5, 1e6) == "0.5 or more"
    assert report_evidence.ratio_interval(1e6, 1e6).endswith("or more")


def test_promise_20_losses_are_rounded_to_the_safe_side():
    content = document("privacy_estimate")
    content.update(mean_loss=0.00123456, mean_loss_low=0.00112356, mean_loss_high=0.00134512)
    content["release"]["num_examples"] = 1000
    content.update(mean_is_at_least=False, saturated_share=0.0000123)
    told = with_document("useless", "privacy_estimate", content)
    assert "1.24 nats (range 1.12 to 1.35) for 1,000 examples" in told
    assert "Records beyond what samples resolve 0.00124%" in told
    content["mean_is_at_least"] = True
    told = with_document("useless", "privacy_estimate", content)
    assert "at least 1.23 nats (range 1.12 to 1.35 or more) for 1,000 examples" in told
    for row in content["mu"]:
        exact = row["bounds"]["saw_yang_mo"]["per_release"]
        shown = re.search(
            rf" {row['gamma']:g} ([\d.e+]+) ([\d.e+]+) ([\d.e+]+) \(estimated\)", told
        )
        assert all(exact <= float(each) < 1.01 * exact for each in shown.groups()[1:])


@pytest.mark.parametrize(
    "name", ["formal", "formal, by a critic", "limited", "0.1, formal", "void"]
)
def test_promise_20_a_bound_of_ideal_noise_is_not_called_proven(name):
    bound = report_standing.loss_bound(case(name))
    row = {
        "least_by": "proof",
        "least_per_release": 0.03127,
        "refused": None,
        "bounds": {"saw_yang_mo": {"per_release": 0.04561}},
    }
    told = report_evidence._least(row, bound)
    assert told == ("0.0313 (proven)" if name == "formal" else "0.0457 (estimated)")
    row.update(refused="too few records", bounds={})
    assert report_evidence._least(row, bound) == ("0.0313 (proven)" if name == "formal" else "-")
    row.update(least_by="nothing", least_per_release=None)
    assert report_evidence._least(row, bound) == "-"


@pytest.mark.parametrize("name", ["formal", "formal, by a critic", "limited", "0.1, formal"])
def test_promise_20_what_is_beside_an_estimate_is_called_what_it_is(name):
    content = document("privacy_estimate")
    for row in content["mu"]:
        row.update(least_by="proof", least_per_release=case("formal")["kl_bound"])
    told = with_document(name, "privacy_estimate", content)
    assert ("(proven)" in told) == (name == "formal")
    assert ("what tfartgen 0.1 stated, which is not proven:" in told) == (name == "0.1, formal")
    assert "Beside what is proven" not in told


def test_promise_20_attacks_are_told_with_their_power():
    content = document("membership")
    published = [attack for attack in content["attacks"] if attack["published"]]
    (told,) = report_summary.known("membership", content)
    assert f"of {len(published)} attacks on what is published tell members" in told
    for attack in published:
        attack["memorised"]["auc"].update(value=0.7, low=0.6, high=0.8)
    (told,) = report_summary.known("membership", content)
    assert "and 0 find what memorised them" in told
    assert len(report_summary.powerless(content)) >= len(published)
    told = with_document("useless", "membership", content)
    assert "find too little in what memorised, too, for their failure to say anything" in told


def test_promise_20_inversion_is_told_with_its_interval():
    content = document("inversion")
    (told,) = report_summary.known("inversion", content)
    rows = [row for row in content["rows"] if row["target"] == "real" and "top1" in row]
    best = max((row["top1"] for row in rows), key=lambda top: top["rate"])
    assert f"{100 * best['rate']:.0f} ({100 * best['low']:.0f}-{100 * best['high']:.0f})%" in told


def test_usefulness_names_what_was_trained_on_and_nothing_else():
    content = document("evaluation")
    told = with_document("useless", "evaluation", content)
    assert (
        "trained on real data, no privacy; artificial images alone; DP-SGD; PATE, and were" in told
    )
    assert "of a CNN trained on: real data, no privacy" in told
    content = copy.deepcopy(content)
    content["table"] = [row for row in content["table"] if row["method"] == "artificial"]
    told = with_document("useless", "evaluation", content)
    assert "Classifiers were trained on artificial images alone, and were tested" in told


def test_a_page_without_figures_has_no_price_and_one_with_figures_has():
    price = "The price of this page: what it measures was computed from the real records"
    assert price not in text("formal") and "Nothing was measured." in text("formal")
    content = document("membership")
    assert price in with_document("formal", "membership", content)
    del content["date"]
    told = with_document("formal", "membership", content)
    assert "The documents do not say where and when they were made." in told
