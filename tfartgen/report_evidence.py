# SPDX-License-Identifier: Apache-2.0
"""What a report says of the documents it gathers: the estimate, the attacks, the usefulness. Aggregates, no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen import (
    evaluation_tables,
    inversion_tables,
    membership_tables,
    privacy_estimate_tables,
    report_figures,
    report_standing,
    statement,
)
from tfartgen.evaluation_tables import METHOD_NAMES, Table
from tfartgen.report_blocks import Block, Bullets, Chart, Facts, Figures, Text
from tfartgen.report_standing import LossBound
from tfartgen.rounding import downwards, given, upwards

Document = Mapping[str, Any]


def estimate_blocks(document: Document, stated: Document) -> list[Block]:
    """The empirical estimate: what was found, how far it can be trusted, and beside what it stands.

    Args:
      document: of the estimate.
      stated: the release's privacy statement.
    """
    examples, controls = document["release"]["num_examples"], document["controls"]
    interval = ratio_interval(*document["members_to_controls_interval"])
    ratio = privacy_estimate_tables.ratio(document["members_to_controls"])
    bound = report_standing.loss_bound(stated)
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
                (
                    "Records beyond what samples resolve",
                    f"{upwards(100 * document['saturated_share'], 3)}%",
                ),
            ]
        ),
        Text([_members_and_controls(document)]),
    ]
    chart = report_figures.mu(document, bound)
    if chart is not None:
        blocks.append(
            Chart(
                "What all but a share of the records are estimated to lose at most, for the whole release",
                "The bound falls as the share of records that may exceed it grows; the numbers are in the table.",
                chart,
            )
        )
    said = "and what tfartgen 0.1 stated, which is not proven:"
    if not statement.stated_before(stated):
        said = "and what the accountant says:"
    return [
        *blocks,
        *_mu(document, examples, bound),
        *_calibration(document),
        Bullets(f"Beside what an attack shows, {said}", privacy_estimate_tables.formal(document)),
    ]


def _mean_loss(document: Document, examples: int) -> str:
    """Rounded up, as what is bounded, or down, as what is at least so much; its range to both sides."""
    at_least = document["mean_is_at_least"]
    mean, low, high = (
        examples * document[key] for key in ("mean_loss", "mean_loss_low", "mean_loss_high")
    )
    told = f"at least {downwards(mean)}" if at_least else upwards(mean, 3)
    more = " or more" if at_least else ""
    return f"{told} nats (range {downwards(low)} to {upwards(high, 3)}{more}) for {examples:,} examples"


def ratio_interval(low: float, high: float) -> str:
    """Of ratios of losses, rounded to both sides; one that is open above is told by its lower end."""
    if privacy_estimate_tables.ratio(high).endswith("or more"):
        if privacy_estimate_tables.ratio(low).endswith("or more"):
            return privacy_estimate_tables.ratio(low)
        return f"{downwards(low)} or more"
    return f"{downwards(low)} to {upwards(high, 3)}"


def _members_and_controls(document: Document) -> str:
    """What the interval says; the ratio itself says nothing more."""
    low, high = document["members_to_controls_interval"]
    if low > 1:
        return (
            "Training records lose more than records that were not trained on. Either the release holds something of its own "
            "records, beyond what they share with others, or the two groups differ by themselves; the controls of the membership "
            "attacks, where these were run, tell whether they do."
        )
    if high < 1:
        return (
            "Training records lose less than records that were not trained on. Chance seldom does that: the two groups may "
            "differ by themselves, and then they say little about each other."
        )
    return (
        f"Whether training records lose more than records that were not trained on, so many of each cannot tell: it may be "
        f"{ratio_interval(low, high)} times as much. So this neither shows nor excludes that the release holds something of its own "
        "records beyond what they share with others."
    )


def _mu(document: Document, examples: int, proven: Optional[LossBound]) -> list[Block]:
    rows, refusals = [], []
    for row in document["mu"]:
        if row["refused"]:
            refusals.append(f"{row['gamma']:g}: {row['refused']}")
        bounds = ("-", "-") if row["refused"] else _bounds(row["bounds"])
        rows.append((f"{row['gamma']:g}", *bounds, _least(row, proven)))
    header = ("gamma", "Chebyshev", "Saw, Yang and Mo", "least known")
    caption = (
        f"mu in nats for the release of {examples:,}: by this estimate, all but a share gamma of the records lose at most so much. "
        "Chebyshev's takes estimated moments for true ones; Saw, Yang and Mo's does not."
    )
    return [
        Figures(caption, Table(header, tuple(rows))),
        Bullets("There is no such bound at gamma", refusals),
    ]


def _least(row: Document, proven: Optional[LossBound]) -> str:
    """The least that is known: the estimate, or the accountant's bound where it holds of what was drawn."""
    least, by = row["least_per_release"], row["least_by"]
    if by == "proof" and (proven is None or not proven.proven):
        bounds = row["bounds"] if not row["refused"] else {}
        least, by = (bounds["saw_yang_mo"]["per_release"] if bounds else None), "estimate"
    return "-" if least is None else f"{upwards(least, 3)} ({_LEAST_BY[by]})"


def _bounds(found: Document) -> tuple[str, ...]:
    return tuple(upwards(found[name]["per_release"], 3) for name in ("chebyshev", "saw_yang_mo"))


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
                f"This audit trained a model of its own with {spent} = {given(train[spent])}, with records planted by coins, and guessed the "
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
                f"{_trained_on(document)}, and were tested on real images that nobody trained on. "
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


def _trained_on(document: Document) -> str:
    """What classifiers learned from, as the beginning of a sentence."""
    methods = dict.fromkeys(row["method"] for row in document.get("table", []))
    names = {**METHOD_NAMES, "artificial": "artificial images alone"}
    listed = "; ".join(names[method] for method in methods or ("artificial",))
    return f"Classifiers were trained on {listed}"


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
