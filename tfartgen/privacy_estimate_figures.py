# SPDX-License-Identifier: Apache-2.0
"""Figures of the empirical privacy estimate: losses with bounds, members beside controls, and retrained losses."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogTransform
from matplotlib.ticker import NullLocator
from scipy import stats

from tfartgen import figure_style as style
from tfartgen.privacy_estimate import LARGEST_RATIO, PrivacyEstimate

FOOTER = "An estimate about typical records that presumes local influence. It is no guarantee for any record."

#: The share of records whose bound is drawn, if there is one.
_GAMMA = 0.05
#: Bins; an odd number, so that losses that are all equal are in the middle of one.
_BINS = 41
#: The largest loss over the lower quartile, from which on the axis is logarithmic, and most decades there.
_SPREAD, _DECADES = 20, 5
#: Length of the linear part around zero, each side, in decades.
_LINEAR = 0.5
#: Share of the height that is left to legends.
_BAND = 0.2

_MEMBERS, _CONTROLS, _MEAN = "#0072B2", "#D55E00", "#000000"
#: Names, colours, dashes and widths of bounds. For many records they are the same: the first shines through.
_BOUNDS: dict[str, tuple[str, str, str, float]] = {
    "chebyshev": ("Chebyshev", "#CC79A7", "-", 5),
    "saw_yang_mo": ("Saw–Yang–Mo", "#009E73", "--", 2),
}
#: What each takes mean and deviation for.
_MOMENTS = {"chebyshev": "moments exact", "saw_yang_mo": "moments estimated"}
_LOSS = "loss, nats per artificial example"


@dataclasses.dataclass(frozen=True)
class _Scale:
    """An axis of losses: linear, or logarithmic on both sides of a linear part around zero.

    Attributes:
      edges: of bins, over all losses.
      limits: of the axis, over losses and marks.
      threshold: where the linear part ends; None if all is linear.
    """

    edges: np.ndarray
    limits: tuple[float, float]
    threshold: Optional[float]

    @classmethod
    def of(cls, losses: np.ndarray, marks: Sequence[float] = ()) -> _Scale:
        low, high = float(losses.min()), float(losses.max())
        if not high - low > 1e-9 * max(abs(low), abs(high)):
            low, high = low - (0.1 * abs(low) or 1e-3), high + (0.1 * abs(high) or 1e-3)
        threshold = _threshold(losses)
        ends = np.array([min([low, *marks]), max([high, *marks])])
        if threshold is None:
            ends += 0.03 * np.ptp(ends) * np.array([-1, 1])
            return cls(np.linspace(low, high, _BINS + 1), (float(ends[0]), float(ends[1])), None)
        transform = SymmetricalLogTransform(10, threshold, _LINEAR)
        back = transform.inverted().transform
        places = transform.transform(np.array([low, high, *ends]))
        edges = back(np.linspace(places[0], places[1], _BINS + 1))
        edges[0], edges[-1] = low, high
        margin = 0.03 * (places[3] - places[2])
        limits = back(np.array([places[2] - margin, places[3] + margin]))
        return cls(edges, (float(limits[0]), float(limits[1])), threshold)

    @property
    def note(self) -> str:
        """Says where the axis is logarithmic, if anywhere."""
        return "" if self.threshold is None else f" (log scale beyond ±{_short(self.threshold)})"

    def apply(self, axes: Axes, side: str) -> None:
        """Sets the scale, limits and ticks of the `x` or `y` axis."""
        set_scale, set_limits, axis = (
            getattr(axes, f"set_{side}scale"),
            getattr(axes, f"set_{side}lim"),
            getattr(axes, f"{side}axis"),
        )
        if self.threshold is None:
            set_limits(self.limits)
            return
        set_scale("symlog", linthresh=self.threshold, linscale=_LINEAR)
        set_limits(self.limits)
        ticks = _ticks(self.limits, self.threshold)
        axis.set_ticks(list(ticks), list(ticks.values()))
        axis.set_minor_locator(NullLocator())


def draw(estimate: PrivacyEstimate, document: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes the PNG of `losses`.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    style.write_png(losses(estimate, document), path)


def draw_comparison(
    retrained: Sequence[float], imitated: Sequence[float], path: pathlib.Path
) -> None:
    """Writes the PNG of `comparison`.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    style.write_png(comparison(retrained, imitated), path)


def losses(estimate: PrivacyEstimate, document: Mapping[str, Any]) -> Figure:
    """How losses of members are spread, with their mean and one gamma's bounds; below, members beside controls.

    Args:
      estimate: with at least one loss of members and of controls, all finite.
      document: that of the estimate, with any other keys.
    """
    bound = _bound(document["mu"])
    marks = {name: bound["bounds"][name]["per_example"] for name in _BOUNDS} if bound else {}
    sides = (estimate.losses, estimate.pooled_members, estimate.pooled_controls)
    scale = _Scale.of(np.concatenate(sides), [document["mean_loss"], *marks.values()])
    figure = style.new_figure(7.4)
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_members(above, estimate, document, scale)
    _draw_bounds(above, document, bound, marks)
    _draw_pooled(below, estimate, document, scale)
    scale.apply(below, "x")
    below.set_xlabel(_LOSS + scale.note)
    figure.supxlabel(FOOTER, fontsize=9, style="italic")
    return figure


def _bound(mu: Sequence[Mapping[str, Any]]) -> Optional[Mapping[str, Any]]:
    """The bounds of the gamma that is drawn; None if all are refused."""
    supported = [each for each in mu if not each["refused"]]
    wanted = [each for each in supported if math.isclose(each["gamma"], _GAMMA)]
    return next(iter(wanted + supported), None)


def _draw_members(
    axes: Axes, estimate: PrivacyEstimate, document: Mapping[str, Any], scale: _Scale
) -> None:
    count = len(estimate.losses)
    shares = _shares(estimate.losses, scale)
    axes.stairs(shares, scale.edges, fill=True, color=_MEMBERS, alpha=0.45, label="members")
    axes.stairs(shares, scale.edges, color=_MEMBERS, lw=1)
    title = f"what leaving out one of {count:,} records that were trained on would change"
    if estimate.saturated.any():
        title += f"\n{estimate.saturated.mean():.1%} are saturated: their losses are at least what is drawn"
    axes.set_title(title, fontsize=10)
    _share_axis(axes, shares.max())


def _draw_bounds(
    axes: Axes,
    document: Mapping[str, Any],
    bound: Optional[Mapping[str, Any]],
    marks: Mapping[str, float],
) -> None:
    least = "at least " if document["mean_is_at_least"] else ""
    mean = document["mean_loss"]
    interval = f"{_short(document['mean_loss_low'])} to {_short(document['mean_loss_high'])}"
    label = f"mean {least}{_short(mean)}\n({interval})"
    gamma = f"γ = {bound['gamma']:.3g}" if bound else ""
    handles: list[Any] = [
        axes.axvline(mean, 0, 1 - _BAND, color=_MEAN, lw=2, label=label, zorder=4)
    ]
    for zorder, (name, value) in enumerate(marks.items(), 2):
        text, colour, dashes, width = _BOUNDS[name]
        label = f"{text} {_short(value)}\n{gamma}, {_MOMENTS[name]}"
        look: dict[str, Any] = {"color": colour, "ls": dashes, "lw": width, "zorder": zorder}
        handles.append(axes.axvline(value, 0, 1 - _BAND, label=label, **look))
    if not bound:
        axes.text(0.98, 0.98 - _BAND, _why(document["mu"]), **_CORNER, transform=axes.transAxes)
    axes.legend(handles=handles, **_LEGEND, ncols=3, columnspacing=1.2)


_LEGEND: dict[str, Any] = {"loc": "upper right", "frameon": False, "fontsize": 9}
_CORNER: dict[str, Any] = {
    "ha": "right",
    "va": "top",
    "fontsize": 9,
    "bbox": {"fc": "white", "ec": "#999999", "boxstyle": "round"},
}


def _why(mu: Sequence[Mapping[str, Any]]) -> str:
    """Why no bound is drawn."""
    if not mu:
        return "no bound: no gamma was asked for"
    most = max(mu, key=lambda each: each["gamma"])
    return textwrap.fill(
        f"no bound: every gamma is refused; for {most['gamma']:.3g}: {most['refused']}", 50
    )


def _draw_pooled(
    axes: Axes, estimate: PrivacyEstimate, document: Mapping[str, Any], scale: _Scale
) -> None:
    sides = (
        ("members", estimate.pooled_members, _MEMBERS, "-"),
        ("controls", estimate.pooled_controls, _CONTROLS, "--"),
    )
    highest = 0.0
    for name, values, colour, dashes in sides:
        shares = _shares(values, scale)
        highest = max(highest, shares.max())
        text = f"{name}: mean {_short(values.mean())}"
        axes.stairs(shares, scale.edges, color=colour, ls=dashes, lw=1.8, label=text)
    ratio = _times(document["members_to_controls"])
    ends = dict.fromkeys(map(_times, document["members_to_controls_interval"]))
    interval = f"99% interval {' to '.join(ends)}"
    count = len(estimate.pooled_controls)
    axes.set_title(
        f"{len(estimate.pooled_members):,} members and {count:,} controls, pooled\n"
        f"members' mean over controls': {ratio} ({interval})",
        fontsize=10,
    )
    _share_axis(axes, highest)
    axes.legend(**_LEGEND, ncols=2)


def _times(ratio: float) -> str:
    most = ratio >= LARGEST_RATIO * (1 - 1e-9)
    return f"{LARGEST_RATIO:,.0f} or more" if most else style.number(ratio)


def _short(loss: float) -> str:
    """A loss of three digits, its exponent without a leading zero."""
    digits, _, exponent = f"{loss:.3g}".partition("e")
    return f"{digits}e{int(exponent)}" if exponent else digits


def _shares(values: np.ndarray, scale: _Scale) -> np.ndarray:
    """Of the records in each bin, percent."""
    return 100 * np.histogram(values, scale.edges)[0] / len(values)


def _share_axis(axes: Axes, highest: float) -> None:
    """Percents up to the highest, and room for a legend above."""
    style.tidy(axes)
    axes.set_ylim(0, 1.05 * highest / (1 - _BAND))
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= min(100, 1.05 * highest)])
    axes.set_ylabel("share of records (%)")


def _threshold(losses: np.ndarray) -> Optional[float]:
    """Where an axis becomes logarithmic, a power of ten, or None if it should not.

    Losses below zero are noise, and so are those above it of the same size: both are in the linear part, where a
    density has no hump on either side of zero.
    """
    sizes, below = np.abs(losses[losses != 0]), -losses[losses < 0]
    if not sizes.size or sizes.max() < _SPREAD * np.quantile(sizes, 0.25):
        return None
    least = max(np.quantile(sizes, 0.1), sizes.max() / 10**_DECADES)
    power = math.floor(math.log10(least))
    if below.size:
        power = max(power, math.ceil(math.log10(np.quantile(below, 0.9))))
    return 10.0**power if 10.0 ** (power + 1) <= sizes.max() else None


def _ticks(limits: tuple[float, float], threshold: float) -> dict[float, str]:
    """Zero and powers of ten within the limits, with their labels."""
    first, last = round(math.log10(threshold)), math.floor(math.log10(max(map(abs, limits))))
    ticks = {0.0: "0"}
    for power in range(first, last + 1):
        ticks[10.0**power] = f"$10^{{{power}}}$"
        ticks[-(10.0**power)] = f"$-10^{{{power}}}$"
    return {place: text for place, text in sorted(ticks.items()) if limits[0] <= place <= limits[1]}


def comparison(retrained: Sequence[float], imitated: Sequence[float]) -> Figure:
    """Losses by retraining against imitated ones of the same records; on the line they are equal.

    Raises:
      ValueError: not two lists of as many finite losses.
    """
    y, x = np.asarray(retrained, float), np.asarray(imitated, float)
    if x.shape != y.shape or x.ndim != 1 or not x.size or not np.isfinite([x, y]).all():
        raise ValueError(
            f"imitated must have a finite loss for each of retrained, got {x.shape} and {y.shape}"
        )
    scale = _Scale.of(np.concatenate([x, y]))
    figure = style.new_figure(6.8)
    axes = figure.subplots()
    axes.plot(scale.limits, scale.limits, color="#666666", ls="--", lw=1.2, label="equal")
    axes.plot(x, y, "o", color=_MEMBERS, mec="white", ms=7, label="a record")
    for side in ("x", "y"):
        scale.apply(axes, side)
    axes.set_aspect("equal")
    style.tidy(axes)
    axes.set(xlabel=f"imitated {_LOSS}{scale.note}", ylabel=f"retrained {_LOSS}{scale.note}")
    axes.set_title(f"{len(x)} records, {_rank_correlation(y, x)}", fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
    return figure


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> str:
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return "no rank correlation"
    return f"Spearman's ρ = {stats.spearmanr(first, second)[0]:.2f}"
