# SPDX-License-Identifier: Apache-2.0
"""What an evaluation, or a sweep, leaves behind: JSON, CSV and figures."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tfartgen import figures
from tfartgen.evaluation_tables import worst_class
from tfartgen.whole_files import write_atomically, write_json

#: Columns of the CSV files.
_CSV_FIELDS = (
    "architecture",
    "method",
    "release",
    "num_examples",
    "epsilon",
    "delta",
    "accuracy",
    "accuracy_half_width",
    "macro_recall",
    "worst_class",
    "worst_recall",
    "calibration_error",
    "seeds",
    "diverged",
    "seconds_each",
)


def write(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes all files of an evaluation.

    Returns:
      What was written; the JSON comes last, so that it speaks of what is there.

    Raises:
      OSError: no space, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = figures.draw_evaluation(document, folder)
    for name in figures.EVALUATION_FIGURES:  # of an evaluation that was there before
        if folder / f"{name}.png" not in paths:
            (folder / f"{name}.png").unlink(missing_ok=True)
    table = folder / "evaluation.csv"
    write_atomically(table, as_csv(document))
    return [*paths, table, write_json(document, folder / "evaluation.json")]


def write_sweep(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes all files of a sweep; returns and errors as `write`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = figures.draw_sweep(document, folder)
    table = folder / "sweep.csv"
    write_atomically(table, sweep_csv(document))
    return [*paths, table, write_json(document, folder / "sweep.json")]


def as_csv(document: Mapping[str, Any]) -> str:
    """The rows of table and curve."""
    rows = document.get("table", []) + document.get("curve", [])
    return _csv(_CSV_FIELDS, [_csv_row(r, document["dataset"]["class_names"]) for r in rows])


def sweep_csv(document: Mapping[str, Any]) -> str:
    """The rows of all points, real data last; a point that diverged has a row without figures."""
    names = document["dataset"]["class_names"]
    rows: list[dict[str, Any]] = []
    for point in document["points"]:
        facts = {document["parameter"]: point["value"], "status": point["status"]}
        facts["epsilon"], facts["delta"] = point["epsilon"], point["delta"]
        students = [_csv_row(row, names) for row in point["artificial"] + point["dp_sgd"]]
        if point["status"] != "ok":
            students.insert(0, {"method": "artificial"})
        rows += [{**row, **facts} for row in students]
    rows += [_csv_row(row, names) for row in document["real"]]
    first = [name for name in (document["parameter"], "status") if name not in _CSV_FIELDS]
    return _csv((*first, *_CSV_FIELDS), rows)


def _csv(fields: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _csv_row(row: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    worst = worst_class(row)
    return {
        **{key: row[key] for key in _CSV_FIELDS if key in row},
        "accuracy": row["accuracy"]["mean"],
        "accuracy_half_width": row["accuracy"]["half_width"],
        "macro_recall": row["macro_recall"]["mean"],
        "worst_class": class_names[worst],
        "worst_recall": row["recalls"][worst],
        "calibration_error": row["calibration_error"]["mean"],
        "seeds": len(row["accuracies"]),
        "seconds_each": sum(row["seconds"]) / len(row["seconds"]),
    }
