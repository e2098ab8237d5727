# SPDX-License-Identifier: Apache-2.0
"""A privacy estimate as text, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from tfartgen.privacy_estimate import LARGEST_RATIO
from tfartgen.rounding import downwards, upwards

#: What the bounds are called, and whether they hold with estimated moments.
BOUND_NAMES = {
    "chebyshev": "Chebyshev",
    "cantelli": "Cantelli",
    "saw_yang_mo": "Saw-Yang-Mo",
    "one_sided": "one-sided",
}
IMITATION_NAMES = {
    "neighbours": "the record's examples taken out, by k nearest neighbours",
    "mixture": "a copier fitted to the release",
}
_WIDTH = 79


def text(document: Mapping[str, Any]) -> str:
    """All that a person needs to read: what was estimated, how far it can be trusted, and beside what it stands."""
    parts = [
        _loss(document),
        _wrapped(flags(document)),
        _mu(document),
        _wrapped([calibration(document)]),
        _wrapped(formal(document)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _loss(document: Mapping[str, Any]) -> list[str]:
    settings, controls = document["settings"], document["controls"]
    count = document["release"]["num_examples"]
    at_least = "at least " if document["mean_is_at_least"] else ""
    lines = [
        f"Estimate of the expected privacy loss of leaving one record out, in {_space(settings)}, k = {settings['k']}: "
        "an estimate about typical records, not a guarantee.",
        "",
    ]
    lines[:1] = _wrap(lines[0])
    rows = [
        ("Mean loss", f"{at_least}{document['mean_loss']:.3g} nats per artificial example"),
        (
            "  range",
            f"{document['mean_loss_low']:.3g} to {document['mean_loss_high']:.3g}"
            + (" or more" if at_least else ""),
        ),
        (
            "  per release",
            f"{at_least}{document['mean_loss'] * count:.3g} nats for {count:,} examples",
        ),
        ("  imitation", IMITATION_NAMES[document["imitation"]]),
        *(
            (f"    {name}", f"{each['mean']:.3g} +- {2 * each['standard_error']:.2g}")
            for name, each in document["imitations"].items()
        ),
        (
            "Members / controls",
            f"{ratio(document['members_to_controls'])} "
            f"(99%: {interval(*document['members_to_controls_interval'])}), {controls['count']:,} of each",
        ),
        (
            "Saturated",
            f"{document['saturated_share']:.2%} of the records; they own "
            f"{document['saturated_owned_share']:.2%} of the examples",
        ),
    ]
    return lines + [f"{name:<21}{value}" for name, value in rows]


def ratio(value: float) -> str:
    """A ratio of losses; the largest is told as 'or more'."""
    # As in the figure: rounding may leave the largest a little below.
    most = value >= LARGEST_RATIO * (1 - 1e-9)
    return f"{LARGEST_RATIO:,.0f} or more" if most else f"{value:.3g}"


def interval(low: float, high: float) -> str:
    """Of ratios; one that is open above is told by its lower end."""
    if low >= LARGEST_RATIO * (1 - 1e-9):
        return ratio(low)
    if high >= LARGEST_RATIO * (1 - 1e-9):
        return f"{low:.3g} or more"
    return f"{low:.3g} to {high:.3g}"


def _space(settings: Mapping[str, Any]) -> str:
    names = {
        "pixels": "{} pixels",
        "pca": "{} principal components of pixels",
        "student": "{} principal components of a classifier's features",
    }
    return names[settings["space"]].format(settings["dimensions"])


def flags(document: Mapping[str, Any]) -> list[str]:
    """Why true losses are larger than those given, in sentences; empty if nothing says so."""
    sentences, structure = [], document["structure"]
    if document["mean_is_at_least"]:
        sentences.append(
            "Saturated: samples resolve no more where these records' examples lie, so that true losses are larger "
            "than those given."
        )
    if structure["is_clumped"]:
        sentences.append(
            f"Clumped: the examples huddle (ratio {structure['clumping']:.2f}, 1 for a smooth density), as copies and "
            "blends of few records do. Losses may be far larger than those given."
        )
    return sentences


def _mu(document: Mapping[str, Any]) -> list[str]:
    examples = document["release"]["num_examples"]
    lines = [
        "mu: all but a share gamma of the records lose at most this, in nats",
        f"{'':>7} {'per artificial example':>32}   {f'per release of {examples:,}':>33}",
        f"{'gamma':>7} {'plug-in':>21} {'holds':>10}   {'plug-in':>21} {'holds':>11}",
        f"{'':>7} {'Chebyshev':>10} {'Cantelli':>10} {'Saw-Y.-M.':>10}   {'Chebyshev':>10} {'Cantelli':>10} {'Saw-Y.-M.':>11}",
    ]
    for row in document["mu"]:
        if row["refused"]:
            lines += _wrap(f"{row['gamma']:>7g}  none: {row['refused']}", " " * 15)
            continue
        cells = [
            f"{upwards(row['bounds'][name][unit], 3):>10}"
            for unit in ("per_example", "per_release")
            for name in ("chebyshev", "cantelli", "saw_yang_mo")
        ]
        lines.append(f"{row['gamma']:>7g} {' '.join(cells[:3])}   {' '.join(cells[3:])}")
    if any("gamma_left" in row and not row["refused"] for row in document["mu"]):
        lines += _wrap(_of_saturated(document["mu"][0]))
    proven = [row for row in document["mu"] if row["least_by"] == "proof"]
    if proven:
        lines += _wrap(
            f"For a whole release less is proven, and holds for every record: {upwards(proven[0]['least_per_release'], 3)} nats."
        )
    return lines


def _of_saturated(row: Mapping[str, Any]) -> str:
    """What saturated records cost each gamma, in a sentence; documents before 0.2 do not tell it."""
    others = row["records"] - row["saturated"]
    return (
        f"A saturated record counts as above mu: mean and deviation are those of the other {others:,} records, and each bound "
        f"is for gamma less {upwards(row['saturated_limit'], 3)}, the upper 99% limit of their share."
    )


def calibration(document: Mapping[str, Any]) -> str:
    """What the estimate says of changes whose size is known, in sentences."""
    calibrated, check = document["calibration"], document["copier_check"]
    divergence = calibrated["divergence"]
    return (
        f"Calibration: of a shift with a KL of {divergence:g} nats the neighbours see "
        f"{calibrated['ratio']:.2f} times ({calibrated['ratio_low']:.2f} to {calibrated['ratio_high']:.2f}) that, with "
        f"{calibrated['first_count']:,} examples on each side. Of a copier like the one fitted here, whose mean loss "
        f"is {check['known']:.3g}, the neighbours say {check['neighbours']:.3g} and the mixture {check['mixture']:.3g}."
    )


def formal(document: Mapping[str, Any]) -> list[str]:
    """What an attack proves, and what the accountant does, in sentences."""
    found = document["formal"]
    epsilon, kl_bound = found["epsilon"], found["kl_bound"]
    sentences = [
        f"Attack: epsilon is at least {downwards(found['attack_lower_bound'])} (95%), by guessing members from their losses."
    ]
    if epsilon is None:
        return [*sentences, "Formal: none; the release's statement bounds nothing."]
    sentences.append(
        f"Formal: epsilon = {upwards(epsilon)} at delta = {found['delta']:g}. {nesting(found)}"
    )
    if kl_bound is not None:
        sentences.append(
            f"Formal bound on the expected loss (KL): {upwards(kl_bound, 3)} nats. {beside_bound(found)}"
        )
    return sentences


def nesting(formal: Mapping[str, Any]) -> str:
    """Whether the attack's bound is below the accountant's."""
    if formal["nests"]:
        return "The attack's bound is below it, as it must be."
    return (
        "THE ATTACK'S BOUND IS ABOVE IT: either controls are not of the members' population, or the accounting is wrong. "
        "Trust neither until it is known which."
    )


def beside_bound(formal: Mapping[str, Any]) -> str:
    """Why an estimate is above, or below, what is proven."""
    if formal["mean_loss_within_kl_bound"]:
        return "The estimate of a whole release is below it."
    return (
        f"The estimate of a whole release, {formal['mean_loss_per_release']:.3g}, is above it, and the bound holds: "
        "the imitation puts all that the release has near a record down to that record, and adds examples up as if they "
        "were trained apart."
    )


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return [line for sentence in sentences for line in _wrap(sentence)]


def _wrap(sentence: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(sentence, _WIDTH, subsequent_indent=indent, break_long_words=False)
