# SPDX-License-Identifier: Apache-2.0
"""What a report says of the release and of its formal guarantee, from the privacy statement alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfartgen import statement
from tfartgen.evaluation_tables import Table
from tfartgen.released_data import ReleasedData
from tfartgen.report_blocks import Bullets, Facts, Figures, Section, Text
from tfartgen.rounding import upwards, upwards_with_commas

#: Innocent records of a hundred that a test accuses, where its power is told.
_FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)

#: Classes of which counts are given one by one.
_MOST_CLASSES = 50


def released_section(release: ReleasedData) -> Section:
    """What there is: images, classes, how labels were drawn, and what identifies it."""
    stated = release.statement
    height, width, channels = release.images.shape[1:]
    data_set, policy = stated["data_set"], stated["label_policy"]
    pairs = [
        ("Name", release.name),
        ("Images", f"{len(release.images):,}, all artificial"),
        ("Size", f"{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}"),
        ("Classes", f"{len(release.class_names)}"),
        ("Labels", _POLICIES[policy["kind"]]),
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
                    "Images with labels, each drawn by a neural network, the generator. It learned from private records, and from them "
                    "only through the mechanisms that are listed under the guarantee."
                ]
            ),
            Facts(pairs),
            _class_counts(release),
        ],
    )


_POLICIES = {
    "uniform": "every class equally likely, whatever the private records hold",
    "declared": "as frequent as in a histogram that the owner declared to be public",
    "noised": "as frequent as in a histogram that was released with noise, which epsilon covers",
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
    formal = stated["guarantee"] == "formal"
    blocks: list[Any] = [
        *([Text(_BEFORE, important=True)] if statement.stated_before(stated) else []),
        Text([stated["headline"]], important=not formal),
        Text(_in_words(stated) if formal else _WITHOUT),
    ]
    if formal:
        blocks.append(_test_power(stated))
    if stated["void_reasons"]:
        blocks.append(Bullets("The statement is void:", stated["void_reasons"]))
    blocks += [Facts(_facts(stated)), *_epsilons(stated), _mechanism(stated["mechanism"])]
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
    ]
    return Section("guarantee", "The formal guarantee", blocks)


_BEFORE = [
    "This statement was made by tfartgen 0.1. The noise of that version ended too early, and its keys could be guessed, so what is "
    "stated here is not proven: see SECURITY.md of tfartgen. Train and release again before you rely on it.",
]

_WITHOUT = [
    "There is no formal guarantee that is worth the name. Every step was counted, and what is below says what it cost; it is too "
    "much to exclude anything. In the worst case, one who knows all other records and looks for one "
    "unusual record may find it in the release.",
    "What is below under the empirical estimate and attacks is evidence about typical records and about the attacks that were "
    "run. It is not a substitute for a guarantee: nobody has shown that a better attack does not exist.",
]


def _in_words(stated: Mapping[str, Any]) -> list[str]:
    epsilon, delta = stated["epsilon"], stated["delta"]
    return [
        f"Suppose that somebody knows every other record, all of this page, and as much as they like besides, and asks whether one "
        f"particular record was in the training data. Whatever odds they gave it before, the release changes these odds by a "
        f"factor of at most e^{upwards(epsilon, 3)} = {upwards(math.exp(epsilon), 3)}, but for a chance of about {delta:g} that it tells more.",
        "That holds against every method there is or will be, and whatever is done with the release afterwards. It is about "
        f"{stated['unit']}: somebody with several records is protected less, the less the more they have.",
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
    accountant, budget = stated["accountant"], stated["budget_epsilon"]
    pairs = [
        ("Epsilon", f"{number(stated['epsilon'])} at delta = {stated['delta']:g}"),
        (
            "Budget",
            (
                "none was set"
                if budget is None
                else f"epsilon = {budget:g}, which the run could not exceed"
            ),
        ),
        ("Neighbouring data sets", stated["neighbouring_relation"]),
        ("Unit", stated["unit"]),
        ("Accountant", f"{accountant['name']} of {accountant['library']} {accountant['version']}"),
        ("By Rényi accounting, for comparison", number(stated["epsilon_rdp"])),
        ("Steps of the critic", f"{stated['critic_steps']:,}"),
    ]
    if stated.get("kl_bound") is not None:
        pairs.append(("Bound on the expected loss (KL)", f"{upwards(stated['kl_bound'], 3)} nats"))
    return pairs


def number(value: float | None) -> str:
    """A bound, rounded up to four digits or to a whole number with commas; none where there is none."""
    if value is None:
        return "none"
    return upwards_with_commas(value)


def _epsilons(stated: Mapping[str, Any]) -> list[Figures]:
    rows = tuple((f"{each['delta']:g}", number(each["epsilon"])) for each in stated["epsilons"])
    return (
        [Figures("The same release at other deltas", Table(("delta", "epsilon"), rows))]
        if rows
        else []
    )


def _mechanism(steps: Sequence[Mapping[str, Any]]) -> Figures:
    keys = (
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
    shown = [key for key in keys if any(key in each for each in steps)]
    rows = tuple(tuple(_cell(each.get(key)) for key in shown) for each in steps)
    return Figures(
        "All that touched the private records, and what anyone needs to price it again",
        Table(tuple(key.replace("_", " ") for key in shown), rows),
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}" if isinstance(value, int) else str(value)
    )
