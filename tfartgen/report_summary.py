# SPDX-License-Identifier: Apache-2.0
"""What is known about a release, what is not, and what would change it. No verdict: the decision is the owner's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen import membership_tables, report_evidence, report_releases, report_standing
from tfartgen.evaluation_tables import ARCHITECTURE_NAMES, row_name, with_interval
from tfartgen.inversion_tables import TARGET_NAMES, rate
from tfartgen.report_blocks import Bullets, Section
from tfartgen.report_documents import KINDS
from tfartgen.report_standing import (
    BEFORE,
    FORMAL,
    LARGE_DELTA,
    LIMITED,
    NOISELESS,
    USELESS,
    VOID,
    number,
    standing,
)
from tfartgen.rounding import given, upwards


def section(
    stated: Mapping[str, Any],
    known: Sequence[str],
    powerless: Sequence[str],
    copies: Optional[int],
    missing: Sequence[str],
    measured: bool = True,
) -> Section:
    """The lists that a decision needs.

    Args:
      stated: the release's privacy statement.
      known: what `known` says of the documents, as far as there are any.
      powerless: attacks that `powerless` names.
      copies: artificial images that equal a training record; None if nobody looked.
      missing: kinds of documents that there are none of.
      measured: whether there is any document.
    """
    found = [*_guarantee(stated), *known]
    if copies is not None:
        count = stated["data_set"]["num_examples"]
        found.append(
            f"Copies: {copies:,} of {count:,} artificial images equal a training record in every pixel."
        )
    return Section(
        "summary",
        "What is known, what is not, and what would change it",
        [
            Bullets("Known:", found),
            Bullets("Not known:", _unknown(stated, powerless, copies, missing, measured)),
            Bullets("What would change it:", _changes(stated)),
        ],
    )


def known(kind: str, document: Mapping[str, Any]) -> list[str]:
    """What one document says, in a sentence or none."""
    return _KNOWN[kind](document) if kind in _KNOWN else []


def _guarantee(stated: Mapping[str, Any]) -> list[str]:
    """What is guaranteed by this release, and by all that were counted together."""
    kind, over = standing(stated), report_standing.over_budget(stated)
    told = [_formal(stated)] if kind == FORMAL else [_NONE[kind](stated)]
    if over:
        told.append(f"Budget: {over[0].lower()}{over[1:]}")
    return [*told, *report_releases.known(stated)]


def _formal(stated: Mapping[str, Any]) -> str:
    epsilon, delta = stated["epsilon"], given(stated["delta"])
    warned = "".join(f" Warning: {each}." for each in stated.get("warnings", []))
    but = ""
    if stated["selected_on_private_data"]:
        but = " Choices that were made by looking at the private data are not covered."
    return (
        f"Guarantee: epsilon = {upwards(epsilon)} at delta = {delta} for {stated['unit']}, whatever the attacker knows and does: by "
        f"this release the odds that a record was used change by a factor of at most {upwards(math.exp(epsilon), 3)}, but for that "
        f"delta.{but}{warned}"
    )


def _void(stated: Mapping[str, Any]) -> str:
    return f"Guarantee: none. The statement is void: {'; '.join(stated['void_reasons'])}."


def _before(stated: Mapping[str, Any]) -> str:
    if stated["epsilon"] is None:
        return "Guarantee: none, and tfartgen 0.1 stated none."
    return (
        f"Guarantee: not proven. tfartgen 0.1 stated epsilon = {number(stated['epsilon'])} at delta = {given(stated['delta'])}, which "
        "its noise did not keep (SECURITY.md of tfartgen)."
    )


def _noiseless(stated: Mapping[str, Any]) -> str:
    return f"Guarantee: none. {report_standing.without_noise(stated)}, so epsilon is unbounded."


def _limited(stated: Mapping[str, Any]) -> str:
    del stated  # nothing of it is a figure
    return (
        "Guarantee: none. Noise was so small beside the end of its draws that epsilon is unbounded."
    )


def _large_delta(stated: Mapping[str, Any]) -> str:
    return f"Guarantee: none at the delta that was chosen. {'; '.join(stated.get('warnings', []))}."


def _useless(stated: Mapping[str, Any]) -> str:
    return (
        f"Guarantee: none of use. What the training spent was counted: epsilon = {number(stated['epsilon'])} at delta = "
        f"{given(stated['delta'])}, which is too much to exclude anything."
    )


_NONE = {
    VOID: _void,
    BEFORE: _before,
    NOISELESS: _noiseless,
    LIMITED: _limited,
    LARGE_DELTA: _large_delta,
    USELESS: _useless,
}


def _usefulness(document: Mapping[str, Any]) -> list[str]:
    rows = document.get("table", [])
    last = [row for row in rows if row["architecture"] == rows[-1]["architecture"]]
    if not any(row["method"] == "artificial" for row in last):
        return []
    name = ARCHITECTURE_NAMES[last[0]["architecture"]]
    figures = "; ".join(f"{row_name(row)} {with_interval(row['accuracy'], 1)}%" for row in last)
    return [f"Usefulness, accuracy on real test images of a {name} trained on: {figures}."]


def _estimate(document: Mapping[str, Any]) -> list[str]:
    low, high = document["members_to_controls_interval"]
    found = f"({report_evidence.ratio_interval(low, high)} times as much, 99%)"
    told = f"lose more than records that were not trained on {found}"
    if high < 1:
        told = f"lose less than records that were not trained on {found}"
    elif low <= 1:
        told = f"may lose more or less than records that were not trained on, which so many of each cannot tell {found}"
    return [f"Estimate: typical training records {told}. No proof; read it with its calibration."]


def _membership(document: Mapping[str, Any]) -> list[str]:
    published = [attack for attack in document["attacks"] if attack["published"]]
    found = [attack for attack in published if membership_tables.finds_members(attack)]
    able = [attack for attack in published if membership_tables.can_succeed(attack)]
    best = max(published, key=lambda attack: attack["main"]["auc"]["value"], default=None)
    if best is None:
        return []
    auc = best["main"]["auc"]
    return [
        f"Membership: {len(found)} of {len(published)} attacks on what is published tell members from others better than they tell "
        f"a control's, and {len(able)} find what memorised them, as an attack must to say anything by its failure; the highest AUC is "
        f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}), 0.5 is chance."
    ]


def _inversion(document: Mapping[str, Any]) -> list[str]:
    rows = [
        row for row in document["rows"] if row["target"] in ("real", "artificial") and "top1" in row
    ]
    told = []
    for target in dict.fromkeys(row["target"] for row in rows):
        best = max(
            (row["top1"] for row in rows if row["target"] == target), key=lambda top: top["rate"]
        )
        told.append(f"{rate(best)}% from a classifier of {TARGET_NAMES[target]}")
    if not told:
        return []
    return [
        f"Inversion: the most classes that an attack identified were {' and '.join(told)}, with 95% intervals; chance is "
        f"{100 * document['chance']:.3g}%. Whether the attack works is told beside its baseline and control, and whether it harms "
        "somebody depends on what a class is: for faces, a person."
    ]


def _audit(document: Mapping[str, Any]) -> list[str]:
    return [f"Audit: {membership_tables.audit_sentences(document)[0]}"]


_KNOWN = {
    "evaluation": _usefulness,
    "privacy_estimate": _estimate,
    "membership": _membership,
    "inversion": _inversion,
    "audit": _audit,
}


def _unknown(
    stated: Mapping[str, Any],
    powerless: Sequence[str],
    copies: Optional[int],
    missing: Sequence[str],
    measured: bool,
) -> list[str]:
    found = []
    if standing(stated) != FORMAL:
        found.append(
            "The worst case. Attacks and estimates are about typical records and known methods; an unusual record may be far more "
            "exposed than they say."
        )
    found += report_releases.unknown(stated)
    found += [
        f"{KINDS[kind].title[0].upper()}{KINDS[kind].title[1:]}: not measured, see below for the command."
        for kind in missing
    ]
    if copies is None:
        found.append(
            "Whether an artificial image is a copy of a record: the real data was not given to bin/report."
        )
    if powerless:
        found.append(
            f"Whether members can be told by: {'; '.join(powerless)}. These attacks find too little in what memorised, too, for their "
            "failure to say anything."
        )
    found += [
        "Attacks that nobody ran. What fails today says nothing of better ones; only a guarantee does.",
        "Chance of the training: one generator was trained, and no interval on this page is over others.",
        "People with several records, and what records have in common: see what is not protected.",
    ]
    if measured or copies is not None:
        found.append(
            "The price of this page: what it measures was computed from the real records, and no epsilon covers it."
        )
    return found


def powerless(membership: Mapping[str, Any]) -> list[str]:
    """Attacks that prove nothing, since they also fail where they must succeed."""
    return [
        f"{attack['target']}, {attack['name']}"
        for attack in membership["attacks"]
        if not membership_tables.can_succeed(attack)
    ]


def _changes(stated: Mapping[str, Any]) -> list[str]:
    kind, found = standing(stated), []
    if kind != FORMAL:
        found.append(
            f"A guarantee: {_WAYS.get(kind, '')}bin/train --epsilon=E, and the same measurements of that release. bin/evaluate "
            "--sweep=epsilon:1,3,10 shows what it costs in usefulness."
        )
    found += [
        "Another release from the same records: it adds to what is spent, this one's and that one's together.",
        "A better attack on what is published: one that finds more than those that were run shows what they missed.",
    ]
    if kind in (FORMAL, USELESS, LARGE_DELTA):
        found.append(
            "A lower bound above the accountant's epsilon: it would show that the accounting, or the program, is wrong."
        )
    return [
        *found,
        "Knowledge of who has several records: the unit of the guarantee would have to be the person.",
    ]


#: What has to be otherwise next time.
_WAYS = {
    VOID: "another release, without what makes this one void; ",
    BEFORE: "another release, by a later version; ",
    LARGE_DELTA: "a delta well below 1 / n, as it is by default; ",
}


def missing_kinds(documents: Mapping[str, Any]) -> list[str]:
    """Kinds of documents that every report should have, and this one does not."""
    return [kind for kind in KINDS if kind not in documents and kind not in _OPTIONAL]


def is_optional(kind: str) -> bool:
    """Whether a report is whole without a kind of document."""
    return kind in _OPTIONAL


_OPTIONAL = ("exposure", "audit")
