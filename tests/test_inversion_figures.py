# SPDX-License-Identifier: Apache-2.0
"""Figures of model inversion show what documents and pictures say: checked on artists."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from PIL import Image

from tfartgen import figure_style, inversion_figures, inversion_sweep_figure
from tfartgen.classification import proportion
from tfartgen.packed_arrays import packed

TARGETS = ["real", "artificial", "dp_sgd", "shuffled", "untrained"]
WARNING = "PRIVATE: the first row shows real records"


def images(seed, count=4, channels=1, side=8):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def row(target, successes=1, architecture="cnn", attack="strong", trials=4, **others):
    """A row of a document; its target diverged if nothing was counted."""
    rates = {} if successes is None else {"top1": proportion(successes, trials)}
    return {
        "target": target,
        "architecture": architecture,
        "attack": attack,
        "accuracies": [0.875],
        "accuracy": {"mean": 0.875, "half_width": None},
        "diverged": int(successes is None),
        **rates,
        **others,
    }


def document(rows, count=4, name="class {}", **settings):
    return {
        "dataset": {"name": "/data/toy_$1", "class_names": [name.format(i) for i in range(count)]},
        "settings": {"classes": list(range(count)), "seeds": 1, **settings},
        "chance": 1 / count,
        "rows": rows,
    }


def whole(count=4, channels=1, **others):
    """A document, real records and reconstructions, of which DP-SGD's are missing."""
    rows = [row(target, None if target == "dp_sgd" else 1, trials=count) for target in TARGETS]
    rows[2]["epsilon"] = 2.9996
    pictures = {
        (target, "cnn", "strong"): images(i + 1, count, channels)
        for i, target in enumerate(TARGETS)
        if target != "dp_sgd"
    }
    return document(rows, count, **others), images(0, count, channels), pictures


def point(value, epsilon, artificial=None, dp_sgd=None, count=4, **others):
    """A point of a sweep; its generator diverged if there is no artificial count."""
    rows = [
        row(target, found, trials=count, images=packed(images(int(10 * value) + i, count)))
        for i, (target, found) in enumerate((("artificial", artificial), ("dp_sgd", dp_sgd)))
        if found is not None
    ]
    status = "diverged" if artificial is None else "ok"
    return {
        "value": value,
        "epsilon": epsilon,
        "delta": 1e-5,
        "status": status,
        "inversion": [*rows, *others.get("rows", [])],
    }


def sweep_document(count=4, parameter="noise_multiplier", points=None):
    real = [
        row(target, found, trials=count, images=packed(images(seed, count)))
        for seed, (target, found) in enumerate([("real", 3), ("shuffled", 0), ("untrained", 1)])
    ]
    return {
        **document([], count),
        "parameter": parameter,
        "points": points
        or [
            point(0.0, None, 3, count=count),
            point(0.5, 100.0, 2, 3, count=count),
            point(1.0, 10.0, None, 1, count=count),
            point(4.0, 1.234, 1, count=count, rows=[row("dp_sgd", None)]),
        ],
        "inversion": {
            "real": real,
            "records": packed(images(99, count)),
            "classes": list(range(count)),
            "chance": 1 / count,
        },
    }


def sheet(figure):
    """The axes with pictures."""
    (axes,) = [axes for axes in figure.axes if axes.images]
    return axes


def labels(figure):
    """The labels at the left of pictures, in their order from the top, each in one line."""
    texts = sorted(sheet(figure).texts, key=lambda text: text.get_position()[1])
    return [
        t.get_text().replace("\n", " / ").replace("\u00a0", " ")
        for t in texts
        if t.get_position()[0] < 20
    ]


def heads(figure):
    return [text for text in sheet(figure).texts if text.get_position()[0] > 20]


def title(figure):
    parts = [figure._suptitle, *[each._suptitle for each in figure.subfigs], *figure.texts]
    return "\n".join(part.get_text() for part in parts if part is not None)


def pixels(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=figure_style.DPI)
    return np.asarray(Image.open(content).convert("RGB"))


def by_label(axes):
    found = {}
    for artist in [*axes.lines, *axes.containers]:
        found.setdefault(artist.get_label(), []).append(artist)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_reconstructions_are_below_real_records_in_a_column_for_each_class(channels):
    made, real, pictures = whole(channels=channels)
    figure = inversion_figures.reconstructions(made, real, pictures, "strong", "cnn")
    drawn = sheet(figure).images
    assert len(drawn) == 5 * 4
    shown = [real, *pictures.values()]
    for position, image in enumerate(drawn):
        expected = shown[position // 4][position % 4]
        expected = expected[..., 0] if channels == 1 else expected
        np.testing.assert_array_equal(np.asarray(image.get_array()), expected)
        assert image.get_interpolation() == "nearest"
    lefts = [image.get_extent()[0] for image in drawn]
    assert lefts[:4] == sorted(set(lefts)) == lefts[4:8]
    tops = [image.get_extent()[3] for image in drawn[::4]]
    assert tops == sorted(set(tops))
    assert [head.get_text() for head in heads(figure)] == [f"class {i}" for i in range(4)]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_seen_pixel_by_pixel(channels):
    """Nothing covers the pictures, the tint of private records least of all."""
    made, real, pictures = whole(channels=channels)
    figure = inversion_figures.reconstructions(made, real, pictures, "strong", "cnn")
    seen = pixels(figure)
    assert seen.shape[1] == 1000
    for image in sheet(figure).images:
        left, right, bottom, top = map(int, image.get_extent())
        times = (right - left) // 8
        part = seen[top + times // 2 : bottom : times, left + times // 2 : right : times]
        array = np.asarray(image.get_array())
        expected = array if channels == 3 else np.repeat(array[..., None], 3, axis=-1)
        np.testing.assert_allclose(part.astype(int), expected, atol=1)


def test_rows_say_which_target_how_accurate_and_how_many_are_identified():
    made, real, pictures = whole(seeds=2)
    made["rows"][0].update(accuracy={"mean": 0.9, "half_width": 0.0123}, diverged=1)
    made["rows"][0]["accuracies"] = [0.9, 0.9]
    others = [row("real", architecture="mlp"), row("real", attack="classic")]
    made["rows"] += others
    figure = inversion_figures.reconstructions(made, real, pictures, "strong", "cnn")
    assert labels(figure) == [
        "real record / of the training data / PRIVATE",
        "real data / accuracy 90.0 ± 1.2% / identified 1 of 4 / 1 of 2 diverged",
        "artificial data / accuracy 87.5% / identified 1 of 4",
        "real data, DP-SGD, ε = 3 / accuracy 87.5% / diverged",
        "baseline: shuffled labels / accuracy 87.5% / identified 1 of 4",
        "control: not trained / accuracy 87.5% / identified 1 of 4",
    ]
    text = title(figure)
    assert text.startswith(r"toy_\$1: ") and "/data" not in text
    assert "CNN, strong attack; pictures of the first seed" in text and WARNING in text
    (warning,) = [each for each in figure.texts if each.get_text() == WARNING]
    (private,) = [text for text in sheet(figure).texts if "PRIVATE" in text.get_text()]
    assert warning.get_color() == private.get_color() != "black"


def test_a_given_target_is_shown_beside_controls_and_a_missing_picture_is_an_empty_row():
    rows = [row("given", 3, "given"), row("shuffled"), row("untrained")]
    pictures = {("given", "given", "strong"): images(1), ("shuffled", "cnn", "strong"): images(2)}
    figure = inversion_figures.reconstructions(document(rows), images(0), pictures, "strong", "cnn")
    assert len(sheet(figure).images) == 3 * 4
    assert len(sheet(figure).patches) == 2  # the tint and the empty row
    assert labels(figure)[1] == "the given model / accuracy 87.5% / identified 3 of 4"
    assert labels(figure)[3].endswith("no picture: seed 0 diverged")
    figure = inversion_figures.reconstructions(
        document(rows), images(0), pictures, "strong", "given"
    )
    assert len(labels(figure)) == 2 and "given, strong attack" in title(figure)


@pytest.mark.parametrize(
    "count, shown, blocks", [(20, 20, 1), (21, 21, 2), (40, 40, 2), (45, 40, 2)]
)
def test_many_classes_are_wrapped_and_those_left_out_are_told(count, shown, blocks):
    made, real, pictures = whole(count)
    figure = inversion_figures.reconstructions(made, real, pictures, "strong", "cnn")
    assert len(sheet(figure).images) == 5 * shown
    assert len(labels(figure)) == 6 * blocks
    assert len(heads(figure)) == shown
    assert ("the first 40 of 45 classes" in title(figure)) == (count > shown)
    assert len({image.get_extent()[0] for image in sheet(figure).images}) == 20


def test_pictures_are_of_the_attacked_classes():
    made, real, pictures = whole()
    made["dataset"]["class_names"] = list("abcdefg")
    made["settings"]["classes"] = [6, 0, 3, 1]
    figure = inversion_figures.reconstructions(made, real, pictures, "strong", "cnn")
    assert [head.get_text() for head in heads(figure)] == list("gadb")


def test_rates_have_a_panel_for_each_attack_and_a_place_for_each_target():
    rows = [
        row(target, found, architecture, attack)
        for architecture in ("mlp", "cnn")
        for target, found in zip(TARGETS, [3, 2, None, 0, 4])
        for attack in ("classic", "strong")
    ]
    figure = inversion_figures.rates(document(rows))
    assert [axes.get_title() for axes in figure.axes] == ["classic attack", "strong attack"]
    for axes in figure.axes:
        found = by_label(axes)
        assert len(found["diverged"]) == 2 and "dp_sgd" not in found
        bars = found["artificial"]
        assert [each.lines[0].get_xdata()[0] for each in bars] == [1, 7]
        assert bars[0].lines[0].get_ydata() == pytest.approx([50])
        (segment,) = bars[0].lines[2][0].get_segments()
        wilson = proportion(2, 4)
        assert segment[:, 1] == pytest.approx([100 * wilson["low"], 100 * wilson["high"]])
        assert bars[0].lines[0].get_color() == inversion_figures.TARGET_LOOKS["artificial"].colour
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["MLP", "CNN"]
        assert list(axes.get_xticks()) == [2, 8]
        texts = [text.get_text() for text in axes.texts]
        assert texts.count("87.5") == 8 and texts.count("diverged\n87.5") == 2
        (chance,) = [line for line in axes.lines if line.get_linestyle() == "-."]
        assert chance.get_ydata()[0] == 25
    assert "PRIVATE" not in title(figure)


def test_rings_are_where_a_face_is_found_as_well():
    rows = [row("real", 3, face=proportion(2, 4), recognisable=proportion(1, 4)), row("shuffled")]
    figure = inversion_figures.rates(document(rows))
    (ring,) = by_label(figure.axes[0])["recognisable"]
    assert (ring.get_xdata(), ring.get_ydata()) == ([0], pytest.approx([25]))
    assert ring.get_markerfacecolor() == "none"
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "identified, and a face is found" in entries
    figure = inversion_figures.rates(document([row("given", 3, "given")]))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["the given model", "chance"]


def test_a_sweep_has_rates_by_epsilon_and_a_row_of_pictures_for_each_point():
    figure = inversion_sweep_figure.sweep(sweep_document())
    axes, found = figure.axes[0], by_label(figure.axes[0])
    finite, infinite = (bars.lines[0] for bars in found["artificial"])
    assert list(finite.get_xdata()) == [1.234, 10, 100] and axes.get_xscale() == "log"
    np.testing.assert_allclose(finite.get_ydata(), [25, np.nan, 50])
    assert infinite.get_ydata() == pytest.approx([75])
    assert infinite.get_xdata()[0] > 100
    (private,) = found["dp_sgd"]
    np.testing.assert_allclose(private.lines[0].get_ydata(), [np.nan, 25, 75])
    assert [line.get_linestyle() for line in found["real"] + found["shuffled"]] == ["--", ":"]
    assert found["real"][0].get_ydata()[0] == pytest.approx(75)
    assert sorted(line.get_xdata()[0] for line in found["diverged"]) == [1.234, 10]
    assert all(axes.get_ylim()[0] < line.get_ydata()[0] < -4 for line in found["diverged"])
    assert labels(figure) == [
        "real record / of the training data / PRIVATE",
        "real data / accuracy 87.5% / identified 3 of 4",
        "artificial data, ε = 1.24 / σ = 4, accuracy 87.5% / identified 1 of 4",
        "artificial data, ε = 10 / σ = 1 / the generator diverged",
        "artificial data, ε = 100 / σ = 0.5, accuracy 87.5% / identified 2 of 4",
        "artificial data, no epsilon / σ = 0, accuracy 87.5% / identified 3 of 4",
        "real data, DP-SGD, ε = 1.24 / σ = 4, accuracy 87.5% / diverged",
        "real data, DP-SGD, ε = 10 / σ = 1, accuracy 87.5% / identified 1 of 4",
        "real data, DP-SGD, ε = 100 / σ = 0.5, accuracy 87.5% / identified 3 of 4",
    ]
    assert len(sheet(figure).images) == 7 * 4
    np.testing.assert_array_equal(sheet(figure).images[0].get_array(), images(99)[0, ..., 0])
    assert WARNING in title(figure) and "toy_\\$1" in title(figure)


def test_a_sweep_shows_20_classes_and_says_that_there_are_more():
    figure = inversion_sweep_figure.sweep(sweep_document(45))
    assert len(heads(figure)) == 20
    assert "the first 20 of 45 classes" in title(figure)


def test_pictures_of_a_sweep_are_of_the_attack_that_does_best_without_privacy():
    made = sweep_document(parameter="epsilon")
    best = [row("real", 4, "mlp"), row("real", 1, "mlp", "classic")]
    made["inversion"]["real"] += best
    figure = inversion_sweep_figure.sweep(made)
    assert "MLP, strong attack" in title(figure)
    assert labels(figure)[1:] == [
        "real data / accuracy 87.5% / identified 4 of 4",
        "artificial data, ε = 10 / the generator diverged",
    ]
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == ["CNN, strong attack", "MLP, strong attack", "MLP, classic attack"]


def every_figure(name="class {}"):
    crowded, four = whole(45, name=name, seeds=2), whole(channels=3, name=name)
    yield inversion_figures.reconstructions(*crowded, "strong", "cnn")
    yield inversion_figures.reconstructions(*four, "strong", "cnn")
    yield inversion_figures.rates(crowded[0])
    long = point(0.0625, 1234.5, 1, rows=[row("dp_sgd", None)])
    long["inversion"][0]["accuracy"] = {"mean": 0.98765, "half_width": 0.01234}
    points = [long, point(12.5, 0.0123, 2), point(13, 0.01), point(0, None, 1)]
    yield inversion_sweep_figure.sweep(sweep_document(points=points))


def test_the_same_content_gives_the_same_bytes_and_is_left_alone(tmp_path):
    made, swept = whole(45), sweep_document()
    before = copy.deepcopy((made, swept))
    for name in "ab":
        drawn = inversion_figures.reconstructions(*made, "strong", "cnn")
        figure_style.write_png(drawn, tmp_path / f"{name}1")
        figure_style.write_png(inversion_figures.rates(made[0]), tmp_path / f"{name}2")
        figure_style.write_png(inversion_sweep_figure.sweep(swept), tmp_path / f"{name}3")
    for i in "123":
        assert (tmp_path / f"a{i}").read_bytes() == (tmp_path / f"b{i}").read_bytes()
        assert Image.open(tmp_path / f"a{i}").size[0] == 1000
    np.testing.assert_equal((made, swept), before)


def boxes_outside_panels(figure):
    """Names and corners of what may not overlap: texts, legends, pictures, panels."""
    panels, groups = [axes for axes in figure.axes if axes.axison], [figure, *figure.subfigs]
    parts = [text for axes in figure.axes if axes not in panels for text in axes.texts]
    for axes in panels:
        parts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        parts += axes.get_xticklabels() + axes.get_yticklabels()
    parts += [text for group in groups for text in group.texts]
    parts = [text for text in parts if text.get_text()]
    parts += [legend for group in groups for legend in group.legends]
    parts += [image for axes in figure.axes for image in axes.images]
    corners = [each.get_window_extent().extents for each in parts]
    return [*map(str, parts), *map(str, panels)], np.array(
        corners + [p.bbox.extents for p in panels]
    )


def overlapping(names, corners):
    low, high = corners[:, :2] + 0.5, corners[:, 2:] - 0.5
    apart = (high[:, None] <= low[None]).any(-1) | (high[None] <= low[:, None]).any(-1)
    return [(names[i], names[j]) for i, j in np.argwhere(np.triu(~apart, 1))]


@pytest.mark.parametrize("name", ["s{}", "somebody called number {}"])
def test_nothing_overlaps_or_is_cut_off(name):
    for figure in every_figure(name):
        figure.canvas.draw()
        names, corners = boxes_outside_panels(figure)
        assert overlapping(names, corners) == []
        inside = [text for axes in figure.axes if axes.axison for text in axes.texts]
        own = np.array([text.get_window_extent().extents for text in inside]).reshape(-1, 4)
        assert overlapping([*map(str, inside)], own) == []
        everything = np.concatenate([corners, own])
        assert everything.min() >= -0.5
        assert (everything[:, 2:] <= np.array(figure.canvas.get_width_height()) + 0.5).all()
