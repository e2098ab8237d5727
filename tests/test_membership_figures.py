# SPDX-License-Identifier: Apache-2.0
"""The figure of membership inference shows what documents say: checked on matplotlib's artists."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from PIL import Image

from tfartgen import membership, membership_figures

TARGETS = ["release", "critic (not released)", "student of real data", "student of artificial data"]


def result(seed, mean=0.0, count=400):
    rng = np.random.default_rng(seed)
    return membership.success(rng.normal(mean, 1, count), rng.normal(0, 1, count), ())


def attack(target="release", name="loss threshold", mean=0.0, count=400, **others):
    main = result(len(target), mean, count)
    return {
        "target": target,
        "name": name,
        "main": main,
        "control": None,
        "memorised": None,
        **others,
    }


def document(*attacks):
    return {"dataset": {"name": "/data/toy_$1"}, "attacks": list(attacks)}


def several():
    """Two attacks on each of four targets, one of them with all roles."""
    roles = {"control": result(1), "memorised": result(2, 9)}
    one = [attack(target, "nearest, calibrated", 1) for target in TARGETS]
    return document(*one, *(attack(target, "likelihood ratio", **roles) for target in TARGETS))


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_figure_has_a_panel_for_each_target_and_a_line_for_each_role(tmp_path):
    figure = membership_figures.figure(several())
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == TARGETS
    for axes in panels:
        found = lines(axes)
        assert sorted(found) == [
            "chance",
            "control likelihood ratio",
            "main likelihood ratio",
            "main nearest, calibrated",
            "memorised likelihood ratio",
        ]
        main, control = found["main likelihood ratio"], found["control likelihood ratio"]
        assert main.get_color() == control.get_color()
        assert main.get_color() != found["main nearest, calibrated"].get_color()
        looks = {
            role: found[f"{role} likelihood ratio"].get_linestyle()
            for role in ("main", "control", "memorised")
        }
        assert looks == {"main": "-", "control": ":", "memorised": "--"}
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert axes.get_xlim() == axes.get_ylim() == (1e-3, 1)
    assert len(legend(figure)) == 6
    assert legend(membership_figures.figure(document(attack())))[:2] == ["loss threshold", "chance"]


def test_the_title_says_of_whom_and_keeps_folders_to_itself():
    title = membership_figures.figure(document(attack()))._suptitle.get_text()
    assert title.startswith(r"toy_\$1: ") and "400 members and 400 non-members" in title
    title = membership_figures.figure(
        document(attack(), attack("critic", count=1200))
    )._suptitle.get_text()
    assert "400 to 1,200 members" in title and "/data" not in title


def test_rates_of_zero_are_at_the_lower_edge_and_few_records_do_not_narrow_the_axes():
    hopeless = result(0, -9)
    axes = membership_figures.figure(document({**attack(), "main": hopeless})).axes[0]
    x, y = lines(axes)["main loss threshold"].get_data()
    assert x.min() == y.min() == 1e-3 and np.isfinite([x, y]).all()
    assert y[x < 1].max() == 1e-3 and y[-1] == 1
    assert membership_figures.figure(document(attack(count=5000))).axes[0].get_xlim() == (1e-4, 1)


def test_a_curve_goes_through_its_vertices_and_straight_between_them():
    """As everybody's score is the same, so are rates; and half of the members are found with one in five."""
    roc = {"false_positive_rate": [0, 0.2, 1], "true_positive_rate": [0, 0.5, 1]}
    axes = membership_figures.figure(
        document({**attack(), "main": {**result(0), "roc": roc}})
    ).axes[0]
    x, y = lines(axes)["main loss threshold"].get_data()
    inside = (x > 1e-3) & (x < 1)
    np.testing.assert_allclose(y[inside], np.interp(x[inside], [0, 0.2, 1], [0, 0.5, 1]))
    assert inside.sum() > 100
    assert np.any((x == 0.2) & (y == 0.5))


@pytest.mark.parametrize("m, n", [(50, 50), (400, 30)])
def test_95_of_100_curves_of_chance_are_in_the_band_at_each_rate(m, n):
    places, low, high = membership_figures._chance(m, n, 1e-3)
    rng, trials = np.random.default_rng(0), 500
    inside = np.zeros(len(places) - 1)
    for _ in range(trials):
        members, non_members = rng.random(m), np.sort(rng.random(n))[::-1]
        # As far as the first non-member that would be too many.
        thresholds = non_members[(places[:-1] * n).round().astype(int)]
        found = np.maximum((members > thresholds[:, None]).mean(axis=1), 1e-3)
        inside += (low[:-1] <= found) & (found <= high[:-1])
    assert n / 2 < len(places) <= n + 1 and (low <= high).all()
    # Counts are discrete, and bounds belong to the band.
    assert (inside / trials).min() > 0.92 and (inside / trials).mean() < 0.98


def test_the_band_is_in_the_panel():
    axes = membership_figures.figure(document(attack())).axes[0]
    vertices = axes.collections[0].get_paths()[0].vertices
    _, low, high = membership_figures._chance(400, 400, 1e-3)
    assert set(low) | set(high) <= set(vertices[:, 1])


def test_the_same_document_gives_the_same_bytes_and_is_left_alone(tmp_path):
    content = document(attack(control=result(1), memorised=result(2, 9)))
    before = copy.deepcopy(content)
    for name in "ab":
        membership_figures.draw(content, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert Image.open(tmp_path / "a").size[0] == 1000
    assert content == before


@pytest.mark.parametrize("count", [1, 2, 5])
def test_titles_and_legend_overlap_neither_each_other_nor_the_edge(count):
    targets = [*TARGETS, "student of DP-SGD"][:count]
    figure = membership_figures.figure(
        document(*(attack(t, n) for t in targets for n in ("nearest", "loss threshold")))
    )
    panels = [axes for axes in figure.axes if axes.axison]
    figure.canvas.draw()
    parts = [text for axes in panels for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    parts = [text for text in parts if text.get_text()] + [figure._suptitle, figure.legends[0]]
    boxes = [part.get_window_extent() for part in parts] + [axes.bbox for axes in panels]
    width, height = figure.canvas.get_width_height()
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
