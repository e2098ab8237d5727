# SPDX-License-Identifier: Apache-2.0
"""An evaluation's document as tables, for a terminal of 80 columns and for Markdown."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tfartgen import classification
from tfartgen.rounding import upwards

#: How methods and architectures are called for people.
METHOD_NAMES = {
    "real": "real data, no privacy",
    "artificial": "artificial data",
    "pool": "pooled releases",
    "dp_sgd": "DP-SGD",
    "pate": "PATE",
}
ARCHITECTURE_NAMES = {"logistic_regression": "logistic regression", "mlp": "MLP", "cnn": "CNN"}

_WIDTH = 79


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells of text under a header; the first column is aligned to the left.

    Attributes:
      header: of every column.
      rows: cells.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths))
            ).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        """For a page."""
        rule = ("---", *["---:"] * (len(self.header) - 1))
        return "\n".join(f"| {' | '.join(line)} |" for line in (self.header, rule, *self.rows))


def percent(share: float, digits: int = 1) -> str:
    """A share in percent, without the sign."""
    return f"{100 * share:.{digits}f}"


def with_interval(interval: Mapping[str, Any], digits: int = 2) -> str:
    """Mean and half width in percent; the mean alone where one seed gives no interval."""
    mean, half = percent(interval["mean"], digits), interval["half_width"]
    return mean if half is None else f"{mean} ± {percent(half, digits)}"


def row_name(row: Mapping[str, Any], several: bool = False) -> str:
    """What a row trained on, with its epsilon where it is private."""
    name = METHOD_NAMES[row["method"]]
    if row["method"] == "artificial" and several:
        name = row["release"]
    if row.get("epsilon") is not None:
        name += f", epsilon {upwards(row['epsilon'], 3)}"
    return name


def results_tables(document: Mapping[str, Any]) -> dict[str, Table]:
    """The table of the study `table`, one for each architecture, by its name for people."""
    rows = document["table"]
    several = len(document["releases"]) > 1
    classes = document["dataset"]["class_names"]
    architectures = dict.fromkeys(row["architecture"] for row in rows)
    return {
        ARCHITECTURE_NAMES[architecture]: Table(
            ("trained on", "examples", "accuracy %", "recall %", "worst class", "ECE %"),
            tuple(
                _cells(row, classes, several) for row in rows if row["architecture"] == architecture
            ),
        )
        for architecture in architectures
    }


def _cells(row: Mapping[str, Any], classes: Sequence[str], several: bool) -> tuple[str, ...]:
    worst = worst_class(row)
    return (
        _shortened(row_name(row, several), 23) + _mark(row),
        f"{row['num_examples']:,}",
        with_interval(row["accuracy"]),
        percent(row["macro_recall"]["mean"]),
        f"{_beginning(classes[worst], 8)}: {percent(row['recalls'][worst])}",
        percent(row["calibration_error"]["mean"]),
    )


def _mark(row: Mapping[str, Any]) -> str:
    """Points to the sentence that says how many students diverged."""
    return " *" if row["diverged"] else ""


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else "..." + text[3 - width :]


def _beginning(text: str, width: int) -> str:
    """By which `Eyeglasses` and `not_Eyeglasses` are told apart, unlike by their ends."""
    return text if len(text) <= width else text[: width - 3] + "..."


def worst_class(row: Mapping[str, Any]) -> int:
    """The label that is found least often, of those that were tested."""
    tested = [label for label, recall in enumerate(row["recalls"]) if recall is not None]
    return min(tested, key=row["recalls"].__getitem__)


def curve_table(document: Mapping[str, Any]) -> Table:
    """Accuracy against the number of artificial examples, a column for each architecture."""
    rows = document["curve"]
    architectures = list(dict.fromkeys(row["architecture"] for row in rows))
    counts = list(dict.fromkeys(row["num_examples"] for row in rows))
    by_key = {(row["num_examples"], row["architecture"]): row for row in rows}
    return Table(
        ("artificial examples", *(f"{ARCHITECTURE_NAMES[name]} %" for name in architectures)),
        tuple(
            (
                f"{count:,}",
                *(with_interval(by_key[count, name]["accuracy"]) for name in architectures),
            )
            for count in counts
        ),
    )


def validation_table(document: Mapping[str, Any]) -> Table:
    """Every configuration, the best on artificial data first."""
    rows = document["validation"]["configurations"]
    ranked = sorted(rows, key=lambda row: -row["artificial_accuracy"]["mean"])
    return Table(
        ("configuration", "learning rate", "steps", "artificial %", "real %"),
        tuple(
            (
                ARCHITECTURE_NAMES[row["architecture"]] + _mark(row),
                f"{row['learning_rate']:g}",
                str(row["steps"]),
                with_interval(row["artificial_accuracy"]),
                with_interval(row["accuracy"]),
            )
            for row in ranked
        ),
    )


def fidelity_table(document: Mapping[str, Any]) -> Table:
    """Each release and, as the yardstick, real training images, against the real test images.

    Diversity is that of the least diverse class.
    """
    rows = []
    for entry in document["fidelity"]:
        for side, name in (("artificial", entry["release"]), ("real", "real training images")):
            rows.append(_fidelity_cells(entry[side], _shortened(name, 22)))
    header = ("", "Frechet", "precision", "recall", "density", "coverage", "diversity")
    return Table(header, tuple(dict.fromkeys(rows)))


def _fidelity_cells(side: Mapping[str, Any], name: str) -> tuple[str, ...]:
    known = [value for value in side["class_diversity"] if value is not None]
    figures = (f"{side[key]:.3f}" for key in ("precision", "recall", "density", "coverage"))
    least = f"{min(known):.2f}" if known else "-"
    return (name, f"{side['frechet_distance']:.2f}", *figures, least)


def headline(document: Mapping[str, Any]) -> list[str]:
    """What the studies say, in sentences."""
    sentences = []
    rows = document.get("table", []) + document.get("curve", [])
    rows += document.get("validation", {}).get("configurations", [])
    diverged = sum(row["diverged"] for row in rows)
    if diverged:
        sentences.append(f"* {diverged} student(s) diverged; they count as they answered.")
    if "table" in document:
        sentences += _gap(document["table"], len(document["releases"]) > 1)
        sentences.append(_test_size(document))
    if "validation" in document:
        sentences.append(_ranking(document["validation"]))
    sentences += dict.fromkeys(_fidelity(entry) for entry in document.get("fidelity", []))
    return sentences


def _gap(rows: Sequence[Mapping[str, Any]], several: bool) -> list[str]:
    """For the last architecture, the strongest, the distance of each method to real data."""
    last = [row for row in rows if row["architecture"] == rows[-1]["architecture"]]
    real = next((row for row in last if row["method"] == "real"), None)
    others = [row for row in last if row is not real]
    if real is None or not others:
        return []
    gaps = "; ".join(
        f"{row_name(row, several)} {percent(row['accuracy']['mean'] - real['accuracy']['mean'], 2)}"
        for row in others
    )
    name = ARCHITECTURE_NAMES[real["architecture"]]
    return [f"Percentage points from the {name} of real data: {gaps}."]


def _test_size(document: Mapping[str, Any]) -> str:
    """What the intervals over seeds leave out, for the first row of the last architecture."""
    rows, count = document["table"], document["dataset"]["num_test"]
    row = next(each for each in rows if each["architecture"] == rows[-1]["architecture"])
    right = round(row["accuracy"]["mean"] * count)
    low, high = (percent(share, 2) for share in classification.wilson_interval(right, count))
    return (
        f"Other test images would matter as well: {right:,} right of {count:,}, as the {ARCHITECTURE_NAMES[row['architecture']]} "
        f"of the first row has, means {low} to {high}% (Wilson, 95%)."
    )


def _ranking(study: Mapping[str, Any]) -> str:
    count, lost = len(study["configurations"]), percent(study["accuracy_lost"], 2)
    return (
        f"Spearman's correlation of {count} configurations' accuracy on artificial and on real data is "
        f"{_correlation(study)}, and of the better half {_correlation(study['better_half'])}; choosing on artificial data "
        f"costs {lost} points of real accuracy."
    )


def _correlation(found: Mapping[str, Any]) -> str:
    rho, low, high = (found[key] for key in ("spearman", "spearman_low", "spearman_high"))
    if rho is None:
        return "undefined (one side does not vary)"
    return f"{rho:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _fidelity(entry: Mapping[str, Any]) -> str:
    features = entry["features"]
    return (
        f"Fidelity: {entry['num_examples']:,} images a side, {features['dimensions']} features of a CNN of real training "
        f"data (seed {features['seed']}, accuracy {percent(features['accuracy'])}%)."
    )


def text(document: Mapping[str, Any]) -> str:
    """All studies, for a terminal."""
    data = document["dataset"]
    seeds = document["settings"]["seeds"]
    blocks = [
        _wrapped(
            f"{data['name']}: {data['num_train']:,} real records, tested on {data['num_test']:,} held-out images; "
            f"means of {seeds} seed(s)" + (", ± 95% over seeds" if seeds > 1 else "")
        )
    ]
    for name, table in results_tables(document).items() if "table" in document else ():
        blocks.append(f"{name}\n{table.text()}")
    for study, make in STUDY_TABLES.items():
        if study in document:
            blocks.append(make(document).text())
    return "\n\n".join([*blocks, *map(_wrapped, headline(document))])


def sweep_table(document: Mapping[str, Any]) -> Table:
    """Every point of a sweep: its epsilon, the students of its release, and those of DP-SGD at the same epsilon."""
    names = document["settings"]["students"]["architectures"]
    header = tuple(f"{ARCHITECTURE_NAMES[name]} %" for name in names)
    parameter = document["parameter"].replace("_", " ")
    own = () if parameter == "epsilon" else ("epsilon",)
    rows = []
    for point in document["points"]:
        epsilon = "none" if point["epsilon"] is None else upwards(point["epsilon"])
        first = (f"{point['value']:g}", epsilon) if own else (f"{point['value']:g}",)
        rows.append((*first, "artificial", *_sweep_cells(point, names)))
        if point["dp_sgd"]:
            rows.append((*first, "DP-SGD", *_accuracies(point["dp_sgd"], names)))
    if document["real"]:
        blank = ("",) * len(own)
        rows.append(("-", *blank, "real data", *_accuracies(document["real"], names)))
    return Table((parameter, *own, "trained on", *header), tuple(rows))


def _sweep_cells(point: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    if point["status"] != "ok":
        return (point["status"],) * len(names)
    return _accuracies(point["artificial"], names)


def _accuracies(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[str, ...]:
    by_name = {row["architecture"]: with_interval(row["accuracy"]) for row in rows}
    return tuple(by_name[name] for name in names)


def sweep_text(document: Mapping[str, Any]) -> str:
    """A sweep, for a terminal."""
    data = document["dataset"]
    first = (
        f"{data['name']}: {data['num_train']:,} real records, tested on {data['num_test']:,} held-out images; means of "
        f"{document['settings']['students']['seeds']} seed(s)"
    )
    failed = [
        f"{document['parameter']} = {point['value']:g} {point['status']}: {point['reason']}."
        for point in document["points"]
        if point["status"] != "ok"
    ]
    return "\n\n".join([_wrapped(first), sweep_table(document).text(), *map(_wrapped, failed)])


STUDY_TABLES = {
    "curve": curve_table,
    "validation": validation_table,
    "fidelity": fidelity_table,
}


def _wrapped(sentence: str) -> str:
    return textwrap.fill(sentence, _WIDTH, break_long_words=False, break_on_hyphens=False)
