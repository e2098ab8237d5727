# SPDX-License-Identifier: Apache-2.0
"""Delta beside the number of records: the default, the warning, and from where on nothing is called formal."""

from __future__ import annotations

import fractions
import math

import pytest

from tfartgen import accounting, deltas
from tfartgen.accounting import Stretch
from tfartgen.statement import privacy_statement, validate_statement

EXACT = Stretch("poisson", 1.0, 4.0, 1.0, 1, 1, "mean embedding", 900, 2**31)


@pytest.mark.parametrize(
    ("num_records", "delta"),
    [
        (1, 1e-5),
        (1_422, 1e-5),
        (10_000, 1e-5),
        (10_001, 1e-6),
        (60_000, 1e-6),
        (100_000, 1e-6),
        (100_001, 1e-7),
        (162_770, 1e-7),
        (10**9, 1e-10),
    ],
)
def test_the_default_is_the_largest_power_of_ten_that_is_small_enough(num_records, delta):
    assert deltas.default(num_records) == delta
    assert deltas.warning(delta, num_records) is None


@pytest.mark.parametrize("num_records", [0, -1, 1.5, math.nan])
def test_the_number_of_records_must_be_one(num_records):
    with pytest.raises(ValueError, match="num_records must be a positive whole number"):
        deltas.default(num_records)


@pytest.mark.parametrize("num_records", [1, 3, 7, 10, 49, 1000, 1500, 60_000, 162_770, 10**7])
def test_promise_19_a_delta_of_one_over_n_guarantees_nothing(num_records):
    """Publishing one record of n, drawn by lot, keeps (0, 1 / n); in exact arithmetic, on both sides of it."""
    at = 1 / num_records
    below, above = math.nextafter(at, 0), math.nextafter(at, 1)
    for delta in (below, at, above):
        if fractions.Fraction(delta) * num_records >= 1:
            assert not deltas.guarantees(delta, num_records)
    assert not deltas.guarantees(at, num_records) and not deltas.guarantees(above, num_records)
    assert deltas.guarantees(at / 2, num_records)
    assert deltas.guarantees(0.9, None)


def test_promise_19_a_delta_above_a_tenth_of_that_is_warned_of():
    assert deltas.warning(6e-5, 1500) is None and deltas.warning(0.5, None) is None
    warned = deltas.warning(2e-4, 1500)
    assert warned == (
        "delta = 0.0002 is above 1 / (10 n) for 1,500 records: the chance that a promise fails altogether is to be well below "
        "1 / n; 1e-05 would be"
    )
    refused = deltas.warning(1 / 1500, 1500)
    assert "is not below 1 / n for 1,500 records" in refused and "guarantees nothing" in refused
    assert "for 1 record:" in deltas.warning(0.5, 1)


@pytest.mark.parametrize(
    ("delta", "formal", "warned"),
    [(6e-5, True, False), (2e-4, True, True), (1 / 1500, False, True), (1e-3, False, True)],
)
def test_promise_19_a_statement_holds_delta_against_n(delta, formal, warned):
    stated = privacy_statement([EXACT], delta, critic_steps=0, num_records=1500)
    assert validate_statement(stated) == []
    assert stated["num_records"] == 1500 and stated["epsilon"] < 1.5
    assert stated["neighbouring_relation"] == accounting.RELATION
    assert stated["guarantee"] == ("formal" if formal else "none")
    assert stated.get("warnings") == ([deltas.warning(delta, 1500)] if warned else None)
    assert stated["headline"].startswith(
        "Differentially private for one record" if formal else "No formal privacy guarantee: delta"
    )


def test_promise_19_the_explanation_of_a_run_holds_delta_against_n():
    spent = accounting.spent([EXACT], 1e-3, 1500)
    assert not spent.is_meaningful
    assert spent.explanation.startswith("No formal guarantee: delta = 0.001 is not below 1 / n")
    assert accounting.spent([EXACT], 1e-4, 1500).is_meaningful
    assert accounting.spent([EXACT], 1e-3).is_meaningful


def test_a_statement_without_n_holds_it_against_nothing():
    stated = privacy_statement([EXACT], 1e-3, critic_steps=0)
    assert stated["guarantee"] == "formal" and not {"num_records", "warnings"} & set(stated)
    assert stated["neighbouring_relation"] == "add or remove one record"
