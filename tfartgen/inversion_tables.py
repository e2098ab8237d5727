# SPDX-License-Identifier: Apache-2.0
"""An inversion attack's document as tables, for a terminal of 80 columns and for Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen.evaluation_tables import ARCHITECTURE_NAMES, Table, percent, with_interval
from tfartgen.rounding import upwards

#: What a target was trained on, for people.
TARGET_NAMES = {
    "real": "real data",
    "artificial": "artificial data",
    "dp_sgd": "real data, DP-SGD",
    "shuffled": "baseline: shuffled labels",
    "untrained": "control: not trained",
    "given": "the given model",
}

#: Targets that know who is who.
_INFORMED = ("real", "artificial", "dp_sgd", "given")

#: Those that do not: the baseline and the control, without which nothing is said of an attack's power.
_UNINFORMED = ("shuffled", "untrained")

_WIDTH = 79

Row = Mapping[str, Any]


def tables(document: Mapping[str, Any]) -> dict[str, Table]:
    """One table for each architecture and attack, by its title."""
    rows, found = document["rows"], {}
    for architecture in dict.fromkeys(row["architecture"] for row in rows):
        for attack in dict.fromkeys(row["attack"] for row in rows):
            own = [r for r in rows if (r["architecture"], r["attack"]) == (architecture, attack)]
            name = ARCHITECTURE_NAMES.get(architecture, architecture)
            found[f"{name}, {attack} attack"] = _table(document, own)
    return found


def _table(document: Mapping[str, Any], rows: Sequence[Row]) -> Table:
    faces = "face" in document["real_images"]
    several = len(document["dataset"]["class_names"]) > 5
    header = ["target trained on", "accuracy %", "identified %"]
    header += ["top 5 %"] if several else []
    header += ["SSIM"] + (["face %"] if faces else [])
    return Table(tuple(header), tuple(_cells(row, several, faces) for row in rows))


def _cells(row: Row, several: bool, faces: bool) -> tuple[str, ...]:
    name = TARGET_NAMES[row["target"]]
    if row.get("epsilon") is not None:
        name = f"DP-SGD, epsilon {upwards(row['epsilon'], 3)}"
    cells = [name, with_interval(row["accuracy"], 1)]
    if "top1" not in row:
        return (*cells, "diverged", *["-"] * (several + 1 + faces))
    cells.append(rate(row["top1"]))
    cells += [percent(row["top5"]["rate"], 0)] if several else []
    cells += [f"{row['ssim']:.2f}"]
    return (*cells, *([percent(row["face"]["rate"], 0)] if faces else []))


def rate(found: Mapping[str, Any]) -> str:
    """A proportion in percent with its interval."""
    low, high = percent(found["low"], 0), percent(found["high"], 0)
    return f"{percent(found['rate'], 0)} ({low}-{high})"


def text(document: Mapping[str, Any]) -> str:
    """All tables and what they mean, at most 80 columns wide."""
    data = document["dataset"]
    title = f"Inversion of classifiers of {data['name']}: {data['num_train']:,} training records"
    parts = [textwrap.fill(title, _WIDTH)]
    parts += [f"{name}\n{table.text()}" for name, table in tables(document).items()]
    parts.append("\n".join(textwrap.fill(line, _WIDTH) for line in headline(document)))
    return "\n\n".join(parts)


def headline(document: Mapping[str, Any]) -> list[str]:
    """What the tables say, in sentences: what is measured, whether the attack works, and what was recovered."""
    real = document["real_images"]
    classes = len(document["settings"]["classes"])
    sentences = [
        f"Identified: the judge, {document['settings']['judge']['networks']} networks that no attacker has, takes the "
        f"reconstruction for its class (95% Wilson interval over {classes} classes and "
        f"{document['settings']['seeds']} seeds; targets of one class are not independent). It is right about "
        f"{percent(real['accuracy']['rate'])}% of real test images; chance is {percent(document['chance'])}%.",
        *_diverged(document),
        *_power(document),
        *_recognisable(document),
        *map(_as_published, document["releases"]),
        f"SSIM: to the nearest training record of the class, 1 for a copy; between real test images and their nearest "
        f"training records it is {real['ssim']:.2f}.",
    ]
    sentences += _records_or_class(document)
    return [f"* {sentence}" for sentence in sentences]


def _records_or_class(document: Mapping[str, Any]) -> list[str]:
    """Whether reconstructions show the records that were trained on, or no more than the class."""
    rows = [r for r in document["rows"] if r["target"] in ("real", "given") and "top1" in r]
    if not rows:
        return []
    best = max(rows, key=lambda row: row["nearer_to_training"]["rate"])
    name = ARCHITECTURE_NAMES.get(best["architecture"], "the given model")
    return [
        "Of as many training as held-out records of its class, a reconstruction's nearest is a training record in "
        f"{rate(best['nearer_to_training'])}% of cases at most ({name}, {best['attack']} attack); 50% is what shows the "
        "class and none of its records."
    ]


def _diverged(document: Mapping[str, Any]) -> list[str]:
    first = document["rows"][0]["attack"]  # every attack runs on the same targets
    lost = sum(row["diverged"] for row in document["rows"] if row["attack"] == first)
    return [f"{lost} target(s) diverged; nothing was recovered from them."] if lost else []


def _power(document: Mapping[str, Any]) -> list[str]:
    """Whether the attack could have succeeded: an attack that fails on the unprotected target proves nothing."""
    rows = [r for r in document["rows"] if r["target"] == "real" and "top1" in r]
    if not rows and any(r["target"] == "real" for r in document["rows"]):
        return ["Every unprotected target diverged, so a low rate proves nothing."]
    if not rows:
        return [
            "No unprotected target was attacked beside (--targets=real), so a low rate proves nothing."
        ]
    beaten = [(row, _without_knowledge(document, row)) for row in rows]
    alone = [row for row, rate in beaten if rate is None]
    weak = [row for row, rate in beaten if rate is not None and row["top1"]["low"] <= rate]
    if not alone and not weak:
        return [
            "The attack works: from every unprotected target it identifies more than from the baseline and the control."
        ]
    told = []
    if weak:
        told.append(
            f"The attack FAILS on the unprotected target of {_named(weak)}: what it does not recover there proves no protection."
        )
    if alone:
        told.append(
            f"Baseline or control is missing beside the unprotected target of {_named(alone)}, so whether the attack works there "
            "is not known, and a low rate proves nothing."
        )
    return told


def _named(rows: Sequence[Row]) -> str:
    return ", ".join(f"{ARCHITECTURE_NAMES[row['architecture']]} ({row['attack']})" for row in rows)


def _without_knowledge(document: Mapping[str, Any], row: Row) -> Optional[float]:
    """The highest rate that the intervals of baseline and control of the same architecture and attack leave possible.

    None where one of them is missing, or diverged.
    """
    own = {
        r["target"]: r["top1"]["high"]
        for r in document["rows"]
        if r["target"] in _UNINFORMED
        and (r["architecture"], r["attack"]) == (row["architecture"], row["attack"])
        and "top1" in r
    }
    return max(own.values()) if len(own) == len(_UNINFORMED) else None


def _as_published(release: Mapping[str, Any]) -> str:
    """What needs no attack."""
    face = ""
    if "face" in release:
        face = f", and a face is found in {percent(release['face']['rate'], 0)}%"
    return (
        f"Without any attack: of the images of {release['folder']} themselves {rate(release['top1'])}% are identified{face}; "
        "what a release shows by design no attack has to recover."
    )


def _recognisable(document: Mapping[str, Any]) -> list[str]:
    """Identified is not yet recognisable."""
    rows = [r for r in document["rows"] if r["target"] in _INFORMED and "face" in r]
    if not rows:
        return []
    best = max(rows, key=lambda r: (r["recognisable"]["rate"], r["top1"]["rate"]))
    name = TARGET_NAMES[best["target"]]
    if best["target"] != "given":
        name = f"{ARCHITECTURE_NAMES[best['architecture']]} of {name}"
    return [
        f"Face: OpenCV's cascade finds one; it does in {percent(document['real_images']['face']['rate'], 0)}% of real "
        f"test images. Identified is not yet recognisable: at most, from {name} ({best['attack']} attack), "
        f"{rate(best['top1'])}% of the people are identified, and {rate(best['recognisable'])}% in a picture in which a face is "
        "found."
    ]


def cost_table(document: Mapping[str, Any]) -> Table:
    """Seconds of one attack on all classes, and of training the target before it."""
    return Table(
        ("target", "attack", "attack s", "training s"),
        tuple(
            (
                f"{ARCHITECTURE_NAMES.get(row['architecture'], row['architecture'])}, {TARGET_NAMES[row['target']]}",
                row["attack"],
                f"{max(row['seconds']):.1f}",
                f"{max(row['train_seconds']):.1f}",
            )
            for row in document["rows"]
            if row["seconds"]
        ),
    )
