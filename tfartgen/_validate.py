# SPDX-License-Identifier: Apache-2.0
"""Checks of named arguments; each returns the value, and NaN, infinity and booleans fail every one."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Collection, Hashable
from typing import Any


def _is_number(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and -sys.float_info.max <= value <= sys.float_info.max


def _require(condition: bool, name: str, what: str, value: Any) -> Any:
    if not condition:
        raise ValueError(f"{name} must be {what}, got {value!r}")
    return value


def positive(name: str, value: Any) -> Any:
    """A finite number above zero."""
    return _require(_is_number(value) and value > 0, name, "a positive number", value)


def non_negative(name: str, value: Any) -> Any:
    """A finite number, zero or more."""
    return _require(_is_number(value) and value >= 0, name, "a non-negative number", value)


def probability(name: str, value: Any) -> Any:
    """A number strictly between zero and one."""
    return _require(_is_number(value) and 0 < value < 1, name, "between 0 and 1 (exclusive)", value)


def fraction(name: str, value: Any) -> Any:
    """A number above zero, at most one."""
    return _require(_is_number(value) and 0 < value <= 1, name, "above 0 and at most 1", value)


def positive_int(name: str, value: Any) -> Any:
    """A whole number above zero."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return _require(whole and value > 0, name, "a positive whole number", value)


def one_of(name: str, value: Any, choices: Collection[Any]) -> Any:
    """One of the choices."""
    known = isinstance(value, Hashable) and value in choices
    return _require(known, name, f"one of {', '.join(map(str, choices))}", value)
