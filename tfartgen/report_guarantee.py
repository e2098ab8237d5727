# SPDX-License-Identifier: Apache-2.0
"""What a report says of the release and of its formal guarantee, from the privacy statement alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfartgen import deltas, report_releases, report_standing, statement
from tfartgen.evaluation_tables import Table
from tfartgen.released_data import ReleasedData
from tfartgen.report_blocks import Bullets, Facts, Figures, Section, Text
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

#: Innocent records of a hundred that a test accuses, where its power is told.
_FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)

#: Classes of which counts are given one by one.
_MOST_CLASSES = 50


def released_section(release: ReleasedData) -> Section:
    """What there is: images, classes, how labels were drawn, and what identifies it."""
    stated = release.statement
    height, width, channels = release.images.shape[1:]
    data_set = stated["data_set"]
    pairs = [
        ("Name", release.name),
        ("Images", f"{len(release.images):,}, all artificial"),
        ("Size", f"{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}"),
        ("Classes", f"{len(release.class_names)}"),
        ("Labels", _labels(stated)),
        ("Format", data_set["format"]),
        ("Drawn with the seed", str(data_set["seed"])),
        ("Digest", f"SHA-256 of privacy.json: {release.digest}"),
        (
            "Files",
            f"{len(stated['files'])}; the digest of each is in privacy.json, and was checked for this page",
        ),
    ]
    return Section(
        "released",
        "What was released",
        [
            Text(
                [
                    "Images with labels, each drawn by a neural network, the generator. It learned from private records only through "
                    f"the mechanisms{_and_choices(stated)} that are listed under the guarantee."
                ]
            ),
            Facts(pairs),
            _class_counts(release),
        ],
    )


def _and_choices(stated: Mapping[str, Any]) -> str:
    return " and choices" if stated["selected_on_private_data"] else ""


def _labels(stated: Mapping[str, Any]) -> str:
    kind = stated["label_policy"]["kind"]
    if kind == "noised" and stated["epsilon"] is not None:
        return f"{_POLICIES[kind]}, whose cost is in epsilon"
    return _POLICIES[kind]


_POLICIES = {
    "uniform": "every class equally likely, whatever the private records hold",
    "declared": "as frequent as in a histogram that the owner declared to be public",
    "noised": "as frequent as in a histogram that was released with noise",
}


def _class_counts(release: ReleasedData) -> Figures:
    counts = np.bincount(release.labels, minlength=len(release.class_names)).tolist()
    pairs = list(zip(release.class_names, counts))
    caption = "Artificial images of each class"
    if len(pairs) > _MOST_CLASSES:
        caption += f"; the first {_MOST_CLASSES} of {len(pairs)} classes"
    rows = tuple((name, f"{count:,}") for name, count in pairs[:_MOST_CLASSES])
    return Figures(caption, Table(("class", "images"), rows))


def guarantee_section(stated: Mapping[str, Any]) -> Section:
    """The guarantee in plain words and in numbers, and what it does not cover."""
    kind = standing(stated)
    over = report_standing.over_budget(stated)
    blocks: list[Any] = [
        *([Text(_STATED_BEFORE, important=True)] if statement.stated_before(stated) else []),
        Text([_headline(stated)], important=kind != FORMAL),
        *(Text([f"Warning: {each}."], important=True) for each in _warnings(stated)),
        *([Text([over], important=True)] if over else []),
        Text(_in_words(stated) if kind == FORMAL else _without(stated)),
    ]
    if kind == FORMAL:
        blocks.append(_test_power(stated))
    blocks.append(Bullets("The statement is void:", stated["void_reasons"]))
    blocks += [Facts(_facts(stated)), *_epsilons(stated), _mechanism(stated)]
    blocks += [
        Bullets(
            "Chosen by looking at the private data, which no epsilon covers:",
            stated["selected_on_private_data"],
        ),
        Bullets(
            "Training started from what the owner declared to be public:",
            stated.get("public_sources", []),
        ),
        Bullets("Not protected:", stated["not_protected"]),
        Bullets("About the random numbers:", stated["random_number_caveats"]),
        *report_releases.blocks(stated),
    ]
    return Section("guarantee", "The formal guarantee", blocks)


def _headline(stated: Mapping[str, Any]) -> str:
    if not statement.stated_before(stated):
        return stated["headline"]
    proven = "" if stated["epsilon"] is None else ", which is not proven"
    return f"tfartgen 0.1 stated{proven}: {stated['headline']}"


def _warnings(stated: Mapping[str, Any]) -> list[str]:
    """Those that the headline does not say."""
    return [each for each in stated.get("warnings", []) if each not in stated["headline"]]


_STATED_BEFORE = [
    "This statement was made by tfartgen 0.1. The noise of that version ended too early, and its keys could be guessed, so what is "
    "stated here is not proven: see SECURITY.md of tfartgen. Train and release again before you rely on it.",
]


def _without(stated: Mapping[str, Any]) -> list[str]:
    """What there is in place of a guarantee."""
    kind = standing(stated)
    reason = _REASONS[kind].format(without_noise=report_standing.without_noise(stated))
    return [
        reason if kind == LARGE_DELTA else f"{reason} {_WORST}",
        "Whatever is told below of the empirical estimate and of attacks is evidence about typical records and about the attacks "
        "that were run. It is not a substitute for a guarantee: nobody has shown that a better attack does not exist.",
    ]


_WORST = "In the worst case, one who knows all other records and looks for one unusual record may find it in the release."

_REASONS = {
    VOID: "There is no guarantee: the reasons for which the statement is void are below. The mechanisms are listed as they ran, and "
    "have no price.",
    BEFORE: "There is no guarantee that is proven. The figures below are repeated as that version stated them.",
    NOISELESS: "There is no guarantee. {without_noise}, and nothing bounds what such steps tell, however few they are.",
    LIMITED: "There is no guarantee. Noise was added and every step was counted, but the noise was so small beside the end of its "
    "draws that an outcome which only data with a certain record could have had may be likelier than delta allows.",
    LARGE_DELTA: "There is no guarantee at the delta that was chosen. Noise was added and every step was counted, and below is what "
    "that costs, at smaller deltas too; the statement promises none of it.",
    USELESS: "There is no guarantee of use. Noise was added and every step was counted, and epsilon says what that cost: too much to "
    "exclude anything.",
}


def _in_words(stated: Mapping[str, Any]) -> list[str]:
    epsilon, unit = stated["epsilon"], stated["unit"]
    several = (
        f" It is about {unit}: somebody with several records is protected less, the less the more they have."
        if "record" in unit
        else f" It is about {unit}."
    )
    return [
        f"Suppose that somebody knows every other record, and as much as they like besides, and asks whether one particular record "
        f"was in the training data. Whatever odds they gave it before, the release changes these odds by a factor of at most "
        f"e^{upwards(epsilon, 3)} = {upwards(math.exp(epsilon), 3)}, but for a chance of about {given(stated['delta'])} that it "
        "tells more.",
        "That holds against every method there is or will be, and whatever is done with the release afterwards, as far as the random "
        f"numbers are what they are taken for; see below.{several}",
        f"{report_releases.in_words(stated)} It does not speak of records that were held out from training, nor of what is told on "
        "this page beside the release.",
    ]


def _test_power(stated: Mapping[str, Any]) -> Figures:
    rows = tuple(
        (f"{100 * rate:g}", upwards(100 * most_found(stated["epsilon"], stated["delta"], rate), 3))
        for rate in _FALSE_POSITIVE_RATES
    )
    return Figures(
        "The same as a test: the most used records of a hundred that any test can find, which accuses so many unused ones of a "
        "hundred. A test that guesses finds as many as it accuses.",
        Table(("unused records accused, of 100", "used records found at most, of 100"), rows),
    )


def most_found(epsilon: float, delta: float, false_positive_rate: float) -> float:
    """The highest power of a test for membership at a false-positive rate (Kairouz, Oh and Viswanath 2015).

    Args:
      epsilon: finite.
      delta: within [0, 1].
      false_positive_rate: within [0, 1].

    Returns:
      The smaller of `e^epsilon a + delta` and `1 - e^-epsilon (1 - delta - a)`, at most 1.
    """
    few = math.exp(min(epsilon, 700.0)) * false_positive_rate + delta
    many = 1 - math.exp(-epsilon) * (1 - delta - false_positive_rate)
    return min(few, many, 1.0)


def _facts(stated: Mapping[str, Any]) -> list[tuple[str, str]]:
    accountant = stated["accountant"]
    pairs = [
        ("Epsilon", _epsilon(stated)),
        *_of_ideal_noise(stated),
        ("Budget", _budget(stated)),
        ("Neighbouring data sets", stated["neighbouring_relation"]),
        ("Unit", stated["unit"]),
        ("Number n of them in training", _num_records(stated)),
        ("Held out from training", "not read by it, and not covered"),
        ("Delta beside 1 / n", _beside_n(stated)),
        ("Accountant", f"{accountant['name']} of {accountant['library']} {accountant['version']}"),
        ("By Rényi accounting, for comparison", number(stated["epsilon_rdp"])),
        ("Steps of the critic", f"{stated['critic_steps']:,}"),
    ]
    bound = report_standing.loss_bound(stated)
    if bound is not None:
        of = (
            ""
            if bound.proven
            else ", of noise without an end; a critic's draws end, which is left to delta"
        )
        pairs.append(("Bound on the expected loss (KL)", f"{upwards(bound.nats, 3)} nats{of}"))
    return pairs


def _epsilon(stated: Mapping[str, Any]) -> str:
    kind, delta = standing(stated), given(stated["delta"])
    if kind == VOID:
        return "none, since the statement is void"
    if stated["epsilon"] is None:
        return f"none: unbounded at delta = {delta}"
    before = ", as tfartgen 0.1 stated it; not proven" if kind == BEFORE else ""
    return f"{number(stated['epsilon'])} at delta = {delta}{before}"


def _of_ideal_noise(stated: Mapping[str, Any]) -> list[tuple[str, str]]:
    if standing(stated) != LIMITED or stated.get("ideal_epsilon") is None:
        return []
    return [("If noise had no end", f"epsilon = {number(stated['ideal_epsilon'])}; it had one")]


def _budget(stated: Mapping[str, Any]) -> str:
    budget, kind = stated["budget_epsilon"], standing(stated)
    if budget is None:
        return "none is stated"
    figure = f"epsilon = {given(budget)}"
    if kind == VOID:
        return f"{figure} was asked for; a statement that is void keeps none"
    if kind == BEFORE:
        return f"{figure}, kept by the accounting of tfartgen 0.1; not proven"
    if report_standing.over_budget(stated):
        return f"{figure}, which this release exceeds"
    return f"{figure}, which training could not exceed"


def _num_records(stated: Mapping[str, Any]) -> str:
    if "num_records" not in stated:
        return "not stated; it is public all the same"
    return f"{stated['num_records']:,}, which is public, and the same in neighbouring data sets"


def _beside_n(stated: Mapping[str, Any]) -> str:
    """How large delta is where one over the number of records is the chance to be published whole."""
    if "num_records" not in stated:
        return "n is not stated, so whoever knows it has to compare; delta should be well below"
    share = upwards(stated["delta"] * stated["num_records"], 2)
    told = "well below" if deltas.warning(stated["delta"], stated["num_records"]) is None else None
    return f"{share} of it, {told or 'where it should be well below'}"


def _epsilons(stated: Mapping[str, Any]) -> list[Figures]:
    if all(each["epsilon"] is None for each in stated["epsilons"]):
        return []
    rows = tuple((given(each["delta"]), number(each["epsilon"])) for each in stated["epsilons"])
    before = ", as tfartgen 0.1 stated it" if statement.stated_before(stated) else ""
    caption = f"The same release at other deltas{before}"
    return [Figures(caption, Table(("delta", "epsilon"), rows))]


def _mechanism(stated: Mapping[str, Any]) -> Figures:
    """What ran, the class histogram too."""
    steps, policy = list(stated["mechanism"]), statement.label_policy(stated)
    histogram = None if policy is None else policy.stretch()
    if histogram is not None:
        steps.append({**histogram.as_json(), "stage": "class histogram"})
    caption = "All mechanisms that read the private records for this release"
    if standing(stated) not in (VOID, BEFORE):
        caption += ", and what anyone needs to price them again"
    return report_releases.mechanism_table(caption, steps)
