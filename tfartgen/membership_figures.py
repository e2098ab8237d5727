# SPDX-License-Identifier: Apache-2.0
"""The figure of membership inference: ROC curves of attacks, on axes where low rates can be read."""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter
from scipy import stats

from tfartgen import figure_style as style
from tfartgen.figure_style import Row

#: Okabe and Ito's palette, for names of attacks.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: What a curve is, with its dashes and width; those without a colour have that of the attack.
_ROLES: dict[str, dict[str, Any]] = {
    "memorised": {"color": "#555555", "ls": "--", "lw": 1.0, "zorder": 2},
    "control": {"ls": ":", "lw": 1.8, "zorder": 3},
    "main": {"ls": "-", "lw": 1.8, "zorder": 4},
}
_ROLE_NAMES = {"control": "control: never saw them", "memorised": "one that memorised"}
_CHANCE: dict[str, Any] = {"color": "#999999", "ls": "-.", "lw": 1.0, "zorder": 1}
_BAND: dict[str, Any] = {"color": "#e4e4e4", "lw": 0, "zorder": 0}
_MOST_COLUMNS = 3
#: Where axes start, at the latest.
_START = 1e-3
#: Largest side of a panel, inches, and what title and legend take.
_SIDE, _MARGIN = 4.8, 1.6
#: Places along the axis at which curves are traced, and the band.
_PLACES, _BAND_PLACES = 400, 150


def draw(document: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes the PNG of `figure`.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    style.write_png(figure(document), path)


def figure(document: Mapping[str, Any]) -> Figure:
    """ROC curves on logarithmic axes, with a panel for each kind of target.

    Rates of zero are at the lower edge. The band is where 95% of the curves of scores that tell nothing are, at each
    false-positive rate on its own.

    Args:
      document: with `dataset` and `attacks`, one or more, each with target, name, and under `main`, `control` and
        `memorised` what `membership.success` returned; the latter two may be None.
    """
    attacks = document["attacks"]
    targets, colours = style.distinct(attacks, "target"), _colours(attacks)
    start = min([_START, *(1 / (2 * _larger(each["main"])) for each in attacks)])
    columns = min(_MOST_COLUMNS, len(targets))
    rows = math.ceil(len(targets) / columns)
    drawn = style.new_figure(_MARGIN + rows * min(_SIDE, style.WIDTH / columns))
    cells = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axes, target in zip(cells, targets):
        _panel(axes, [each for each in attacks if each["target"] == target], colours, start)
    for axes in cells[len(targets) :]:
        axes.set_axis_off()
    for axes in cells[max(0, len(targets) - columns) : len(targets)]:
        axes.set_xlabel("false-positive rate")
    for axes in cells[::columns]:
        axes.set_ylabel("true-positive rate")
    name = style.dataset_name(document)
    drawn.suptitle(f"{name}: who was in the training data?\nROC of {_sizes(attacks)}", fontsize=11)
    style.legend_below(drawn, _handles(attacks, colours))
    return drawn


def _colours(attacks: Sequence[Row]) -> dict[str, str]:
    names = style.distinct(attacks, "name")
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}


def _larger(result: Mapping[str, Any]) -> int:
    return max(result["num_members"], result["num_non_members"])


def _sizes(attacks: Sequence[Row]) -> str:
    """How many members and non-members there are: one pair, or the least and the most."""
    parts = []
    for key, name in (("num_members", "members"), ("num_non_members", "non-members")):
        counts = [each["main"][key] for each in attacks]
        ends = dict.fromkeys([min(counts), max(counts)])
        parts.append(" to ".join(f"{count:,}" for count in ends) + f" {name}")
    return " and ".join(parts)


def _panel(axes: Axes, attacks: Sequence[Row], colours: Mapping[str, str], start: float) -> None:
    fewest = min((each["main"] for each in attacks), key=_larger)
    band = _chance(fewest["num_members"], fewest["num_non_members"], start)
    axes.fill_between(*band, step="post", **_BAND)
    axes.plot([start, 1], [start, 1], label="chance", **_CHANCE)
    for role, look in _ROLES.items():
        for attack in attacks:
            if attack[role]:
                name, points = attack["name"], _curve(attack[role]["roc"], start)
                axes.plot(*points, label=f"{role} {name}", **{"color": colours[name], **look})
    axes.set(xscale="log", yscale="log", xlim=(start, 1), ylim=(start, 1))
    axes.set_aspect("equal")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    style.tidy(axes)
    axes.set_title(style.plain(attacks[0]["target"]), fontsize=10)


def _curve(roc: Mapping[str, Sequence[float]], start: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and places between them, since what is straight is bent on logarithmic axes."""
    x, y = (np.array(roc[f"{kind}_positive_rate"]) for kind in ("false", "true"))
    places = np.geomspace(start, 1, _PLACES)
    x, y = np.concatenate([x, places]), np.concatenate([y, np.interp(places, x, y)])
    order = np.lexsort((y, x))
    return np.maximum(x[order], start), np.maximum(y[order], start)


@functools.lru_cache(maxsize=8)
def _chance(m: int, n: int, start: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where curves of m members and n non-members are if any order of all scores is as likely as another.

    How many members are above a threshold that k non-members are above is then a beta-binomial number. A binomial one
    would forget that the threshold is off by chance too.

    Returns:
      False-positive rates, and the 2.5% and 97.5% quantiles of the true-positive rate from each to the next.
    """
    accused = np.unique((np.geomspace(start, 1, _BAND_PLACES) * n).astype(int))
    accused = accused[accused < n]
    members = stats.betabinom(m, accused + 1, n - accused)
    low, high = (np.append(members.ppf(quantile) / m, 1.0) for quantile in (0.025, 0.975))
    places = np.append(accused / n, 1.0)
    return np.maximum(places, start), np.maximum(low, start), np.maximum(high, start)


def _handles(attacks: Sequence[Row], colours: Mapping[str, str]) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], **{**_ROLES["main"], "color": colour}, label=style.plain(name))
        for name, colour in colours.items()
    ]
    for role, name in _ROLE_NAMES.items():
        if any(each[role] for each in attacks):
            handles.append(Line2D([], [], **{"color": "#555555", **_ROLES[role]}, label=name))
    handles.append(Line2D([], [], **_CHANCE, label="chance"))
    return [*handles, Patch(**_BAND, label="95% of chance, at each rate")]
