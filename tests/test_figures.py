# SPDX-License-Identifier: Apache-2.0
"""Figures show what documents say: checked on matplotlib's artists, from made-up documents."""

from __future__ import annotations

import ast
import copy
import io
import itertools
import pathlib

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import tfartgen
from tfartgen import class_figures, evaluation_figures, figure_style, figures, sweep_figures

CONFUSION = [[6, 2, 0], [0, 4, 4], [1, 0, 1]]


def interval(mean, half_width=None):
    return {"mean": mean, "half_width": half_width}


def table_row(method, mean, architecture="cnn", half_width=None, seeds=1, **others):
    """A row whose outcome is the same for all rows unless `others` say otherwise."""
    release = "artificial/toy" if method == "artificial" else None
    return {
        "method": method,
        "release": release,
        "architecture": architecture,
        "num_examples": 50,
        "accuracies": [mean] * seeds,
        "accuracy": interval(mean, half_width),
        "recalls": [0.75, 0.5, 0.25],
        "calibration_error": interval(0.125),
        "diverged": 0,
        "outcome": {
            "confusion": CONFUSION,
            "count": [0, 4, 0, 10],
            "confidence": [0.0, 1.6, 0.0, 9.5],
            "correct": [0, 1, 0, 9],
        },
        **others,
    }


def document(**studies):
    return {
        "schema": "tfartgen.evaluation/1",
        "dataset": {"name": "toy", "class_names": ["cat", "dog", "emu"], "num_test": 18},
        "releases": [{"folder": "artificial/toy", "epsilon": 2.5, "guarantee": "formal"}],
        **studies,
    }


def small_table():
    return [
        table_row("dp_sgd", 0.5, "mlp", epsilon=2.9996),
        table_row("real", 0.8, "mlp"),
        table_row("real", 0.9, "cnn"),
        table_row("artificial", 0.7, "cnn"),
    ]


def small_curve():
    return [
        table_row("artificial", mean, architecture, num_examples=count)
        for architecture, means in (("mlp", (0.4, 0.5)), ("cnn", (0.45, 0.7)))
        for count, mean in zip((100, 1000), means)
    ]


def small_validation(**others):
    pairs = [("mlp", 0.2, 0.3), ("mlp", 0.6, 0.5), ("cnn", 0.9, 0.7), ("cnn", 0.8, 0.75)]
    return {
        "release": "artificial/toy",
        "configurations": [
            {
                "architecture": architecture,
                "artificial_accuracy": interval(artificial),
                "accuracy": interval(real),
            }
            for architecture, artificial, real in pairs
        ],
        "spearman": 0.8,
        "spearman_low": -0.1,
        "spearman_high": 0.99,
        "chosen": 2,
        "best": 3,
        "accuracy_lost": 0.05,
        **others,
    }


def small_fidelity(artificial=(0.9, None, 0.7), real=(1.0, 1.25, 0.9), release="artificial/toy"):
    def side(distance, values):
        values = list(values)
        coverage = [None if value is None else value / 2 for value in values]
        return {
            "frechet_distance": distance,
            "class_diversity": values,
            "class_coverage": coverage,
        }

    return {
        "release": release,
        "num_examples": 30,
        "features": {"architecture": "feature_cnn", "seed": 7, "accuracy": 0.965},
        "artificial": side(4.5, artificial),
        "real": side(1.5, real),
    }


def whole_document():
    return document(
        table=small_table(),
        curve=small_curve(),
        validation=small_validation(),
        fidelity=[small_fidelity()],
    )


def point(value, epsilon, artificial=None, dp_sgd=None):
    """A point of a sweep; its generator diverged if there is no artificial accuracy."""
    return {
        "value": value,
        "status": "diverged" if artificial is None else "ok",
        "reason": "a loss is not finite" if artificial is None else None,
        "epsilon": epsilon,
        "delta": 1e-5,
        "artificial": [] if artificial is None else [table_row("artificial", artificial)],
        "dp_sgd": [] if dp_sgd is None else [table_row("dp_sgd", dp_sgd)],
    }


def sweep_document(points=None, parameter="noise_multiplier", real=True):
    points = points or [
        point(0.0, None, 0.9),
        point(0.5, 100.0, 0.85, 0.8),
        point(1.0, 10.0, None, 0.7),
        point(4.0, 1.0, 0.4, 0.6),
    ]
    return {
        "schema": "tfartgen.sweep/1",
        "dataset": {"name": "toy", "class_names": ["cat", "dog", "emu"]},
        "parameter": parameter,
        "points": points,
        "real": [table_row("real", 0.95)] if real else [],
    }


def crowded_document():
    """40 classes, three releases of one name and their pool, intervals, and students that diverged."""
    folders = [f"/data/owners/{owner}/faces" for owner in ("bank_a", "bank_b", "hospital")]
    releases = [(folder, "artificial") for folder in folders] + [(" + ".join(folders), "pool")]
    outcome = {**table_row("real", 1.0)["outcome"], "confusion": np.eye(40, dtype=int).tolist()}
    common = {
        "half_width": 0.2,
        "seeds": 3,
        "outcome": outcome,
        "recalls": np.linspace(1, 0, 40).tolist(),
    }
    table, curve, configurations = [], [], small_validation()["configurations"]
    for architecture in ("logistic_regression", "mlp", "cnn"):
        table.append(table_row("real", 0.95, architecture, **common))
        for folder, method in releases:
            row = table_row(method, 0.8, architecture, **common)
            table.append({**row, "release": folder, "diverged": 1})
        table += [table_row(name, 0.3, architecture, **common) for name in ("dp_sgd", "pate")]
        for count in (400, 800, 1600):
            row = table_row("artificial", 0.6, architecture, num_examples=count, **common)
            curve.append({**row, "release": folders[0], "diverged": 1})
    values = [None, *np.linspace(0.2, 1, 39).tolist()]
    made = document(
        table=table,
        curve=curve,
        validation=small_validation(
            release=folders[0], configurations=[{**each, "diverged": 1} for each in configurations]
        ),
        fidelity=[small_fidelity(values, values[::-1], folder) for folder in folders],
    )
    made["dataset"] = {
        "name": "/data/faces_of_many",
        "class_names": [f"person {i}" for i in range(40)],
        "num_test": 1200,
    }
    made["releases"] = [
        {"folder": folder, "epsilon": epsilon, "guarantee": "none" if epsilon != 4.0 else "formal"}
        for folder, epsilon in zip(folders, (4.0, 200000.0, None))
    ]
    return made


def lines_by_label(axes):
    """Lines that hold data, by label; an errorbar's label is its container's."""
    found = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    return {**found, **{bars.get_label(): bars.lines[0] for bars in axes.containers}}


def bars_of(axes, label):
    """Ends of the error bars of an errorbar: `[bars, 2 ends, 2 coordinates]`."""
    (bars,) = [bars for bars in axes.containers if bars.get_label() == label]
    segments = [segment for lines in bars.lines[2] for segment in lines.get_segments()]
    return [segment for segment in segments if len(segment) and not np.isnan(segment).any()]


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def legend_labels(figure):
    legends = figure.legends or [legend for part in figure.subfigs for legend in part.legends]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


@pytest.mark.parametrize(
    "studies, names",
    [
        (["table"], ["accuracy", "confusion", "calibration"]),
        (["curve"], ["curve"]),
        (["validation"], ["validation"]),
        (["fidelity"], ["fidelity"]),
        (
            ["table", "curve", "validation", "fidelity"],
            ["accuracy", "curve", "confusion", "calibration", "validation", "fidelity"],
        ),
        ([], []),
    ],
)
def test_missing_studies_give_no_file(tmp_path, studies, names):
    whole = whole_document()
    paths = figures.draw_evaluation(
        document(**{study: whole[study] for study in studies}), tmp_path / "new"
    )
    assert paths == [tmp_path / "new" / f"{name}.png" for name in names]
    assert sorted(tmp_path.glob("new/*")) == sorted(paths)
    assert sorted(tmp_path.glob("new/.*")) == []
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 1000 and image.format == "PNG"


def test_the_same_document_gives_the_same_bytes_and_another_one_others(tmp_path):
    studies = {"curve": small_curve(), "fidelity": [small_fidelity()]}
    first = figures.draw_evaluation(document(**studies), tmp_path / "a")
    again = figures.draw_evaluation(document(**copy.deepcopy(studies)), tmp_path / "b")
    assert len(first) == 2
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    (sweep,) = figures.draw_sweep(sweep_document(), tmp_path / "a")
    (another,) = figures.draw_sweep(sweep_document(real=False), tmp_path / "b")
    assert sweep.name == another.name == "sweep.png"
    assert sweep.read_bytes() != another.read_bytes()


def test_a_png_names_neither_software_nor_date(tmp_path):
    (path,) = figures.draw_sweep(sweep_document(), tmp_path)
    with Image.open(path) as image:
        assert set(image.info) <= {"dpi"}


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "sweep.png").mkdir()
    with pytest.raises(OSError):
        figures.draw_sweep(sweep_document(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.png"]


def test_accuracy_has_a_dot_for_each_row_real_data_first():
    (axes,) = evaluation_figures.accuracy(document(table=small_table())).axes
    dots = [bars.lines[0] for bars in axes.containers]
    labels = [bars.get_label().split(",")[0] for bars in axes.containers]
    by_place = sorted(zip([dot.get_ydata()[0] for dot in dots], labels, dots))
    # mlp, the first architecture of the table, then cnn, with a place between them.
    assert [(place, label) for place, label, _ in by_place] == [
        (0, "real data"),
        (1, "DP-SGD"),
        (3, "real data"),
        (4, "artificial data (toy)"),
    ]
    assert [dot.get_xdata()[0] for _, _, dot in by_place] == pytest.approx([80, 50, 90, 70])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # place 0 is at the top
    assert dict(zip(axes.get_yticks(), [t.get_text() for t in axes.get_yticklabels()])) == {
        0.5: "MLP",
        3.5: "CNN",
    }


def test_methods_differ_in_colour_and_in_marker():
    looks = figure_style.method_looks(crowded_document())
    assert [method for method, _ in looks] == [
        "real",
        *["artificial"] * 3,
        "pool",
        "dp_sgd",
        "pate",
    ]
    assert len({look.colour for look in looks.values()}) == 7
    assert len({look.marker for look in looks.values()}) == 7


def test_legends_tell_what_privacy_was_spent():
    table = small_table()
    labels = legend_labels(evaluation_figures.accuracy(document(table=table)))
    assert labels == [
        "real data, no privacy",
        "artificial data (toy), ε = 2.5",
        "DP-SGD, ε = 3",
    ]
    labels = legend_labels(evaluation_figures.accuracy(crowded_document()))
    assert labels[1:4] == [
        "artificial data (bank_a/faces), ε = 4",
        "artificial data (bank_b/faces), ε = 200,000, no guarantee",
        "artificial data (hospital/faces), no guarantee",
    ]


def test_intervals_are_as_wide_as_they_are_and_end_at_one_hundred():
    table = [
        table_row("real", 0.9, half_width=0.25, seeds=3),
        table_row("pate", 0.5, half_width=0.1, seeds=3),
        table_row("dp_sgd", 0.4),
    ]
    (axes,) = evaluation_figures.accuracy(document(table=table)).axes
    ends = {
        bars.get_label().split(",")[0]: bars_of(axes, bars.get_label()) for bars in axes.containers
    }
    assert ends["PATE"][0][:, 0] == pytest.approx([40, 60])
    (axes,) = evaluation_figures.accuracy(document(table=table[:1])).axes
    assert bars_of(axes, "real data, no privacy")[0][:, 0] == pytest.approx([65, 100])
    (axes,) = evaluation_figures.accuracy(document(table=table[2:])).axes
    assert bars_of(axes, "DP-SGD") == []


def test_the_axis_of_accuracy_says_where_it_starts_and_holds_all_intervals():
    table = [table_row("real", 0.9, half_width=0.3, seeds=3)]
    (axes,) = evaluation_figures.accuracy(document(table=table)).axes
    assert axes.get_xlim()[0] == 55
    assert axes.get_xlabel().endswith("the axis starts at 55")
    (axes,) = evaluation_figures.accuracy(document(table=[table_row("real", 0.2)])).axes
    assert axes.get_xlim()[0] == 0
    assert "starts" not in axes.get_xlabel()


def test_accuracy_marks_the_commonest_class_where_the_axis_reaches_it():
    # 8 of 18 examples are of the first class, and as many of the second.
    figure = evaluation_figures.accuracy(document(table=[table_row("real", 0.2)]))
    assert "commonest class: 44.4%" in texts(figure)
    assert any(line.get_xdata()[0] == pytest.approx(800 / 18) for line in figure.axes[0].lines)
    figure = evaluation_figures.accuracy(document(table=[table_row("real", 0.95)]))
    assert not any("commonest" in text for text in texts(figure))


def test_students_that_diverged_are_told():
    row = table_row("real", 0.5, seeds=3, half_width=0.1, diverged=2)
    assert "50.0% ± 10.0, 2 of 3 diverged" in texts(
        evaluation_figures.accuracy(document(table=[row]))
    )
    assert "accuracy 50.0%, 2 of 3 diverged" in "\n".join(
        texts(class_figures.confusion(document(table=[row])))
    )
    curve = [*small_curve()[:1], {**small_curve()[1], "diverged": 1}]
    figure = evaluation_figures.curve(document(curve=curve))
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [cross.get_xdata(), cross.get_ydata()] == [[1000], [50]]
    assert "a seed diverged" in legend_labels(figure)
    assert "a seed diverged" not in legend_labels(
        evaluation_figures.curve(document(curve=small_curve()))
    )


def test_the_curve_is_a_line_for_each_architecture_by_number_of_examples():
    figure = evaluation_figures.curve(document(curve=small_curve()[::-1]))
    (axes,) = figure.axes
    lines = lines_by_label(axes)
    assert set(lines) == {"MLP", "CNN"}
    for name, means in (("MLP", [40, 50]), ("CNN", [45, 70])):
        assert list(lines[name].get_xdata()) == [100, 1000]
        assert lines[name].get_ydata() == pytest.approx(means)
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "1,000"]
    assert not [line for line in axes.lines if line.get_linestyle() == "--"]


def test_the_curve_has_the_student_of_real_data_dashed_in_its_colour():
    figure = evaluation_figures.curve(document(curve=small_curve(), table=small_table()))
    (axes,) = figure.axes
    lines = lines_by_label(axes)
    dashed = {
        line.get_color(): line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"
    }
    assert dashed == {
        lines["MLP"].get_color(): pytest.approx(80),
        lines["CNN"].get_color(): pytest.approx(90),
    }
    assert "same student of real data (50 records)" in legend_labels(figure)


def test_ticks_of_a_crowded_curve_are_thinned():
    counts = [1000, 1010, 1020, 10000]
    curve = [table_row("artificial", 0.5, num_examples=count) for count in counts]
    (axes,) = evaluation_figures.curve(document(curve=curve)).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1,000", "10,000"]


def test_confusion_is_that_of_the_last_architecture_normalised_by_rows():
    table = small_table()
    table[3]["outcome"] = {**table[3]["outcome"], "confusion": [[4, 0, 0], [2, 2, 0], [0, 0, 5]]}
    figure = class_figures.confusion(document(table=table))
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 2  # real and artificial; DP-SGD is of another architecture
    expected = [[75, 25, 0], [0, 50, 50], [50, 0, 50]]
    np.testing.assert_allclose(images[0].get_array(), expected)
    np.testing.assert_allclose(images[1].get_array(), [[100, 0, 0], [50, 50, 0], [0, 0, 100]])
    first = images[0].axes
    cells = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text()
        for text in first.texts
    }
    assert cells == {
        (0, 0): "75",
        (0, 1): "25",
        (1, 1): "50",
        (1, 2): "50",
        (2, 0): "50",
        (2, 2): "50",
    }
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["cat", "dog", "emu"]


def test_recall_is_drawn_by_class_and_method():
    table = [table_row("real", 0.9), table_row("pate", 0.5, recalls=[0.1, 0.2, 0.3])]
    axes = class_figures.confusion(document(table=table)).axes[-1]
    lines = lines_by_label(axes)
    assert lines["real data, no privacy"].get_ydata() == pytest.approx([75, 50, 25])
    assert lines["PATE"].get_ydata() == pytest.approx([10, 20, 30])
    for line in (lines["real data, no privacy"], lines["PATE"]):
        assert list(np.round(line.get_xdata())) == [0, 1, 2]  # each within its class


@pytest.mark.parametrize(
    "classes, numbers, names", [(12, True, True), (13, False, True), (21, False, False)]
)
def test_numbers_and_names_appear_only_where_they_fit(classes, numbers, names):
    row = table_row("real", 0.9, recalls=np.linspace(1, 0, classes).tolist())
    row["outcome"]["confusion"] = np.eye(classes, dtype=int).tolist()
    made = document(table=[row])
    made["dataset"]["class_names"] = [f"c{i}" for i in range(classes)]
    figure = class_figures.confusion(made)
    (matrix,) = [axes for axes in figure.axes if axes.images]
    assert len(matrix.texts) == (classes if numbers else 0)
    assert len(matrix.get_yticklabels()) == len(matrix.get_xticks()) == (classes if names else 0)
    recall = figure.axes[-1].lines[0].get_ydata()
    assert list(recall) == pytest.approx(
        np.linspace(100, 0, classes) if names else np.linspace(0, 100, classes)
    )
    assert ("sorted" in figure.axes[-1].get_xlabel()) == (not names)


def test_calibration_has_a_point_for_each_bin_that_is_not_empty():
    figure = evaluation_figures.calibration(document(table=small_table()))
    (axes,) = figure.axes
    for points in axes.collections:
        np.testing.assert_allclose(points.get_offsets(), [[40, 25], [95, 90]])
        assert points.get_sizes()[0] < points.get_sizes()[1]  # 4 predictions and 10
    assert len(axes.collections) == 2
    diagonal = lines_by_label(axes)["calibrated"]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert legend_labels(figure)[0] == "real data, no privacy: ECE 12.5%"


def test_validation_rings_the_chosen_and_the_best_configuration():
    figure = evaluation_figures.validation(document(validation=small_validation()))
    for axes in figure.axes:
        lines = lines_by_label(axes)
        assert lines["mlp"].get_xdata() == pytest.approx([20, 60])
        assert lines["mlp"].get_ydata() == pytest.approx([30, 50])
        assert lines["cnn"].get_xdata() == pytest.approx([90, 80])
        assert lines["cnn"].get_ydata() == pytest.approx([70, 75])
        assert lines["mlp"].get_marker() != lines["cnn"].get_marker()
        rings = {ring.get_label(): ring.get_offsets()[0] for ring in axes.collections[-2:]}
        np.testing.assert_allclose(rings["chosen"], [90, 70])
        np.testing.assert_allclose(rings["best"], [80, 75])
    low, high = figure.axes[1].get_xlim()
    assert 60 < low < 80 and 90 < high < 100  # enlarges the two that are above both medians
    title = figure.get_suptitle() if hasattr(figure, "get_suptitle") else figure._suptitle._text
    assert "4 configurations, Spearman's ρ = 0.80 (-0.10 to 0.99)" in title
    assert "loses 5.0 points" in title


def test_a_ranking_without_correlation_is_drawn():
    study = small_validation(spearman=None, spearman_low=None, spearman_high=None)
    assert any(
        "no rank correlation" in text
        for text in texts(evaluation_figures.validation(document(validation=study)))
    )


def test_fidelity_draws_artificial_beside_real_and_leaves_gaps():
    figure = class_figures.fidelity(document(fidelity=[small_fidelity()]))
    diversity, coverage = figure.axes
    lines = lines_by_label(diversity)
    np.testing.assert_array_equal(lines["artificial data"].get_ydata(), [0.9, np.nan, 0.7])
    np.testing.assert_array_equal(
        lines_by_label(diversity)["real training data, the yardstick"].get_ydata(),
        [1.0, 1.25, 0.9],
    )
    np.testing.assert_array_equal(
        lines_by_label(coverage)["artificial data"].get_ydata(), [0.45, np.nan, 0.35]
    )
    assert diversity.get_xlabel() == "classes without a value: artificial 1"
    assert diversity.get_ylim()[1] > 1.25
    assert "Fréchet distance 4.5 (real data 1.5)" in diversity.get_title("left")
    assert "seed 7" in coverage.get_title("left") and "96.5%" in coverage.get_title("left")


def test_fidelity_of_many_classes_is_sorted_and_says_what_is_left_out():
    figure = class_figures.fidelity(crowded_document())
    assert len(figure.axes) == 6  # two panels for each release
    line = lines_by_label(figure.axes[0])["artificial data"]
    np.testing.assert_allclose(line.get_ydata(), np.linspace(0.2, 1, 39))
    assert "40 classes, sorted" in figure.axes[0].get_xlabel()
    assert "real 1, artificial 1" in figure.axes[0].get_xlabel()


def test_fidelity_without_any_value_is_drawn(tmp_path):
    nothing = small_fidelity([None] * 3, [None] * 3)
    (path,) = figures.draw_evaluation(document(fidelity=[nothing]), tmp_path)
    assert path.name == "fidelity.png"


def test_a_sweep_shows_accuracy_by_epsilon_with_a_gap_where_a_generator_diverged():
    (axes,) = sweep_figures.sweep(sweep_document()).axes
    assert axes.get_xscale() == "log"
    artificial = [bars for bars in axes.containers if bars.get_label() == "artificial cnn"]
    finite, infinite = (bars.lines[0] for bars in artificial)
    assert list(finite.get_xdata()) == [1, 10, 100]
    np.testing.assert_allclose(finite.get_ydata(), [40, np.nan, 85])
    assert infinite.get_ydata() == pytest.approx([90])
    private = lines_by_label(axes)["dp_sgd cnn"]
    assert private.get_ydata() == pytest.approx([60, 70, 80])
    assert (finite.get_linestyle(), private.get_linestyle()) == ("-", ":")
    (real,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert real.get_ydata()[0] == pytest.approx(95)
    assert {line.get_color() for line in (finite, private, real)} == {finite.get_color()}


def test_points_without_an_epsilon_stand_side_by_side_less_noise_further_right():
    points = [{"epsilon": e, "value": v} for e, v in ((None, 0.0), (8.0, 1.0), (None, 0.1))]
    found, end = sweep_figures.placed(points)
    assert [point["value"] for point in found] == [1.0, 0.1, 0.0]
    places = [point["place"] for point in found]
    assert places[0] == 8.0 and places[1] == end > 8.0 and places[2] > 1.3 * places[1]


def test_no_noise_is_the_right_most_position_and_called_so():
    (axes,) = sweep_figures.sweep(sweep_document()).axes
    ticks = dict(zip([t.get_text() for t in axes.get_xticklabels()], axes.get_xticks()))
    infinite = [bars for bars in axes.containers if bars.get_label() == "artificial cnn"][1]
    assert infinite.lines[0].get_xdata()[0] == ticks["no epsilon"]
    assert 100 < ticks["no epsilon"] == max(ticks.values()) < axes.get_xlim()[1]
    assert set(ticks) == {"1", "2", "5", "10", "20", "50", "100", "no epsilon"}
    (axes,) = sweep_figures.sweep(sweep_document(sweep_document()["points"][1:])).axes
    assert "no epsilon" not in [tick.get_text() for tick in axes.get_xticklabels()]


def test_a_generator_that_diverged_has_a_cross_at_the_bottom_and_a_label():
    (axes,) = sweep_figures.sweep(sweep_document()).axes
    (cross,) = [line for line in axes.lines if line.get_label() == "diverged"]
    assert cross.get_marker() == "x" and cross.get_xdata()[0] == 10
    height = cross.get_ydata()[0]
    assert axes.get_ylim()[0] < height < 40  # below every accuracy
    ticks = dict(zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks()))
    assert ticks.pop("diverged") == height < min(ticks.values())
    assert [(text.get_text(), text.get_position()[0]) for text in axes.texts] == [("σ = 1", 10)]


def test_a_sweep_in_which_everything_diverged_still_shows_each_point():
    points = [point(0.0, None), point(2.0, 3.0)]
    (axes,) = sweep_figures.sweep(sweep_document(points, real=False)).axes
    crosses = [line for line in axes.lines if line.get_label() == "diverged"]
    assert [cross.get_xdata()[0] for cross in crosses][0] == 3
    assert len(crosses) == 2
    assert [text.get_text() for text in axes.texts] == ["σ = 2", "σ = 0"]
    (axes,) = sweep_figures.sweep(sweep_document(points[:1], real=False)).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["no epsilon"]


@pytest.mark.parametrize(
    "parameter, name", [("noise_multiplier", "noise multiplier σ"), ("epsilon", "ε asked for")]
)
def test_a_sweep_tells_its_parameter_at_the_top(parameter, name):
    figure = sweep_figures.sweep(sweep_document(parameter=parameter))
    (top,) = figure.axes[0].child_axes
    assert top.get_xlabel() == name
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["4", "1", "0.5", "0"]
    crowded = [point(4.0, 1.0, 0.4), point(3.9, 1.01, 0.4), point(0.5, 100.0, 0.8)]
    (top,) = sweep_figures.sweep(sweep_document(crowded)).axes[0].child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["4", "0.5"]


def all_figures(made):
    return [draw(made) for study, draw in figures.EVALUATION_FIGURES.values() if study in made]


@pytest.mark.parametrize("make", [whole_document, crowded_document])
def test_titles_and_labels_overlap_neither_each_other_nor_the_edge(make):
    for figure in [*all_figures(make()), sweep_figures.sweep(sweep_document())]:
        figure.savefig(io.BytesIO())  # lays out
        boxes = {}
        for part in [figure, *figure.subfigs]:
            boxes.update({text: text.get_window_extent() for text in part.texts + part.legends})
            boxes.update({text: text.get_window_extent() for text in [part._suptitle] if text})
        for axes in figure.axes:
            labels = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
            shown = [label for label in labels if axes.get_visible() and label.get_text()]
            boxes.update({label: label.get_window_extent() for label in shown})
        assert len(boxes) >= 3
        for box in boxes.values():
            assert 0 <= box.x0 and box.x1 <= figure.bbox.x1
            assert 0 <= box.y0 and box.y1 <= figure.bbox.y1
        for (one, box), (other, another) in itertools.combinations(boxes.items(), 2):
            assert not box.overlaps(another), (one, other)


def test_no_figure_shows_a_path():
    made = crowded_document()
    for figure in all_figures(made):
        shown = texts(figure)
        assert not [text for text in shown if "/data" in text or "owners" in text]
        assert any("faces_of_many" in text for text in shown)


def test_release_names_are_as_long_as_tells_them_apart():
    rows = [{"release": name} for name in ("a/x/1", "b/x/1", "c/y/2")]
    assert figure_style.release_names({"fidelity": rows}) == {
        "a/x/1": "a/x/1",
        "b/x/1": "b/x/1",
        "c/y/2": "c/y/2",
    }
    assert figure_style.release_names({"fidelity": rows[1:]}) == {"b/x/1": "1", "c/y/2": "2"}
    rows = [{"release": name} for name in ("/x", "/y/x")]
    assert figure_style.release_names({"fidelity": rows}) == {"/x": "x", "/y/x": "y/x"}


def test_names_with_signs_of_mathematics_are_text(tmp_path):
    made = whole_document()
    made["dataset"].update(name="$cash_{", class_names=["$a_{$", "b\nc", "long " * 20])
    assert len(figures.draw_evaluation(made, tmp_path)) == 6
    assert figure_style.class_names(made)[1] == "b c"
    assert len(figure_style.class_names(made)[2]) == 18


def test_drawing_leaves_the_document_alone():
    made, swept = crowded_document(), sweep_document()
    before = copy.deepcopy((made, swept))
    all_figures(made)
    sweep_figures.sweep(swept)
    assert (made, swept) == before


def test_only_figures_import_matplotlib_and_nothing_imports_pyplot():
    importers = set()
    for path in pathlib.Path(tfartgen.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
                assert not any("pyplot" in name for name in modules + names), path
                importers |= {path.stem for name in modules if name.startswith("matplotlib")}
    assert importers == {
        "figure_style",
        "class_figures",
        "evaluation_figures",
        "sweep_figures",
        "privacy_estimate_figures",
        "inversion_figures",
        "inversion_sweep_figure",
        "picture_sheet",
        "membership_figures",
        "report_figures",
    }
