# SPDX-License-Identifier: Apache-2.0
"""Tests of the checks of named arguments."""

from __future__ import annotations

import numpy as np
import pytest

from tfartgen import _validate

NOT_NUMBERS = [
    float("nan"),
    float("inf"),
    -float("inf"),
    np.float32("nan"),
    10**400,
    True,
    np.bool_(True),
    "1",
    None,
    1j,
    [1.0],
    np.array([1.0, 2.0]),
]


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize("check", ["positive", "non_negative", "probability", "fraction"])
def test_what_is_no_finite_number_fails_every_check(check, value):
    with pytest.raises(ValueError, match="^noise must be "):
        getattr(_validate, check)("noise", value)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ("positive", [1e-300, 1, np.float32(2)], [0, -0.0, -1]),
        ("non_negative", [0, 0.0, 3, np.int64(4)], [-1e-300, -1]),
        ("probability", [1e-12, 0.5, 1 - 1e-12], [0, 1, 1.5, -0.1]),
        ("fraction", [1e-12, 0.5, 1], [0, 1 + 1e-12, -0.1]),
        ("positive_int", [1, 7, np.int64(3)], [0, -1, 1.0, 2.5, "3", True, None, float("nan")]),
    ],
)
def test_edges_of_each_check(check, good, bad):
    function = getattr(_validate, check)
    for value in good:
        assert function("x", value) is value
    for value in bad:
        with pytest.raises(ValueError, match="^x must be "):
            function("x", value)


def test_message_gives_name_rule_and_value():
    with pytest.raises(ValueError) as caught:
        _validate.non_negative("noise_multiplier", float("nan"))
    assert str(caught.value) == "noise_multiplier must be a non-negative number, got nan"


def test_one_of():
    assert _validate.one_of("sampler", "poisson", ("poisson", "shuffle")) == "poisson"
    with pytest.raises(ValueError, match="sampler must be one of poisson, shuffle, got 'uniform'"):
        _validate.one_of("sampler", "uniform", ("poisson", "shuffle"))
    with pytest.raises(ValueError, match="got None"):
        _validate.one_of("sampler", None, {"poisson": 1})
    with pytest.raises(ValueError, match="got \\[\\]"):
        _validate.one_of("sampler", [], {"poisson": 1})
