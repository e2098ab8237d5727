# SPDX-License-Identifier: Apache-2.0
"""Tables of an evaluation: the figures of the document, in 80 columns, with what failed."""

from __future__ import annotations

import csv
import io

import pytest

from tfartgen import evaluation_files, evaluation_tables
from tfartgen.evaluation_tables import Table

NAMES = ["cat", "dog"]


def a_row(method, mean, half=0.01, **changes):
    return {
        "method": method,
        "release": None,
        "architecture": "cnn",
        "num_examples": 1200,
        "accuracies": [mean - 0.001, mean + 0.001],
        "accuracy": {"mean": mean, "half_width": half},
        "macro_recall": {"mean": mean - 0.002, "half_width": half},
        "recalls": [0.97, 0.5],
        "calibration_error": {"mean": 0.034, "half_width": 0.001},
        "diverged": 0,
        "seconds": [1.0, 3.0],
        **changes,
    }


def a_document(**changes):
    return {
        "dataset": {"name": "pets", "class_names": NAMES, "num_train": 1200, "num_test": 80},
        "settings": {"seeds": 2},
        "releases": [{"folder": "artificial/pets"}],
        "table": [
            a_row("real", 0.987),
            a_row("artificial", 0.9512, release="artificial/pets"),
            a_row("dp_sgd", 0.9, epsilon=2.9994),
            a_row("pate", 0.5, None, num_examples=77, epsilon=2.9994, diverged=1),
        ],
        **changes,
    }


def test_a_class_and_its_opposite_are_told_apart_where_names_are_shortened():
    document = a_document(
        table=[a_row("real", 0.9, recalls=[0.5, 0.9]), a_row("real", 0.9, recalls=[0.9, 0.5])]
    )
    document["dataset"]["class_names"] = ["not_Eyeglasses", "Eyeglasses"]
    rows = next(iter(evaluation_tables.results_tables(document).values())).rows
    assert [row[4] for row in rows] == ["not_E...: 50.0", "Eyegl...: 50.0"]


def test_tables_are_aligned_and_printed_as_markdown():
    table = Table(("a", "bb"), (("long name", "1"), ("x", "100")))
    assert table.text() == "a           bb\nlong name    1\nx          100"
    assert table.markdown() == "| a | bb |\n| --- | ---: |\n| long name | 1 |\n| x | 100 |"


def test_a_table_holds_the_figures_and_says_what_failed():
    rows = evaluation_tables.results_tables(a_document())["CNN"].rows
    real = ("real data, no privacy", "1,200", "98.70 ± 1.00", "98.5", "dog: 50.0", "3.4")
    assert rows[0] == real
    assert rows[2][0] == "DP-SGD, epsilon 3"
    assert rows[3] == ("PATE, epsilon 3 *", "77", "50.00", "49.8", "dog: 50.0", "3.4")
    assert "* 1 student(s) diverged" in evaluation_tables.text(a_document())


def test_the_gap_to_real_data_is_stated():
    _, gap, _ = evaluation_tables.headline(a_document())
    assert "from the CNN of real data: artificial data -3.58; DP-SGD, epsilon 3 -8.70" in gap


def test_what_the_size_of_the_test_set_leaves_open_is_stated():
    # 79 of 80, as 98.7% are: the roots of (p - 0.9875)^2 = 1.96^2 p (1 - p) / 80.
    *_, sentence = evaluation_tables.headline(a_document())
    assert "79 right of 80" in sentence and "means 93.25 to 99.78% (Wilson" in sentence


def test_several_releases_are_called_by_their_folders():
    document = a_document(
        releases=[{}, {}],
        table=[a_row("real", 0.9), a_row("artificial", 0.8, release="a"), a_row("pool", 0.85)],
    )
    rows = evaluation_tables.results_tables(document)["CNN"].rows
    assert [row[0] for row in rows] == ["real data, no privacy", "a", "pooled releases"]


def test_the_text_fits_80_columns():
    configuration = {
        "architecture": "logistic_regression",
        "learning_rate": 0.0005,
        "steps": 1500,
        "artificial_accuracy": {"mean": 0.5, "half_width": 0.01},
        "accuracy": {"mean": 0.4, "half_width": 0.01},
        "diverged": 2,
    }
    side = {"frechet_distance": 123.456, "precision": 0.1, "recall": 0.2, "density": 1.234}
    side.update({"coverage": 0.5, "class_diversity": [None, 0.3]})
    features = {"dimensions": 64, "seed": 0, "accuracy": 0.99}
    document = a_document(
        table=[
            a_row("pate", 1.0, 0.1234, architecture=name, epsilon=2.99999, num_examples=1_000_000)
            for name in evaluation_tables.ARCHITECTURE_NAMES
        ],
        curve=[
            a_row("artificial", 1.0, 0.1234, architecture=name, num_examples=10_000)
            for name in evaluation_tables.ARCHITECTURE_NAMES
        ],
        validation={
            "configurations": [configuration],
            "spearman": 0.97,
            "spearman_low": None,
            "spearman_high": None,
            "better_half": {"spearman": 0.5, "spearman_low": -0.1, "spearman_high": 0.9},
            "accuracy_lost": 0.0123,
        },
        fidelity=[
            {
                "release": "a/very/long/path/to/a/release",
                "num_examples": 8000,
                "features": features,
                "artificial": side,
                "real": side,
            }
        ],
    )
    text = evaluation_tables.text(document)
    assert max(map(len, text.splitlines())) <= 80
    for figure in (
        "100.00 ± 12.34",
        "0.0005",
        "123.46",
        "0.30",
        "is 0.970, and of the better half 0.500 (-0.100 to 0.900)",
        "costs 1.23 points",
    ):
        assert figure in " ".join(text.split())


def test_csv_has_every_row_of_table_and_curve():
    document = a_document(curve=[a_row("artificial", 0.9)])
    rows = list(csv.DictReader(io.StringIO(evaluation_files.as_csv(document))))
    assert len(rows) == 5
    assert float(rows[1]["accuracy"]) == 0.9512 and rows[1]["release"] == "artificial/pets"
    assert (rows[3]["diverged"], rows[3]["accuracy_half_width"]) == ("1", "")
    assert (rows[0]["worst_class"], rows[0]["worst_recall"]) == ("dog", "0.5")
    assert float(rows[0]["seconds_each"]) == pytest.approx(2.0)
