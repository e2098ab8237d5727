# SPDX-License-Identifier: Apache-2.0
"""What a report says of the documents it gathers: the estimate, the attacks, the usefulness. Aggregates, no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfartgen import (
    evaluation_tables,
    inversion_tables,
    membership_tables,
    privacy_estimate_tables,
    report_figures,
)
from tfartgen.evaluation_tables import Table
from tfartgen.report_blocks import Block, Bullets, Chart, Facts, Figures, Text

Document = Mapping[str, Any]


def estimate_blocks(document: Document) -> list[Block]:
    """The empirical estimate: what was found, how far it can be trusted, and beside what it stands."""
    examples, controls = document["release"]["num_examples"], document["controls"]
    interval = privacy_estimate_tables.interval(*document["members_to_controls_interval"])
    ratio = privacy_estimate_tables.ratio(document["members_to_controls"])
    blocks: list[Block] = [
        Text(
            [
                "How much would the release change if one record were left out? This was estimated from samples, for every "
                "training record that was looked at. It is an estimate about typical records, and no guarantee: it can "
                "miss what one unusual record adds."
            ]
        ),
        *[Text([line], important=True) for line in privacy_estimate_tables.flags(document)],
        Facts(
            [
                ("Mean loss, whole release", _mean_loss(document, examples)),
                ("Records looked at", f"{document['dataset']['num_members']:,} training records"),
                (
                    "Beside records not trained on",
                    f"{ratio} times theirs (99%: {interval}), {controls['count']:,} of each",
                ),
                ("Records beyond what samples resolve", f"{document['saturated_share']:.2%}"),
            ]
        ),
        Text([_members_and_controls(document)]),
    ]
    chart = report_figures.mu(document)
    if chart is not None:
        blocks.append(
            Chart(
                "Losses that all but a share of the records stay below, for the whole release",
                "The bound falls as the share of records that may exceed it grows; the numbers are in the table.",
                chart,
            )
        )
    blocks += [
        *_mu(document, examples),
        *_calibration(document),
        Bullets("Beside what is proven:", privacy_estimate_tables.formal(document)),
    ]
    return blocks


def _mean_loss(document: Document, examples: int) -> str:
    least = "at least " if document["mean_is_at_least"] else ""
    mean, low, high = (
        examples * document[key] for key in ("mean_loss", "mean_loss_low", "mean_loss_high")
    )
    return f"{least}{mean:.3g} nats (range {low:.3g} to {high:.3g}) for {examples:,} examples"


def _members_and_controls(document: Document) -> str:
    low, high = document["members_to_controls_interval"]
    if low > 1:
        return (
            "Training records lose more than records that were not trained on. Either the release holds something of its own "
            "records, beyond what they share with others, or the two groups differ by themselves; the controls of the membership "
            "attacks tell whether they do."
        )
    if high < 1:
        return (
            "Training records lose less than records that were not trained on. Chance seldom does that: the two groups may "
            "differ by themselves, and then they say little about each other."
        )
    return (
        "Training records lose no more than records that were not trained on, as far as this many of each can tell: what is "
        "estimated here is mostly the population, not its members."
    )


def _mu(document: Document, examples: int) -> list[Block]:
    rows, refusals = [], []
    for row in document["mu"]:
        if row["refused"]:
            refusals.append(f"{row['gamma']:g}: {row['refused']}")
        bounds = ("-", "-") if row["refused"] else _bounds(row["bounds"])
        least = row["least_per_release"]
        known = "-" if least is None else f"{least:.3g} ({_LEAST_BY[row['least_by']]})"
        rows.append((f"{row['gamma']:g}", *bounds, known))
    header = ("gamma", "Chebyshev", "Saw, Yang and Mo", "least known")
    caption = (
        f"mu in nats for the release of {examples:,}: all but a share gamma of the records lose at most this. Chebyshev's takes "
        "estimated moments for true ones; Saw, Yang and Mo's does not."
    )
    return [
        Figures(caption, Table(header, tuple(rows))),
        Bullets("There is no such bound at gamma", refusals),
    ]


def _bounds(found: Document) -> tuple[str, ...]:
    return tuple(f"{found[name]['per_release']:.3g}" for name in ("chebyshev", "saw_yang_mo"))


_LEAST_BY = {"estimate": "estimated", "proof": "proven"}


def _calibration(document: Document) -> list[Block]:
    calibrated = document["calibration"]
    supported = "supports" if calibrated["supported"] else "does NOT support"
    sentence = f"Calibration {supported} this estimate: {calibrated['reason']}."
    return [
        Text([sentence], important=not calibrated["supported"]),
        Text(
            [_capital(privacy_estimate_tables.calibration(document).removeprefix("Calibration: "))]
        ),
    ]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def membership_blocks(document: Document) -> list[Block]:
    """Membership inference, its control, and what it finds where it must."""
    data = document["dataset"]
    return [
        Text(
            [
                f"Given a record, was it in the training data? {data['num_members']:,} training records and "
                f"{data['num_non_members']:,} others were to be told apart. An AUC of 0.5 is chance, 1 is certainty. Each attack "
                "also ran on a control that never saw the records, where it must be at chance, and on something that memorised "
                "them, where it must succeed."
            ]
        ),
        Chart(
            "Membership inference: area under the ROC curve, with 95% intervals",
            "One row for each attack; chance is marked at one half. The numbers are in the table.",
            report_figures.membership(document),
        ),
        Figures(
            "Attacks, each above its control and what memorised", membership_tables.table(document)
        ),
        Bullets("What that says:", _plain(membership_tables.headline(document))),
    ]


def inversion_blocks(document: Document) -> list[Block]:
    """Model inversion: rates beside chance, the baseline and what the release itself shows."""
    return [
        Text(
            [
                "Given a classifier, can its classes be turned back into pictures? Networks that no attacker has, the judge, say "
                "whom a reconstruction shows. For faces a class is a person; for digits it is no more than a digit."
            ]
        ),
        Chart(
            "Model inversion: classes identified by the judge, with 95% intervals",
            "One row for each target; chance is marked. The numbers are in the tables.",
            report_figures.inversion(document),
        ),
        *(Figures(title, table) for title, table in inversion_tables.tables(document).items()),
        Bullets("What that says:", _plain(inversion_tables.headline(document))),
    ]


def audit_blocks(document: Document) -> list[Block]:
    """An audit of a training by planted canaries, which is about its settings and not about the release."""
    train = document["settings"]["train"]
    spent = "noise_multiplier" if train["epsilon"] is None else "epsilon"
    return [
        Text(
            [
                f"This audit trained a model of its own with {spent} = {train[spent]:g}, with records planted by coins, and guessed the "
                "coins. It checks that the program spends no more than it says. It is about that training, not about this release."
            ]
        ),
        Text(membership_tables.audit_sentences(document), important=not document["consistent"]),
    ]


def usefulness_blocks(document: Document) -> list[Block]:
    """How well models do that saw artificial data only, beside real data and the private baselines."""
    data = document["dataset"]
    blocks: list[Block] = [
        Text(
            [
                "Classifiers were trained on the artificial images alone and tested on real images that nobody trained on; beside "
                "them the same classifiers trained on the real records, without privacy and with other ways to it. "
                f"{data['num_train']:,} real training records, {data['num_test']:,} real test images, "
                f"{document['settings']['seeds']} seed(s)."
            ]
        )
    ]
    if "table" in document:
        blocks.append(
            Chart(
                "Accuracy on real test images, with 95% intervals over seeds",
                "One group of points for each kind of classifier. The numbers are in the tables.",
                report_figures.accuracy(document),
            )
        )
        for name, table in evaluation_tables.results_tables(document).items():
            blocks.append(Figures(f"Trained and tested: {name}", table))
    for study, (caption, make) in _STUDIES.items():
        if study in document:
            blocks.append(Figures(caption, make(document)))
    return [*blocks, Bullets("What that says:", _plain(evaluation_tables.headline(document)))]


_STUDIES = {
    "curve": ("Accuracy by the number of artificial examples", evaluation_tables.curve_table),
    "validation": (
        "Can artificial data choose between models? Configurations, the best on artificial data first",
        evaluation_tables.validation_table,
    ),
    "fidelity": (
        "Distances in a feature space: the release, and real training images as the yardstick",
        evaluation_tables.fidelity_table,
    ),
}


def _plain(sentences: Sequence[str]) -> list[str]:
    """Without the marks of a list in a terminal."""
    return [sentence.removeprefix("* ") for sentence in sentences]
