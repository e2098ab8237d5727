# SPDX-License-Identifier: Apache-2.0
"""What a delta is worth beside the number of records: the default, from where on there is a warning, and no guarantee.

A mechanism that publishes one record of n, drawn by lot, as it is, keeps (0, 1 / n). So delta must be well below 1 / n.
"""

from __future__ import annotations

from typing import Optional

from tfartgen import _validate
from tfartgen.rounding import given

#: The default is never above.
_MOST = 5  # 1e-5


def default(num_records: int) -> float:
    """The largest power of ten that is at most 1 / (10 n), and at most 1e-5; no step of it rounds."""
    _validate.positive_int("num_records", num_records)
    exponent = _MOST
    while 10**exponent < 10 * num_records:
        exponent += 1
    return float(f"1e-{exponent}")


def guarantees(delta: float, num_records: Optional[int]) -> bool:
    """Whether delta is below 1 / n, without which nothing is called formal; True where n is not known."""
    return num_records is None or delta < 1 / num_records


def warning(delta: float, num_records: Optional[int]) -> Optional[str]:
    """A sentence on a delta above 1 / (10 n); None for a smaller one."""
    if num_records is None or delta <= 1 / (10 * num_records):
        return None
    records = f"{num_records:,} record{'' if num_records == 1 else 's'}"
    if not guarantees(delta, num_records):
        return (
            f"delta = {given(delta)} is not below 1 / n for {records}: publishing one of them whole, drawn by lot, has epsilon 0 at "
            f"that delta, so it guarantees nothing; {default(num_records):g} would be well below"
        )
    return (
        f"delta = {given(delta)} is above 1 / (10 n) for {records}: the chance that a promise fails altogether is to be well below "
        f"1 / n; {default(num_records):g} would be"
    )
