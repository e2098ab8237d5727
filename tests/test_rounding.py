# SPDX-License-Identifier: Apache-2.0
"""Bounds for people are never better than the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfartgen.rounding import downwards, upwards, upwards_with_commas


@pytest.mark.parametrize(
    "value, text",
    [(0.99998, "1"), (9.9971, "9.998"), (9.998, "9.998"), (2.00004, "2.001"), (0.0, "0")]
    + [(12345.6, "1.235e+04"), (math.inf, "infinite")],
)
def test_four_digits_upwards(value, text):
    assert upwards(value) == text


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 6])
def test_promise_20_what_is_printed_is_never_below_the_value(digits):
    for value in 10 ** np.random.default_rng(0).uniform(-8, 8, 2000):
        printed = float(upwards(float(value), digits))
        assert value <= printed <= value * (1 + 1.0001 * 10 ** (1 - digits))


def test_promise_20_lower_bounds_are_rounded_down_and_large_ones_up_to_whole_numbers():
    assert (downwards(2.3469), downwards(0.0), upwards_with_commas(1234.2)) == (
        "2.34",
        "0",
        "1,235",
    )
    assert (upwards_with_commas(2.00004), upwards_with_commas(1.231, 3)) == ("2.001", "1.24")
