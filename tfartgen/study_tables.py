# SPDX-License-Identifier: Apache-2.0
"""The three experiments of the paper about one release, side by side: as one document, and as Markdown.

Usefulness beside real data and the private baselines; mu at gamma; inversion rates. Membership inference, which the
paper does not have, comes last. There are no times and no dates in the document, so that it is the same whenever the
same results are gathered.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen import evaluation_tables, inversion_tables, papers, report_documents
from tfartgen.evaluation_tables import ARCHITECTURE_NAMES, Table, row_name, with_interval
from tfartgen.rounding import downwards, upwards
from tfartgen.study_stages import DOCUMENTS, STATEMENT
from tfartgen.whole_files import write_atomically, write_json

SCHEMA = "tfartgen.study/1"
JSON_FILE, MARKDOWN_FILE = "tables.json", "tables.md"

#: A document of single records, of which the tables show none.
_OF_OWNER = "exposure"

#: What is taken over of a row.
_STUDENT = ("architecture", "method", "num_examples", "epsilon", "delta", "accuracy", "diverged")
_TARGET = (
    "architecture",
    "target",
    "attack",
    "epsilon",
    "delta",
    "accuracy",
    "diverged",
    "top1",
    "top5",
)
_CALIBRATION = ("divergence", "ratio", "ratio_low", "ratio_high", "first_count", "second_count")
_RELEASE = ("num_examples", "epsilon", "delta", "guarantee")

#: Of a cell without a figure.
_NOTHING = "-"


def write(folder: pathlib.Path, data_name: Optional[str] = None) -> list[pathlib.Path]:
    """Gathers a study's documents, and writes the tables beside them.

    Args:
      folder: of the study.
      data_name: of the data set that they must be about; any if not given.

    Returns:
      The Markdown, then the JSON.

    Raises:
      ValueError: a document cannot be read, has another schema, or is about another release; it is named.
      OSError: no space, or no permission.
    """
    digest = papers.sha256(folder / STATEMENT)
    found = {
        kind: report_documents.load(kind, folder / name, digest, data_name)
        for kind, name in DOCUMENTS.items()
        if kind != _OF_OWNER
    }
    tables = document(found, digest)
    markdown_path = folder / MARKDOWN_FILE
    write_atomically(markdown_path, markdown(tables, where(found)))
    return [markdown_path, write_json(tables, folder / JSON_FILE)]


def document(found: Mapping[str, Mapping[str, Any]], digest: str) -> dict[str, Any]:
    """The tables as one document, JSON-able.

    Args:
      found: the documents, by kind.
      digest: of the release that all of them are about.
    """
    evaluation, inversion = found["evaluation"], found["inversion"]
    release = next(each for each in evaluation["releases"] if each["digest"] == digest)
    return {
        "schema": SCHEMA,
        "dataset": {
            key: evaluation["dataset"][key] for key in ("name", "num_train", "num_test", "digest")
        },
        "release": {"digest": digest, **_some(release, _RELEASE)},
        "usefulness": {
            "seeds": evaluation["settings"]["seeds"],
            "rows": [_some(row, _STUDENT) for row in evaluation["table"]],
        },
        "estimate": _estimate(found["privacy_estimate"]),
        "inversion": {
            "seeds": inversion["settings"]["seeds"],
            "classes": len(inversion["settings"]["classes"]),
            "chance": inversion["chance"],
            "real_images": inversion["real_images"]["top1"],
            "release_itself": inversion["releases"][0]["top1"],
            "rows": [_some(row, _TARGET) for row in inversion["rows"]],
        },
        "membership": [_attack(each) for each in found["membership"]["attacks"]],
    }


def _some(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: row[key] for key in keys if key in row}


def _estimate(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_examples": found["release"]["num_examples"],
        "mean_loss": found["mean_loss"],
        "is_at_least": found["mean_is_at_least"],
        "is_clumped": found["structure"]["is_clumped"],
        "members_to_controls": found["members_to_controls"],
        "mu": found["mu"],
        "calibration": _some(found["calibration"], _CALIBRATION),
        "attack_lower_bound": found["formal"]["attack_lower_bound"],
    }


def _attack(found: Mapping[str, Any]) -> dict[str, Any]:
    aucs = {role: found[role]["auc"] for role in ("main", "control", "memorised")}
    return {**_some(found, ("target", "name", "published")), **aucs}


def where(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Machines and dates of the documents."""
    listed = dict.fromkeys(f"{each['machine']}, {each['date']}" for each in found.values())
    return "; ".join(listed)


def markdown(tables: Mapping[str, Any], measured: str) -> str:
    """The tables for people.

    Args:
      tables: of `document`.
      measured: machines and dates.
    """
    parts = [
        f"# Study of {tables['dataset']['name']}",
        _head(tables, measured),
        "## Usefulness",
        _usefulness(tables["usefulness"]).markdown(),
        _usefulness_note(tables),
        "## Empirical privacy: mu at gamma",
        _mu(tables["estimate"]).markdown(),
        _mu_note(tables["estimate"]),
        "## Model inversion",
        *_inversion(tables["inversion"]),
        _inversion_note(tables["inversion"]),
        "## Membership inference",
        _membership(tables["membership"]).markdown(),
        _MEMBERSHIP_NOTE,
    ]
    return "\n\n".join(parts) + "\n"


def _head(tables: Mapping[str, Any], measured: str) -> str:
    data, release = tables["dataset"], tables["release"]
    epsilon = (
        "no epsilon" if release["epsilon"] is None else f"epsilon {upwards(release['epsilon'])}"
    )
    return (
        f"**Private**: computed from the real records, and no epsilon covers it. {data['num_train']:,} real training "
        f"records, {data['num_test']:,} test images. The release: {release['num_examples']:,} examples, {epsilon} at delta "
        f"{release['delta']:g}, guarantee: {release['guarantee']}, digest `{release['digest']}`. Measured on {measured}."
    )


def _usefulness(study: Mapping[str, Any]) -> Table:
    """What students were trained on, and their accuracy by architecture."""
    rows = study["rows"]
    architectures = list(dict.fromkeys(row["architecture"] for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        own = cells.setdefault(row_name(row), {})
        own[row["architecture"]] = with_interval(row["accuracy"]) + ("*" if row["diverged"] else "")
    header = ("trained on", *(f"{ARCHITECTURE_NAMES[name]} %" for name in architectures))
    return Table(
        header,
        tuple(
            (name, *(own.get(a, _NOTHING) for a in architectures)) for name, own in cells.items()
        ),
    )


def _usefulness_note(tables: Mapping[str, Any]) -> str:
    seeds = tables["usefulness"]["seeds"]
    interval = ", ± 95% over seeds" if seeds > 1 else ""
    return (
        f"Accuracy on real test images, means of {seeds} seed(s){interval}; * some students diverged. DP-SGD and PATE "
        "guarantee their epsilon; what the release guarantees is said above."
    )


def _mu(estimate: Mapping[str, Any]) -> Table:
    rows = []
    for row in estimate["mu"]:
        if row["refused"]:
            cells = (_NOTHING, _NOTHING)
        else:
            bound = row["bounds"]["saw_yang_mo"]
            cells = (upwards(bound["per_example"], 3), upwards(bound["per_release"], 3))
        least = row["least_per_release"]
        known = _NOTHING if least is None else f"{upwards(least, 3)} ({row['least_by']})"
        rows.append((f"{row['gamma']:g}", *cells, known))
    header = ("gamma", "mu per example", "mu per release", "least known per release")
    return Table(header, tuple(rows))


def _mu_note(estimate: Mapping[str, Any]) -> str:
    calibration = estimate["calibration"]
    warnings = [
        text
        for key, text in (
            ("is_at_least", " Saturated: true losses are larger than those given."),
            (
                "is_clumped",
                " Clumped, as copies of few records are: losses may be far larger than those given.",
            ),
        )
        if estimate[key]
    ]
    return (
        f"All but a share gamma of the records lose at most mu nats (Saw, Yang and Mo's bound; a release has "
        f"{estimate['num_examples']:,} examples). An estimate about typical records, not a guarantee, and only as good as "
        f"its calibration: of a shift with a KL of {calibration['divergence']:g} nats it sees {calibration['ratio']:.2f} "
        f"times ({calibration['ratio_low']:.2f} to {calibration['ratio_high']:.2f}) that."
        f"{''.join(warnings)} By attack, epsilon is at least {downwards(estimate['attack_lower_bound'])} (95%)."
    )


def _inversion(study: Mapping[str, Any]) -> list[str]:
    """A table for each architecture: targets, and the share of reconstructions that each attack gets identified."""
    blocks = []
    for architecture in dict.fromkeys(row["architecture"] for row in study["rows"]):
        own = [row for row in study["rows"] if row["architecture"] == architecture]
        blocks += [f"**{ARCHITECTURE_NAMES[architecture]}**", _targets(own).markdown()]
    return blocks


def _targets(rows: Sequence[Mapping[str, Any]]) -> Table:
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        own = cells.setdefault(inversion_tables.TARGET_NAMES[row["target"]], {})
        own["accuracy"] = with_interval(row["accuracy"], 1)
        own[row["attack"]] = inversion_tables.rate(row["top1"]) if "top1" in row else "diverged"
    header = (
        "target trained on",
        "accuracy %",
        *(f"{name} attack, identified %" for name in attacks),
    )
    columns = ("accuracy", *attacks)
    return Table(header, tuple((name, *(own[c] for c in columns)) for name, own in cells.items()))


def _inversion_note(study: Mapping[str, Any]) -> str:
    percent, rate = evaluation_tables.percent, inversion_tables.rate
    return (
        f"Identified: the judge takes the reconstruction for its class (95% Wilson interval over {study['classes']} classes "
        f"and {study['seeds']} seed(s)); chance is {percent(study['chance'])}%, and of real test images it identifies "
        f"{rate(study['real_images'])}%. Of the release's own images, without any attack: {rate(study['release_itself'])}%; "
        "what a release shows by design no attack has to recover."
    )


def _membership(attacks: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        ("target, attack", "members", "control", "a model that memorised"),
        tuple(
            (
                f"{each['target']}, {each['name']}",
                *(_auc(each[r]) for r in ("main", "control", "memorised")),
            )
            for each in attacks
        ),
    )


def _auc(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f}-{found['high']:.3f})"


_MEMBERSHIP_NOTE = (
    "AUC with its 95% interval; 0.5 is chance. The control never saw the candidates. Critics and students of real data "
    "are no part of a release."
)
