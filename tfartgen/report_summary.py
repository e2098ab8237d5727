# SPDX-License-Identifier: Apache-2.0
"""What is known about a release, what is not, and what would change it. No verdict: the decision is the owner's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen import membership_tables, privacy_estimate_tables, statement
from tfartgen.evaluation_tables import percent, row_name
from tfartgen.inversion_tables import TARGET_NAMES
from tfartgen.report_blocks import Bullets, Section
from tfartgen.report_documents import KINDS
from tfartgen.rounding import upwards


def section(
    stated: Mapping[str, Any],
    known: Sequence[str],
    powerless: Sequence[str],
    copies: Optional[int],
    missing: Sequence[str],
) -> Section:
    """The lists that a decision needs.

    Args:
      stated: the release's privacy statement.
      known: what `known` says of the documents, as far as there are any.
      powerless: attacks that `powerless` names.
      copies: artificial images that equal a training record; None if nobody looked.
      missing: kinds of documents that there are none of.
    """
    found = [_guarantee(stated), *known]
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
            Bullets("Not known:", _unknown(stated, powerless, copies, missing)),
            Bullets("What would change it:", _changes(stated)),
        ],
    )


def known(kind: str, document: Mapping[str, Any]) -> list[str]:
    """What one document says, in a sentence or none."""
    return _KNOWN[kind](document) if kind in _KNOWN else []


def _guarantee(stated: Mapping[str, Any]) -> str:
    if stated["guarantee"] != "formal":
        return "Guarantee: none of use. What the training spent was counted, and is too much to exclude anything."
    epsilon = stated["epsilon"]
    if statement.stated_before(stated):
        return (
            f"Guarantee: not proven. tfartgen 0.1 stated epsilon = {upwards(epsilon)} at delta = {stated['delta']:g}, which its noise "
            "did not keep (SECURITY.md of tfartgen)."
        )
    return (
        f"Guarantee: epsilon = {upwards(epsilon)} at delta = {stated['delta']:g} for {stated['unit']}, whatever the attacker knows and "
        f"does: the odds that a record was used change by a factor of at most {upwards(math.exp(epsilon), 3)}, but for that delta."
    )


def _usefulness(document: Mapping[str, Any]) -> list[str]:
    rows = document.get("table", [])
    last = [row for row in rows if row["architecture"] == rows[-1]["architecture"]]
    if not any(row["method"] == "artificial" for row in last):
        return []
    figures = "; ".join(f"{row_name(row)} {percent(row['accuracy']['mean'])}%" for row in last)
    return [
        f"Usefulness, accuracy on real test images of the strongest classifier trained on: {figures}."
    ]


def _estimate(document: Mapping[str, Any]) -> list[str]:
    low, high = document["members_to_controls_interval"]
    told = "more than" if low > 1 else "less than" if high < 1 else "no more than"
    ratio = privacy_estimate_tables.ratio(document["members_to_controls"])
    interval = privacy_estimate_tables.interval(low, high)
    return [
        f"Estimate: typical training records lose {told} records that were not trained on ({ratio} times, 99%: {interval}). No "
        "proof; read it with its calibration."
    ]


def _membership(document: Mapping[str, Any]) -> list[str]:
    published = [attack for attack in document["attacks"] if attack["published"]]
    found = [attack for attack in published if membership_tables.finds_members(attack)]
    best = max(published, key=lambda attack: attack["main"]["auc"]["value"], default=None)
    if best is None:
        return []
    auc = best["main"]["auc"]
    return [
        f"Membership: {len(found)} of {len(published)} attacks on what is published tell members from others better than they tell "
        f"a control's; the highest AUC is {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}), 0.5 is chance."
    ]


def _inversion(document: Mapping[str, Any]) -> list[str]:
    rows = [
        row for row in document["rows"] if row["target"] in ("real", "artificial") and "top1" in row
    ]
    told = []
    for target in dict.fromkeys(row["target"] for row in rows):
        best = max(row["top1"]["rate"] for row in rows if row["target"] == target)
        told.append(f"{percent(best, 0)}% from a classifier of {TARGET_NAMES[target]}")
    if not told:
        return []
    return [
        f"Inversion: at most, classes were identified in {' and '.join(told)}; chance is {percent(document['chance'], 0)}%. "
        "Whether that harms somebody depends on what a class is: for faces, a person."
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
) -> list[str]:
    found = []
    if stated["guarantee"] != "formal":
        found.append(
            "The worst case. Attacks and estimates are about typical records and known methods; an unusual record may be far more "
            "exposed than they say."
        )
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
            f"Whether members can be told by: {'; '.join(powerless)}. These attacks fail on what memorised, too."
        )
    found += [
        "Attacks that nobody ran. What fails today says nothing of better ones; a guarantee does.",
        "Chance of the training: one generator was trained, and intervals are over classifiers and candidates of that one.",
        "People with several records, and what records have in common: see what is not protected.",
        "The price of this page: its figures were computed from the real records, and no epsilon covers them.",
    ]
    return found


def powerless(membership: Mapping[str, Any]) -> list[str]:
    """Attacks that prove nothing, since they also fail where they must succeed."""
    return [
        f"{attack['target']}, {attack['name']}"
        for attack in membership["attacks"]
        if not membership_tables.can_succeed(attack)
    ]


def _changes(stated: Mapping[str, Any]) -> list[str]:
    found = []
    if stated["guarantee"] != "formal":
        found.append(
            "A guarantee: bin/train --epsilon=E --delta=D, and the same measurements of that release. bin/evaluate "
            "--sweep=epsilon:1,3,10 shows what it costs in usefulness."
        )
    return [
        *found,
        "Another release from the same records: it adds to what is spent, this one's and that one's together.",
        "An attack on what is published that finds more than in its control, or a lower bound above the accountant's epsilon: either "
        "would show that more is given away than is said here.",
        "Knowledge of who has several records: the unit of the guarantee would have to be the person.",
    ]


def missing_kinds(documents: Mapping[str, Any]) -> list[str]:
    """Kinds of documents that every report should have, and this one does not."""
    return [kind for kind in KINDS if kind not in documents and kind not in _OPTIONAL]


def is_optional(kind: str) -> bool:
    """Whether a report is whole without a kind of document."""
    return kind in _OPTIONAL


_OPTIONAL = ("exposure", "audit")
