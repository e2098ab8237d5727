# SPDX-License-Identifier: Apache-2.0
"""Figures of the estimate show its losses and bounds: checked on matplotlib's artists, from made-up estimates."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from PIL import Image

from tfartgen import privacy_estimate_figures as figures
from tfartgen.privacy_estimate import PrivacyEstimate


def bound(gamma, chebyshev=0.3, saw_yang_mo=0.4, refused=None):
    values = {"chebyshev": chebyshev, "cantelli": 9.0, "saw_yang_mo": saw_yang_mo, "one_sided": 8.0}
    bounds = (
        {} if refused else {k: {"per_example": v, "per_release": 1e6} for k, v in values.items()}
    )
    return {"gamma": gamma, "refused": refused, "bounds": bounds}


def made(losses, members=(0.1, 0.2), controls=(0.1, 0.1), mu=None, saturated=(), **others):
    losses = np.array(losses, float)
    document = {
        "mean_loss": float(losses.mean()),
        "mean_loss_low": 0.01,
        "mean_loss_high": 0.25,
        "mean_is_at_least": False,
        "members_to_controls": 1.5,
        "members_to_controls_interval": [0.75, 2.25],
        "mu": [bound(0.05)] if mu is None else mu,
        **others,
    }
    marks = np.isin(np.arange(len(losses)), saturated)
    return PrivacyEstimate(
        np.arange(len(losses)), losses, marks, np.array(members, float), np.array(controls, float), document
    )  # fmt: skip


def drawn(estimate):
    figure = figures.losses(estimate, estimate.document)
    figure.canvas.draw()
    return figure


def texts(axes):
    return [t.get_text() for t in axes.texts] + [
        t.get_text() for t in axes.get_legend().get_texts()
    ]


def stairs(axes):
    return [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]


def lines(axes):
    return [line.get_xdata()[0] for line in axes.lines]


def spread_losses():
    """Half zero or noise around it, the others over three decades."""
    return np.concatenate([np.zeros(40), [-1e-6, 1e-6] * 5, np.logspace(-5, -2, 50)])


def test_files_are_pngs_of_one_thousand_pixels_with_the_same_bytes_again(tmp_path):
    estimate = made([0.1, 0.1, 0.2, 0.3])
    for name in ("a.png", "b.png"):
        figures.draw(estimate, {**estimate.document, "release": None}, tmp_path / name)
    figures.draw_comparison([0.1, 0.2, 0.3], [0.1, 0.3, 0.2], tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    for name, height in (("a.png", 888), ("c.png", 816)):
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("PNG", (1000, height))
            assert np.asarray(image.convert("L")).std() > 5


def test_shares_of_records_are_counted_in_the_bins_of_both_panels():
    above, below = drawn(made([0.0, 0.0, 0.0, 0.41], [0.0, 0.41], [0.0, 0.0])).axes
    (shares, edges, _), _ = stairs(above)
    assert np.allclose(edges, np.linspace(0, 0.41, 42))
    assert shares[[0, 40]].tolist() == [75, 25] and shares.sum() == 100
    (members, first, _), (controls, second, _) = stairs(below)
    assert members[[0, 40]].tolist() == [50, 50] and controls[[0, 40]].tolist() == [100, 0]
    assert np.array_equal(first, edges) and np.array_equal(second, edges)


def test_lines_are_at_the_mean_and_at_both_bounds_of_one_gamma():
    mu = [bound(0.01, 5.0, 6.0), bound(0.05, 0.5, 0.625), bound(0.1, 0.2, 0.25)]
    above = drawn(made([0.1, 0.1, 0.2, 0.4], mu=mu)).axes[0]
    assert lines(above) == pytest.approx([0.2, 0.5, 0.625])
    labels = texts(above)
    assert labels[0] == "mean 0.2\n(0.01 to 0.25)"
    assert labels[1].startswith("Chebyshev 0.5\nγ = 0.05")
    assert labels[2].startswith("Saw–Yang–Mo 0.625\nγ = 0.05")
    low, high = above.get_xlim()
    assert low < 0.1 and 0.625 < high < 1


@pytest.mark.parametrize("mu, gamma", [
    ([bound(0.01, refused="few"), bound(0.1), bound(0.2)], "0.1"),
    ([bound(0.01, refused="few"), bound(0.05, refused="few"), bound(0.2)], "0.2"),
    ([bound(0.3), bound(0.05)], "0.05"),
])  # fmt: skip
def test_the_gamma_is_five_percent_or_the_first_that_is_not_refused(mu, gamma):
    label = texts(drawn(made([0.1, 0.2, 0.3], mu=mu)).axes[0])[1]
    assert f"γ = {gamma}," in label


def test_without_a_gamma_the_panel_says_why_and_has_only_the_mean():
    mu = [bound(0.01, refused="of no use"), bound(0.05, refused="3 records support no gamma")]
    above = drawn(made([0.1, 0.2, 0.3], mu=mu)).axes[0]
    assert lines(above) == pytest.approx([0.2])
    reason = " ".join(texts(above)[0].split())
    assert reason == "no bound: every gamma is refused; for 0.05: 3 records support no gamma"
    assert "no gamma was asked for" in texts(drawn(made([0.1], mu=[])).axes[0])[0]


def test_titles_tell_ratio_and_interval_saturation_and_that_it_is_no_guarantee():
    figure = drawn(made([0.1, 0.2, 0.3, 0.4], saturated=[3], mean_is_at_least=True))
    above, below = figure.axes
    assert "25.0% are saturated" in above.get_title()
    assert texts(above)[0].startswith("mean at least 0.25")
    assert "controls': 1.5 (99% interval 0.75 to 2.25)" in below.get_title()
    assert texts(below) == ["members: mean 0.15", "controls: mean 0.1"]
    assert "no guarantee" in figure._supxlabel.get_text()
    assert "typical records" in figure._supxlabel.get_text()
    assert "saturated" not in drawn(made([0.1, 0.2])).axes[0].get_title()


def test_a_ratio_at_its_limit_is_told_as_such():
    interval = [1000 * (1 - 1e-15), 1000.0]
    estimate = made([1.0, 2], members_to_controls=1000.0, members_to_controls_interval=interval)
    title = drawn(estimate).axes[1].get_title()
    assert title.endswith("1,000 or more (99% interval 1,000 or more)")


@pytest.mark.parametrize("value", [0.0, 0.01, -0.01, 1e-12])
def test_losses_that_are_all_equal_are_in_one_bin_with_the_mean_in_it(value):
    estimate = made([value] * 5, [value] * 3, [value] * 3, [bound(0.05, value, value)])
    above, below = drawn(estimate).axes
    for axes in (above, below):
        assert axes.get_xscale() == "linear"
        for shares, edges, _ in stairs(axes):
            (full,) = np.flatnonzero(shares)
            assert shares[full] == 100 and edges[full] < value < edges[full + 1]
    assert lines(above) == [pytest.approx(value, abs=1e-18)] * 3


def test_losses_over_decades_have_a_log_axis_that_holds_zero_and_negative_ones():
    losses = spread_losses()
    estimate = made(losses, losses, -losses / 1e4, [bound(0.05, 0.05, 0.06)])
    above, below = drawn(estimate).axes
    assert above.get_xscale() == below.get_xscale() == "symlog"
    low, high = below.get_xlim()
    assert low < -1e-6 and high > 0.06
    for axes in (above, below):
        assert all(shares.sum() == pytest.approx(100) for shares, *_ in stairs(axes))
    shares, edges, _ = stairs(above)[0]
    assert (shares[edges[:-1] > 1e-4] > 0).sum() > 10
    labels = [label.get_text() for label in below.get_xticklabels()]
    assert "0" in labels and "$10^{-3}$" in labels and "log scale" in below.get_xlabel()


def test_noise_around_zero_is_in_the_linear_part():
    losses = np.concatenate([np.linspace(-3e-6, 3e-6, 100), np.logspace(-4, -1, 100)])
    scale = figures._Scale.of(losses)
    assert scale.threshold == pytest.approx(1e-5)
    assert figures._Scale.of(np.linspace(-1, 1, 50)).threshold is None
    assert figures._Scale.of(np.linspace(1, 5, 50)).threshold is None


@pytest.mark.parametrize(
    "losses", [[0.1, 0.1, 0.2, 0.4], spread_losses(), [0.0] * 4, [-0.5, -0.25], [1e-7, 4e-7]]
)
@pytest.mark.parametrize("refused", [None, "8 records support no gamma below 0.111; give more"])
def test_texts_overlap_neither_each_other_nor_the_edge(losses, refused):
    figure = drawn(made(losses, losses, losses, [bound(0.05, 1.5e-4, 1.6e-4, refused)], [0]))
    width, height = figure.canvas.get_width_height()
    boxes = []
    for axes in figure.axes:
        parts = [axes.title, axes.yaxis.label, axes.xaxis.label, axes.get_legend(), *axes.texts]
        if axes.xaxis.label.get_text():
            low, high = axes.get_xlim()
            ticks = [t for t in axes.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
            parts += [tick.label1 for tick in ticks] + [axes.xaxis.get_offset_text()]
        boxes += [
            p.get_window_extent() for p in parts if not hasattr(p, "get_text") or p.get_text()
        ]
    boxes.append(figure._supxlabel.get_window_extent())
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_drawing_leaves_the_document_alone():
    estimate = made([0.1, 0.2])
    before = copy.deepcopy(estimate.document)
    drawn(estimate)
    assert estimate.document == before


def test_the_comparison_has_imitated_losses_at_the_bottom_and_the_line_of_equals():
    axes = figures.comparison([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 2.0, 1.5]).axes[0]
    identity, records = axes.lines
    assert records.get_xdata().tolist() == [0.5, 1.0, 2.0, 1.5]
    assert records.get_ydata().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert np.array_equal(identity.get_xdata(), identity.get_ydata())
    assert axes.get_xlim() == axes.get_ylim() == tuple(identity.get_xdata())
    # Ranks 1 2 4 3: 1 - 6 (1 + 1) / (4 (16 - 1)) = 0.8.
    assert axes.get_title() == "4 records, Spearman's ρ = 0.80"
    assert axes.get_xlabel().startswith("imitated") and axes.get_ylabel().startswith("retrained")


def test_a_comparison_of_equal_and_of_negative_losses_is_drawn(tmp_path):
    for retrained in ([0.0, 0.0, 0.0], [-0.1, 0.0, 0.2]):
        figures.draw_comparison(retrained, [0.0, 0.0, 0.0], tmp_path / "equal.png")
        title = figures.comparison(retrained, [0.0, 0.0, 0.0]).axes[0].get_title()
        assert title == "3 records, no rank correlation"
    both = np.logspace(-6, -1, 20)
    axes = figures.comparison(both, both).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "symlog"


@pytest.mark.parametrize("retrained, imitated", [([1, 2], [1]), ([], []), ([1, np.nan], [1, 2])])
def test_losses_that_do_not_match_are_named(retrained, imitated):
    with pytest.raises(ValueError, match="imitated must have a finite loss for each of retrained"):
        figures.comparison(retrained, imitated)
