# SPDX-License-Identifier: Apache-2.0
"""Membership attacks and the audit as text, for a terminal of 80 columns and for Markdown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from tfartgen import audit
from tfartgen.evaluation_tables import Table, percent
from tfartgen.rounding import downwards, upwards_with_commas

_WIDTH = 79

#: An AUC from which an attack counts as one that can succeed.
_SUCCEEDS = 0.9


def table(document: Mapping[str, Any]) -> Table:
    """Area under the ROC curve, accuracy, and members found at low false-positive rates."""
    rates = document["settings"]["false_positive_rates"]
    header = ("attack", "AUC", "accuracy %", *(f"at {100 * rate:g}% FPR" for rate in rates))
    rows = []
    for attack in document["attacks"]:
        for role in ("main", "control", "memorised"):
            name = f"{attack['target']}: {attack['name']}" if role == "main" else _ROLES[role]
            rows.append((name, *_cells(attack[role], rates)))
    return Table(header, tuple(rows))


_ROLES = {"control": "  control, unseen", "memorised": "  memorised"}


def _cells(found: Mapping[str, Any], rates: Any) -> tuple[str, ...]:
    auc, accuracy = found["auc"], found["accuracy"]
    by_rate = {each["false_positive_rate"]: each for each in found["true_positive_rates"]}
    return (
        f"{auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})",
        percent(accuracy["rate"]),
        *(percent(by_rate[rate]["rate"]) if rate in by_rate else "-" for rate in rates),
    )


def text(document: Mapping[str, Any]) -> str:
    """The attacks one under the other, and what they mean, at most 80 columns wide."""
    data = document["dataset"]
    lines = [
        f"Membership in the {data['num_train']:,} training records of {data['name']}: {data['num_members']:,} members, "
        f"{data['num_non_members']:,} non-members, {data['num_references']:,} references"
    ]
    parts = [_filled(line) for line in lines]
    parts.append(_stacked(document))
    parts.append("\n".join(_filled(line) for line in headline(document)))
    return "\n\n".join(parts)


def _stacked(document: Mapping[str, Any]) -> str:
    """The table with the name of each attack on a line of its own."""
    full = table(document)
    rows = []
    for name, *cells in full.rows:
        rows += [(name, *cells)] if name.startswith("  ") else [("  attack", *cells)]
    names = [row[0] for row in full.rows]
    blocks = []
    for part in _that_fit(Table(("", *full.header[1:]), tuple(rows))):
        lines = part.text().splitlines()
        shown = [lines[0]]
        for name, line in zip(names, lines[1:]):
            shown += [line] if name.startswith("  ") else [name, line]
        blocks.append("\n".join(shown))
    return "\n\n".join(blocks)


def _that_fit(whole: Table) -> list[Table]:
    """The table, or where it is too wide several that have its first column in common."""
    columns = list(zip(whole.header, *whole.rows))
    parts = [columns[:2]]
    for column in columns[2:]:
        if sum(max(map(len, each)) + 2 for each in (*parts[-1], column)) - 2 > _WIDTH:
            parts.append([columns[0]])
        parts[-1].append(column)
    return [Table(header, tuple(rows)) for header, *rows in (zip(*part) for part in parts)]


def headline(document: Mapping[str, Any]) -> list[str]:
    """What the figures say, in sentences."""
    sentences = [
        "AUC with its 95% interval (0.5 is chance), balanced accuracy, and the share of members found where so many "
        "non-members are called members. Intervals are over candidates, of one target each. The control never saw "
        "the candidates; another target was made to memorise its own.",
    ]
    for attack in document["attacks"]:
        sentences.append(_verdict(attack))
    if any(not attack["published"] for attack in document["attacks"]):
        sentences.append(
            "Critics and students of real data are no part of a release; their figures show why."
        )
    return [f"* {sentence}" for sentence in sentences]


def _verdict(attack: Mapping[str, Any]) -> str:
    """Whether more is found than in the control, and whether the attack could have found it."""
    main, control, memorised = (attack[role]["auc"] for role in ("main", "control", "memorised"))
    name = f"{attack['target']}, {attack['name']}"
    name = name[0].upper() + name[1:]
    if not can_succeed(attack):
        interval = f"{memorised['low']:.2f} to {memorised['high']:.2f}"
        can = f"finds only {memorised['value']:.2f} ({interval}) in what memorised, so it proves little"
    else:
        can = f"could have succeeded ({memorised['value']:.2f} in what memorised)"
    found = "is below chance" if main["high"] < 0.5 else "is at chance"
    if main["low"] > 0.5:
        found = "finds members" if finds_members(attack) else "finds no more than in the control"
    if not control["low"] <= 0.5 <= control["high"]:
        found += f" (members and non-members differ by themselves: control {control['value']:.3f})"
    return f"{name}: {found}; it {can}."


def can_succeed(attack: Mapping[str, Any]) -> bool:
    """Whether an attack finds the records of what memorised them: if it does not, it proves little.

    Few records may be told by luck, so the interval must be above chance as well.
    """
    memorised = attack["memorised"]["auc"]
    return memorised["value"] >= _SUCCEEDS and memorised["low"] > 0.5


def finds_members(attack: Mapping[str, Any]) -> bool:
    """Whether the AUC is above chance and above the control's, each by its 95% interval.

    The interval of the difference combines those of both (Zou and Donner 2008, Statistics in Medicine 27:1693-1702).
    """
    main, control = attack["main"]["auc"], attack["control"]["auc"]
    difference = main["value"] - control["value"]
    margin = math.hypot(main["value"] - main["low"], control["high"] - control["value"])
    return main["low"] > 0.5 and difference > margin


def audit_text(document: Mapping[str, Any]) -> str:
    """What an audit found, at most 80 columns wide."""
    data = document["dataset"]
    title = (
        f"Audit of a training on {data['num_train']:,} records of {data['name']}: {document['candidates']} canaries, "
        f"{document['included']} of them planted by coins"
    )
    rows = [
        (
            f"guessed from the {_SCORE_NAMES[kind]}",
            f"{found['correct']} of {found['guesses']}",
            "-" if found["auc"] is None else f"{found['auc']:.3f}",
            downwards(found["lower_bound"]),
        )
        for kind, found in document["scores"].items()
    ]
    table = Table(("", "right", "AUC", "epsilon >="), tuple(rows)).text()
    sentences = "\n".join(_filled(f"* {line}") for line in audit_sentences(document))
    return "\n\n".join([_filled(title), table, sentences])


def audit_sentences(document: Mapping[str, Any]) -> list[str]:
    """The lower bound beside what the accountant says, and what the two mean together."""
    accountant, upper = document["accountant"], document["accountant"]["epsilon"]
    proven = "the accountant has no upper bound for it"
    if upper is not None:
        proven = f"the accountant says at most {upwards_with_commas(upper)} at delta {accountant['delta']:g}"
    return [
        f"epsilon is at least {downwards(document['lower_bound'])} with {100 * document['confidence']:g}% confidence (Steinke et "
        f"al. 2023), and {proven}.",
        _nesting(document),
    ]


_SCORE_NAMES = {"critic": "critic", "release": "noised mean embedding"}


def _nesting(document: Mapping[str, Any]) -> str:
    if not document["consistent"]:
        return (
            "THE LOWER BOUND IS ABOVE THE ACCOUNTANT'S EPSILON: the training spends more than it says. Do not publish "
            "what it made, and report this as a bug."
        )
    return (
        f"The bounds nest. The most that this audit could have shown is {downwards(_most(document))}, by right guesses alone. A "
        "low lower bound proves nothing by itself: hold it against the same audit with no noise, or next to none "
        "(--train_setting=noise_multiplier=0 or epsilon=1000): that shows what these canaries can tell."
    )


def _most(document: Mapping[str, Any]) -> float:
    """The lower bound of an audit none of whose guesses is wrong."""
    candidates, delta = document["candidates"], document["accountant"]["delta"]
    confidence = 1 - (1 - document["confidence"]) / len(document["scores"])
    return max(
        audit.epsilon_lower_bound(found["guesses"], found["guesses"], candidates, delta, confidence)
        for found in document["scores"].values()
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)
