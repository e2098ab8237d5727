# SPDX-License-Identifier: Apache-2.0
"""What a report says of other releases from the same records: who counted, what there is, and what it adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen import accounting, deltas, report_standing
from tfartgen.evaluation_tables import Table
from tfartgen.report_blocks import Block, Bullets, Facts, Figures, Heading, Text
from tfartgen.report_standing import number
from tfartgen.rounding import downwards, given, upwards

Stated = Mapping[str, Any]

_NOBODY = "Nobody counted what else was released from these records."

#: States of the budget book, for people.
_STATES = {
    "settled": "what another run has spent",
    "reserved": "what another run, which goes on or died, may have spent",
    "lost": "what a run spent before its folder went back to an older state",
    "public start": "what the model that a training started from has spent, on records that may be among these",
}

#: The same of several at once.
_COUNTED = {
    "settled": "spent",
    "reserved": "reserved by a run that goes on or died",
    "lost": "spent before a folder went back to an older state",
    "public start": "spent by a model that a training started from",
}

#: Columns of a table of mechanisms, those that it has.
_KEYS = (
    "stage",
    "mechanism",
    "sampler",
    "sampling_rate",
    "noise_multiplier",
    "clip_norm",
    "steps",
    "coordinates",
    "grid",
)


def blocks(stated: Stated) -> list[Block]:
    """All that is known of other releases."""
    heading = Heading("Other releases from the same records")
    earlier = stated.get("earlier_releases")
    if earlier is None:
        return [heading, Text([f"{_NOBODY} Each one adds to what this one spent."], important=True)]
    pairs = [
        ("Counted", f"by the owner's budget book, {_when(earlier)}"),
        ("Beside this one", _counts(earlier["releases"])),
        *([("Together with this one", _joint(stated))] if earlier["releases"] else []),
        ("Ceiling", _ceiling(stated)),
    ]
    found: list[Block] = [heading, Facts(pairs)]
    if earlier["releases"]:
        fixed = [] if earlier["joint_epsilon"] is None else [Text([_IF_FIXED])]
        found += [*fixed, _table(earlier["releases"])]
    return [*found, Bullets("What the budget book cannot see:", earlier["not_seen"])]


_IF_FIXED = (
    "The figure for all together is what their mechanisms cost, composed. It presumes that what a run was to spend was not chosen by "
    "looking at what an earlier one released; where it was, only a ceiling holds that was fixed before the first of them."
)


def in_words(stated: Stated) -> str:
    """Sentences on what all releases together guarantee, for a release that guarantees something by itself."""
    earlier = stated.get("earlier_releases")
    if earlier is None:
        return f"It is about this release alone. {_NOBODY} Each one adds to what this one spent."
    if not earlier["releases"]:
        return (
            "It is about this release alone. The owner's budget book counts no other from these records; what it cannot see is "
            "listed below."
        )
    return f"It is about this release alone. Together with what the owner's budget book counts: {_joint(stated)}."


def known(stated: Stated) -> list[str]:
    """What the summary says that is known."""
    earlier = stated.get("earlier_releases")
    if earlier is None:
        return []
    if not earlier["releases"]:
        return [
            f"Other releases: none from these records in the owner's budget book, {_when(earlier)}."
        ]
    counts = _counts(earlier["releases"])
    return [f"Other releases: {counts}. Together with this one: {_joint(stated)}."]


def unknown(stated: Stated) -> list[str]:
    """What the summary says that is not known."""
    earlier = stated.get("earlier_releases")
    if earlier is None:
        return [f"{_NOBODY} Each one adds to what this one spent."]
    return [f"What the budget book cannot see: {'; '.join(earlier['not_seen'])}."]


def _when(earlier: Mapping[str, Any]) -> str:
    return f"since {earlier['counted_since']} and up to this training"


def _joint(stated: Stated) -> str:
    """What this release and the others, of which there are some, guarantee together."""
    earlier = stated["earlier_releases"]
    joint, delta = earlier["joint_epsilon"], earlier["joint_delta"]
    if joint is None:
        return f"no guarantee holds jointly, since {_why_unbounded(stated)}"
    figures = f"epsilon = {number(joint)} at delta = {given(delta)}"
    if not deltas.guarantees(delta, stated.get("num_records")):
        return f"{figures}, a delta at which nothing is guaranteed"
    if joint > accounting.MEANINGFUL_EPSILON:
        return f"{figures}, which is no guarantee of use"
    return figures


def _why_unbounded(stated: Stated) -> str:
    if report_standing.standing(stated) == report_standing.VOID:
        return "this one is void"
    if any(each["version"] == 1 for each in (stated, *stated["earlier_releases"]["releases"])):
        return "the noise of tfartgen 0.1, which one of them had, has no proven price"
    return "epsilon is unbounded"


def _counts(releases: Sequence[Mapping[str, Any]]) -> str:
    """How many count, by state."""
    states = Counter(each["state"] for each in releases)
    listed = "; ".join(f"{states[each]} {told}" for each, told in _COUNTED.items() if states[each])
    return f"{len(releases)} ({listed})" if releases else "none"


def _ceiling(stated: Stated) -> str:
    earlier = stated["earlier_releases"]
    ceiling, delta = earlier["total_epsilon"], earlier["total_delta"]
    if ceiling is None:
        return "none was fixed for all releases together"
    figures = f"epsilon = {given(ceiling)} at delta = {given(delta)} for all releases together"
    joint = earlier["joint_epsilon"]
    if joint is None:
        return f"{figures} was asked for, and is not kept"
    if joint > ceiling and earlier["joint_delta"] >= delta:
        return f"{figures}, which this release exceeds"
    return figures


def _table(releases: Sequence[Mapping[str, Any]]) -> Figures:
    mechanisms, places = [], []
    for number_, each in enumerate(releases, 1):
        state = _STATES[each["state"]]
        if each["version"] == 1:
            state += "; of tfartgen 0.1, without a proven price"
        mechanisms += each["mechanism"]
        places += [(str(number_), state)] * len(each["mechanism"])
    caption = "What counts beside this release, and what anyone needs to price all of it together"
    return mechanism_table(caption, mechanisms, places, ("release", "which is"))


def mechanism_table(
    caption: str,
    steps: Sequence[Mapping[str, Any]],
    places: Optional[Sequence[tuple[str, ...]]] = None,
    names: tuple[str, ...] = (),
) -> Figures:
    """Mechanisms, one in a row; rates rounded up and noise rounded down, so that no price from them is too low.

    Args:
      caption: of the table.
      steps: mechanisms, as statements have them.
      places: of each, further cells before its own.
      names: of these.
    """
    shown = [key for key in _KEYS if any(key in each for each in steps)]
    rows = tuple(
        (*place, *(_cell(key, each.get(key)) for key in shown))
        for place, each in zip(places or [()] * len(steps), steps)
    )
    return Figures(caption, Table((*names, *(key.replace("_", " ") for key in shown)), rows))


def _cell(key: str, value: Any) -> str:
    """Four digits, and those of the safe side where they do not say all."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return downwards(value, 4) if key == "noise_multiplier" else upwards(value, 4)
