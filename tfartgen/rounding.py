# SPDX-License-Identifier: Apache-2.0
"""Bounds for people: fewer digits, and never better than the truth."""

from __future__ import annotations

import decimal
import math


def upwards(value: float, digits: int = 4) -> str:
    """An upper bound, an epsilon say, to so many significant digits, rounded up.

    Formal guarantee: `float(upwards(value)) >= value`.

    Args:
      value: not below zero; infinity is 'infinite'.
      digits: at least one.
    """
    nearest = f"{value:.{digits}g}"  # 0.4 is 0.4, though as a double it is a little more
    if math.isfinite(value) and float(nearest) >= value:
        return nearest
    return _rounded(value, digits, decimal.ROUND_CEILING)


def downwards(value: float, digits: int = 3) -> str:
    """A lower bound to so many significant digits, rounded down: `float(downwards(value)) <= value`."""
    nearest = f"{value:.{digits}g}"
    if math.isfinite(value) and float(nearest) <= value:
        return nearest
    return _rounded(value, digits, decimal.ROUND_FLOOR)


def upwards_with_commas(value: float, digits: int = 4) -> str:
    """As `upwards`; from 1,000 on a whole number."""
    return f"{math.ceil(value):,}" if 1000 <= value < 1e9 else upwards(value, digits)


def given(value: float) -> str:
    """A delta or a budget, which somebody gave: in the six digits that mostly say all of it, and never less than it is."""
    return upwards(value, 6)


def _rounded(value: float, digits: int, direction: str) -> str:
    if not math.isfinite(value):
        return "infinite"
    context = decimal.Context(prec=digits, rounding=direction)
    return f"{float(context.create_decimal(value)):.{digits}g}"
