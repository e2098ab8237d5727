# SPDX-License-Identifier: Apache-2.0
"""What kind of guarantee a statement gives, and its numbers for people, none of them better than it is.

Every sentence of a report that depends on the guarantee asks here, so that all of a page say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from tfartgen import deltas, statement
from tfartgen.rounding import given, upwards_with_commas

Stated = Mapping[str, Any]

#: Void whatever the figures; stated by tfartgen 0.1; steps without noise; noise that is small beside the limit of its draws; a
#: delta that is not below 1 / n; an epsilon that says nothing of use; a guarantee.
VOID, BEFORE, NOISELESS, LIMITED = "void", "before", "noiseless", "limited"
LARGE_DELTA, USELESS, FORMAL = "large delta", "useless", "formal"


def standing(stated: Stated) -> str:
    """Which of the constants above a statement is."""
    if stated["void_reasons"]:
        return VOID
    if statement.stated_before(stated):
        return BEFORE
    if noiseless_steps(stated)[0]:
        return NOISELESS
    if stated["epsilon"] is None:
        return LIMITED
    if not deltas.guarantees(stated["delta"], stated.get("num_records")):
        return LARGE_DELTA
    return FORMAL if stated["guarantee"] == "formal" else USELESS


def noiseless_steps(stated: Stated) -> tuple[int, int]:
    """Steps that read private records without noise, and all that read them."""
    steps = [(each["steps"], each["noise_multiplier"]) for each in stated["mechanism"]]
    return sum(count for count, noise in steps if noise == 0), sum(count for count, _ in steps)


def without_noise(stated: Stated) -> str:
    """What ran without noise, as the beginning of a sentence."""
    bare, count = noiseless_steps(stated)
    some = f"{bare:,}" if bare < count else "All"
    return f"{some} of the {count:,} steps that read private records ran without noise"


def over_budget(stated: Stated) -> Optional[str]:
    """A sentence on an epsilon above the budget, which is of training; None where it is not."""
    epsilon, budget, policy = stated["epsilon"], stated["budget_epsilon"], stated["label_policy"]
    if budget is None or epsilon is None or epsilon <= budget:
        return None
    by = ""
    if policy is not None and policy["kind"] == "noised":
        by = " The budget was of training alone; the noised class histogram was released on top of it."
    return f"Epsilon is above the budget of {given(budget)}: {number(epsilon)}.{by}"


class LossBound(NamedTuple):
    """The accountant's bound on the expected loss.

    Attributes:
      nats: KL(release of D || release of D').
      proven: whether it holds of what was drawn: of exact noise, that is. A critic's draws end, which the bound leaves to delta.
    """

    nats: float
    proven: bool


def loss_bound(stated: Stated) -> Optional[LossBound]:
    """None where there is no such bound, and where what was drawn is too far from what is priced for one."""
    if stated.get("kl_bound") is None or standing(stated) in (VOID, BEFORE, NOISELESS, LIMITED):
        return None
    exact = all("grid" in each for each in stated["mechanism"] if each["steps"])
    return LossBound(stated["kl_bound"], exact)


def number(value: Optional[float]) -> str:
    """A bound, rounded up to four digits or to a whole number with commas; none where there is none."""
    return "none" if value is None else upwards_with_commas(value)
