#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the figures of `docs/results/*/` into the tables of `docs/results.md`.

python tests/benchmarks/results_page.py

What stands between `<!-- results: STUDY BLOCK -->` and `<!-- end -->` is replaced: STUDY is a folder of
docs/results that `bin/evaluate --output` wrote, BLOCK one of the names below. The rest is left as it is.
"""

from __future__ import annotations

import json
import pathlib
import re

from tfartgen import (
    evaluation_tables,
    inversion_tables,
    membership_tables,
    privacy_estimate_tables,
    retrain_comparison,
)

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"

#: Documents of blocks; those of all others are in `evaluation.json`.
_OWN_FILES = {
    **{name: name for name in ("sweep", "ablation", "estimate_noise", "privacy_estimate")},
    **{name: name for name in ("retraining", "inversion", "membership")},
    "inversion_sentences": "inversion",
    "inversion_cost": "inversion",
    "membership_sentences": "membership",
    "audit": "audit",
    "inversion_sweep": "sweep",
}

_BLOCK = re.compile(r"(<!-- results: (\S+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main():
    """Rewrites the page."""
    path = DOCS / "results.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {path.relative_to(DOCS.parent)}")


def filled(page):
    """The page with every block made anew."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{block(match[2], match[3])}\n\n{match[4]}", page)


def block(study, name):
    """Markdown of one block."""
    file = _OWN_FILES.get(name, "evaluation")
    text = (DOCS / "results" / study / f"{file}.json").read_text(encoding="utf-8")
    return BLOCKS[name](json.loads(text))


def _table(document):
    tables = evaluation_tables.results_tables(document)
    return "\n\n".join(f"**{name}**\n\n{table.markdown()}" for name, table in tables.items())


def _where(document):
    data = document["dataset"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return (
        f"{document['machine']}, {document['date']}, Python {document['python']}, {versions}. "
        f"{data['num_train']:,} real training records, {data['num_test']:,} test images. "
        + " ".join(map(_release, document["releases"]))
    )


def _release(release):
    epsilon = "unbounded" if release["epsilon"] is None else f"{release['epsilon']:,.0f}"
    return (
        f"`{release['folder']}`: {release['num_examples']:,} examples, epsilon {epsilon} at delta {release['delta']:g}, "
        f"guarantee: {release['guarantee']}."
    )


def _cost(document):
    """Minutes of the private baselines, the labelling of PATE's teachers apart."""
    lines = []
    for row in document["table"]:
        if row["method"] not in ("dp_sgd", "pate"):
            continue
        teachers = row.get("teacher_seconds", [0.0] * len(row["seconds"]))
        minutes = [sum(seconds) / 60 for seconds in zip(row["seconds"], teachers)]
        name = evaluation_tables.ARCHITECTURE_NAMES[row["architecture"]]
        label = f"{name}, {evaluation_tables.METHOD_NAMES[row['method']]}"
        lines.append((label, f"{max(minutes):.1f}", f"{row['epsilon']:.4f}", _noise(row)))
    header = ("student", "longest minutes", "epsilon", "noise")
    return evaluation_tables.Table(header, tuple(lines)).markdown()


def _noise(row):
    if "vote_noise" in row:
        return (
            f"{row['vote_noise']:.2f} on each count of {row['num_teachers']} teachers' votes, "
            f"{row['num_examples']} images"
        )
    return f"multiplier {row['noise_multiplier']:.4f}"


def _ablation(document):
    lines = [
        (
            row["method"],
            f"{row['epsilon']:.3f}",
            f"{row['critic_steps']:,}",
            f"{row['minutes']:.1f}",
            " / ".join(f"{100 * accuracy:.2f}" for accuracy in row["accuracies"]),
        )
        for row in document["rows"]
    ]
    header = ("method", "epsilon", "critic steps", "minutes", "CNN %, each student")
    return evaluation_tables.Table(header, tuple(lines)).markdown()


def _verbatim(text):
    return f"```\n{text}\n```"


def _estimate_noise(document):
    lines = [
        (
            f"{row['noise_multiplier']:g}",
            "unbounded" if row["epsilon"] is None else f"{row['epsilon']:,.4g}",
            f"{row['mean_loss']:.3g} ({row['mean_loss_low']:.3g} to {row['mean_loss_high']:.3g})",
            "saturated" if row["mu_estimate"] is None else f"{row['mu_estimate']:.3g}",
            "nothing" if row["kl_bound"] is None else f"{row['kl_bound']:.3g}",
            "unbounded" if row["mu"] is None else f"{row['mu']:.3g}",
            "{:.3g} ({:.3g} to {:.3g})".format(
                row["members_to_controls"], *row["members_to_controls_interval"]
            ),
            f"{row['saturated_share']:.2%}",
        )
        for row in document["rows"]
    ]
    header = (
        "sigma",
        "epsilon",
        "mean loss (range)",
        f"mu per release, gamma {document['gamma']:g}: estimated",
        "proven",
        "the less",
        "members / controls (99%)",
        "saturated",
    )
    correlations = ", ".join(
        f"{value:.2f} of {name}" for name, value in document["correlations"].items()
    )
    table = evaluation_tables.Table(header, tuple(lines)).markdown()
    return f"{table}\n\nRank correlation with sigma: {correlations}."


def _inversion(document):
    tables = inversion_tables.tables(document)
    return "\n\n".join(f"**{name}**\n\n{table.markdown()}" for name, table in tables.items())


def _inversion_sweep(document):
    """Identified at each point, of real data first."""
    parameter = document["parameter"]
    rows = [("-", "", *_attacked(row)) for row in document["inversion"]["real"]]
    for point in document["points"]:
        epsilon = "unbounded" if point["epsilon"] is None else f"{point['epsilon']:,.4g}"
        rows += [(f"{point['value']:g}", epsilon, *_attacked(row)) for row in point["inversion"]]
    header = (parameter.replace("_", " "), "epsilon", "target", "accuracy %", "identified %")
    return evaluation_tables.Table(header, tuple(rows)).markdown()


def _attacked(row):
    return (
        inversion_tables.TARGET_NAMES[row["target"]],
        evaluation_tables.with_interval(row["accuracy"], 1),
        inversion_tables.rate(row["top1"]) if "top1" in row else "diverged",
    )


def _sentences(lines):
    return "\n".join(lines)


BLOCKS = {
    "inversion": _inversion,
    "inversion_sentences": lambda document: _sentences(inversion_tables.headline(document)),
    "inversion_cost": lambda document: inversion_tables.cost_table(document).markdown(),
    "inversion_sweep": _inversion_sweep,
    "membership": lambda document: membership_tables.table(document).markdown(),
    "membership_sentences": lambda document: _sentences(membership_tables.headline(document)),
    "audit": lambda document: _verbatim(membership_tables.audit_text(document)),
    "ablation": _ablation,
    "estimate_noise": _estimate_noise,
    "privacy_estimate": lambda document: _verbatim(privacy_estimate_tables.text(document)),
    "retraining": lambda document: _verbatim(retrain_comparison.text(document)),
    "where": _where,
    "table": _table,
    "cost": _cost,
    "curve": lambda document: evaluation_tables.curve_table(document).markdown(),
    "validation": lambda document: evaluation_tables.validation_table(document).markdown(),
    "fidelity": lambda document: evaluation_tables.fidelity_table(document).markdown(),
    "sentences": lambda document: "\n".join(
        f"* {sentence}" for sentence in evaluation_tables.headline(document)
    ),
    "sweep": lambda document: evaluation_tables.sweep_table(document).markdown(),
}


if __name__ == "__main__":
    main()
