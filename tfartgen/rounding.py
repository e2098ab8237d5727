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
    if not math.isfinite(value):
        return "infinite"
    up = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    return f"{float(up.create_decimal(value)):.{digits}g}"
