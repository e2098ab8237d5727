# SPDX-License-Identifier: Apache-2.0
"""A privacy estimate as text: says what limits it, and fits 80 columns whatever the figures are."""

from __future__ import annotations

import copy
import re

import pytest

from tfartgen import privacy_estimate_tables as tables
from tfartgen.privacy_estimate import LARGEST_RATIO

EXAMPLES = 2000


def mu(gamma, chebyshev=0.3, cantelli=0.25, saw_yang_mo=0.4, refused=None, least_by="estimate"):
    values = {"chebyshev": chebyshev, "cantelli": cantelli, "saw_yang_mo": saw_yang_mo}
    bounds = {
        name: {"per_example": value, "per_release": value * EXAMPLES}
        for name, value in values.items()
    }
    row = {"gamma": gamma, "refused": refused, "bounds": {} if refused else bounds}
    return {**row, "least_by": least_by, "least_per_release": 0.75}


DOCUMENT = {
    "settings": {"space": "pca", "dimensions": 16, "k": 5},
    "release": {"num_examples": EXAMPLES},
    "imitation": "mixture",
    "imitations": {
        "neighbours": {"mean": 0.125, "standard_error": 0.01},
        "mixture": {"mean": 0.25, "standard_error": 0.02},
    },
    "mean_loss": 0.25,
    "mean_loss_low": 0.0625,
    "mean_loss_high": 0.375,
    "mean_is_at_least": False,
    "saturated_share": 0.015,
    "saturated_owned_share": 0.0225,
    "members_to_controls": 1.5,
    "members_to_controls_interval": [0.75, 2.25],
    "controls": {"count": 359},
    "structure": {"clumping": 1.02, "is_clumped": False},
    "mu": [mu(0.05), mu(0.1, 0.2, 0.15, 0.24)],
    "calibration": {
        "divergence": 2.0,
        "ratio": 0.73,
        "ratio_low": 0.34,
        "ratio_high": 1.36,
        "first_count": 1000,
    },
    "copier_check": {"known": 0.5, "neighbours": 0.1, "mixture": 0.48},
    "formal": {
        "epsilon": 3.0,
        "delta": 1e-5,
        "kl_bound": 600.0,
        "attack_lower_bound": 0.5,
        "nests": True,
        "mean_loss_per_release": 500.0,
        "mean_loss_within_kl_bound": True,
    },
}


def document(**changes):
    """The one above; a value that is a mapping changes fields of a part."""
    made = copy.deepcopy(DOCUMENT)
    for name, value in changes.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) else value
    return made


def text(**changes):
    """Text of a document, checked for its width."""
    told = tables.text(document(**changes))
    assert max(map(len, told.splitlines())) <= 80, told
    return told


def flat(**changes):
    """The same with every run of white space as one blank: lines are wrapped anywhere."""
    return " ".join(text(**changes).split())


def row(told, name):
    return next(line for line in told.splitlines() if line.strip().startswith(name))


def test_the_estimate_and_what_it_is():
    told = flat()
    assert told.startswith(
        "Estimate of the expected privacy loss of leaving one record out, in 16 principal components of pixels, k = 5: "
        "an estimate about typical records, not a guarantee. Mean loss 0.25 nats per artificial example "
        "range 0.0625 to 0.375 per release 500 nats for 2,000 examples imitation a copier fitted to the release "
        "neighbours 0.125 +- 0.02 mixture 0.25 +- 0.04 Members / controls 1.5 (99%: 0.75 to 2.25), 359 of each "
        "Saturated 1.50% of the records; they own 2.25% of the examples mu: "
    )
    assert "at least 0.25" not in told and "Saturated:" not in told and "Clumped:" not in told


@pytest.mark.parametrize(
    "space, words",
    [
        ("pixels", "in 16 pixels, k = 5"),
        ("student", "in 16 principal components of a classifier's features, k = 5"),
    ],
)
def test_where_images_were_compared(space, words):
    assert words in flat(settings={"space": space})


def test_the_imitation_by_neighbours_is_named():
    told = text(imitation="neighbours")
    assert "taken out, by k nearest neighbours" in row(told, "imitation")


def test_bounds_of_a_record_and_of_a_release():
    told = text()
    assert row(told, "0.05").split() == ["0.05", "0.3", "0.25", "0.4", "600", "500", "800"]
    assert row(told, "0.1").split() == ["0.1", "0.2", "0.15", "0.24", "400", "300", "480"]
    heading = row(told, "Chebyshev")
    for name, cell in (("Saw-Y.-M.", "0.4"), ("Cantelli", "0.25"), ("Chebyshev", "0.3")):
        end = heading.index(name) + len(name)
        assert row(told, "0.05")[:end].endswith(f" {cell}"), name
    assert "per release of 2,000" in told


def test_what_is_proven_for_a_whole_release_is_said_where_it_is_less():
    proven = "For a whole release less is proven, and holds for every record: 0.75 nats."
    assert proven in flat(mu=[mu(0.05), mu(0.1, refused="saturated", least_by="proof")])
    assert "proven, and" not in flat(mu=[mu(0.05)])


def test_a_refused_gamma_says_why_and_has_no_number():
    reason = "100 records support no gamma below 0.0099; give more records"
    told = text(mu=[mu(0.001, refused=reason), mu(0.05)])
    assert f"0.001 none: {reason}" in " ".join(told.split())
    assert row(told, "0.001").lstrip().startswith("0.001  none: 100 records")
    assert row(told, "0.05").split()[1] == "0.3"
    reason = (
        "99.5% of the records are saturated, more than gamma: their losses are unbounded and so on"
    )
    assert f"none: {reason}" in flat(mu=[mu(0.25, refused=reason)])


def test_what_saturated_records_cost_is_said_beside_the_bounds():
    costs = {"records": 1438, "saturated": 1, "saturated_limit": 0.0046101, "gamma_left": 0.0453}
    told = flat(mu=[{**mu(0.001, refused="few"), **costs}, {**mu(0.05), **costs}])
    assert (
        "A saturated record counts as above mu: mean and deviation are those of the other 1,437 records, and each bound is for "
        "gamma less 0.00462, the upper 99% limit of their share."
    ) in told
    assert "counts as above mu" not in flat(mu=[{**mu(0.001, refused="few"), **costs}])
    # Documents of 0.1 do not tell it.
    assert "counts as above mu" not in flat()


def test_what_is_saturated_is_at_least_what_it_is():
    told = flat(mean_is_at_least=True)
    assert "Mean loss at least 0.25 nats per artificial example" in told
    assert "range 0.0625 to 0.375 or more" in told
    assert "per release at least 500 nats for 2,000 examples" in told
    assert "Saturated: samples resolve no more" in told and "true losses are larger than" in told


def test_clumped_examples_are_noted():
    told = flat(structure={"clumping": 0.1234, "is_clumped": True})
    assert "Clumped: the examples huddle (ratio 0.12, 1 for a smooth density)" in told
    assert "Losses may be far larger than those given." in told


@pytest.mark.parametrize(
    "value, interval, words",
    [
        (LARGEST_RATIO, [LARGEST_RATIO] * 2, "1,000 or more (99%: 1,000 or more), 359 of each"),
        (LARGEST_RATIO * (1 - 1e-12), [12.0, LARGEST_RATIO], "1,000 or more (99%: 12 or more), "),
        (999.0, [870.0, 999.0], "999 (99%: 870 to 999), 359 of each"),
        (0.001, [0.001, 0.5], "0.001 (99%: 0.001 to 0.5), 359 of each"),
    ],
)
def test_the_largest_ratio_is_a_lower_bound(value, interval, words):
    told = text(members_to_controls=value, members_to_controls_interval=interval)
    assert words in row(told, "Members / controls")


def test_the_calibration_is_beside_it():
    told = flat()
    assert "of a shift with a KL of 2 nats the neighbours see 0.73 times (0.34 to 1.36)" in told
    assert "with 1,000 examples on each side" in told
    assert "whose mean loss is 0.5, the neighbours say 0.1 and the mixture 0.48." in told


def test_a_release_without_a_statement_of_epsilon():
    formal = {"epsilon": None, "kl_bound": None, "nests": None, "mean_loss_within_kl_bound": None}
    told = flat(formal=formal)
    assert told.endswith("Formal: none; the release's statement bounds nothing.")
    assert "Attack: epsilon is at least 0.5 (95%), by guessing members from their losses." in told
    assert "delta" not in told and "(KL)" not in told and "ABOVE" not in told


def test_what_nests_is_said_to_do_so():
    told = flat()
    assert "Formal: epsilon = 3 at delta = 1e-05. The attack's bound is below it, as it" in told
    assert "Formal bound on the expected loss (KL): 600 nats. The estimate of a whole" in told
    assert told.endswith("The estimate of a whole release is below it.") and "ABOVE" not in told


def test_an_attack_above_epsilon_is_said_loudly():
    told = flat(formal={"attack_lower_bound": 4.5, "nests": False})
    assert "epsilon is at least 4.5 (95%)" in told
    assert "Formal: epsilon = 3 at delta = 1e-05. THE ATTACK'S BOUND IS ABOVE IT: either" in told
    assert "Trust neither until it is known which." in told and "as it must be" not in told


def test_an_estimate_above_the_kl_bound_is_explained():
    told = flat(formal={"kl_bound": 20.0, "mean_loss_within_kl_bound": False})
    assert "(KL): 20 nats. The estimate of a whole release, 500, is above it, and the" in told
    assert "the imitation puts all that the release has near a record down to that record" in told


def test_an_epsilon_without_a_bound_on_kl():
    told = flat(formal={"kl_bound": None, "mean_loss_within_kl_bound": None})
    assert told.endswith("as it must be.") and "(KL)" not in told


LARGE = -1.2345e123


@pytest.mark.parametrize("nests", [True, False])
@pytest.mark.parametrize("refused", [None, "1 records support no gamma below 0.333; " * 4])
def test_any_numbers_fit_80_columns(nests, refused):
    told = text(
        settings={"space": "student", "dimensions": 12288, "k": 12345},
        release={"num_examples": 123_456_789},
        imitations={
            name: {"mean": LARGE, "standard_error": LARGE} for name in DOCUMENT["imitations"]
        },
        imitation="neighbours",
        mean_loss=LARGE,
        mean_loss_low=LARGE,
        mean_loss_high=LARGE,
        mean_is_at_least=True,
        saturated_share=1.0,
        saturated_owned_share=1.0,
        members_to_controls=LARGEST_RATIO,
        members_to_controls_interval=[123.456, LARGEST_RATIO],
        controls={"count": 1_234_567},
        structure={"is_clumped": True},
        mu=[mu(1.23456e-05, *[1.39e5] * 3, refused), mu(0.123456, *[-1.39e-5] * 3)],
        calibration={"ratio": -12.345, "ratio_low": -123.4, "ratio_high": 1e5, "first_count": 10**8},
        copier_check={name: LARGE for name in DOCUMENT["copier_check"]},
        formal={
            "epsilon": 1.98794e5,
            "delta": 1.23456e-15,
            "kl_bound": 1.39e5,
            "mean_loss_per_release": LARGE,
            "nests": nests,
            "mean_loss_within_kl_bound": nests,
        },
    )  # fmt: skip
    assert "1.39e+05 nats" in " ".join(told.split()) and "1,000 or more" in told
    if refused is None:
        assert row(told, "1.23456e-05").split()[1:4] == ["1.39e+05"] * 3


def test_every_bound_has_a_name_in_the_heading():
    assert re.search(r"Chebyshev +Cantelli +Saw-Y\.-M\. +Chebyshev", text())
