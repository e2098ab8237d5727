# SPDX-License-Identifier: Apache-2.0
"""Charts of a report, as SVG that takes the colours of the page around it and can be read on a phone.

They are narrow, their text is text, and what is black in print is light in the dark. Every number in them is in a
table beside them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from tfartgen import figure_style as style
from tfartgen.inversion_tables import TARGET_NAMES
from tfartgen.report_standing import LossBound

Document = Mapping[str, Any]

#: Of a chart, in inches; and of a row of points, and of what is above and below all rows.
_WIDTH, _ROW, _MARGIN = 4.8, 0.27, 1.15

#: Colours that stand for those of the page: of its text, and of lines that are to be faint.
_INK, _FAINT = "#010203", "#040506"
_OF_PAGE = {_INK: "currentColor", _FAINT: "var(--faint)"}

_SMALL = 8.5
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_BLUE, _ORANGE, _GREEN = "#2b8cbe", "#D55E00", "#009E73"

#: How main, control and memorised success look.
_ROLES = {
    "main": ("this target", _BLUE, "o"),
    "control": ("control: never saw them", _GREEN, "s"),
    "memorised": ("something that memorised them", _ORANGE, "^"),
}
_ATTACKS = ((_BLUE, "o"), (_ORANGE, "s"), (_GREEN, "^"))


class _Point(NamedTuple):
    """A value with its interval, in a row of a chart."""

    row: int
    value: float
    low: float
    high: float


def accuracy(document: Document) -> str:
    """Accuracy of students in percent: a row for each architecture and what it was trained on."""
    names: list[str] = []
    groups: dict[tuple[str, str, str], list[_Point]] = {}
    looks = style.architecture_looks(document["table"])
    for architecture, look in looks.items():
        names.append(look.label)
        for own, row in style.rows_of(document, architecture):
            (mean,), ((below,), (above,)) = style.percent([row["accuracy"]])
            below, above = np.nan_to_num(below), np.nan_to_num(above)
            key = (_short(own.label), own.colour if own.colour != "#000000" else _INK, own.marker)
            groups.setdefault(key, []).append(
                _Point(len(names) - 1, mean, mean - below, mean + above)
            )
    start = style.accuracy_start(point.low for points in groups.values() for point in points)
    figure, axes = _rows(names, groups)
    axes.set(xlim=(start, style.accuracy_end(start)))
    axes.set_xlabel(style.accuracy_label(start).replace("\n", "; "))
    return _svg(figure, "accuracy")


def _short(label: str) -> str:
    return label.replace("real data, no privacy", "real data").replace(", no guarantee", "")


def membership(document: Document) -> str:
    """AUC of every attack, of its control, and of what memorised."""
    attacks, groups = document["attacks"], {}
    for role, look in _ROLES.items():
        groups[look] = [
            _Point(row, auc["value"], auc["low"], auc["high"])
            for row, auc in enumerate(attack[role]["auc"] for attack in attacks)
        ]
    names = [f"{attack['target']}:\n{attack['name']}" for attack in attacks]
    figure, axes = _rows(names, groups)
    axes.axvline(0.5, color=_INK, ls=":", lw=1)
    axes.set(xlim=(min(0.4, *axes.get_xlim()), 1.02))
    axes.set_xlabel("area under the ROC curve; dotted: chance")
    return _svg(figure, "membership")


def inversion(document: Document) -> str:
    """Share of classes identified, for every architecture and target, a marker for each attack."""
    rows = [row for row in document["rows"] if "top1" in row]
    keys = list(dict.fromkeys((row["architecture"], row["target"]) for row in rows))
    groups: dict[tuple[str, str, str], list[_Point]] = {}
    for attack, (colour, marker) in zip(style.distinct(rows, "attack"), _ATTACKS):
        groups[f"{attack} attack", colour, marker] = [
            _Point(keys.index((r["architecture"], r["target"])), *_percents(r["top1"]))
            for r in rows
            if r["attack"] == attack
        ]
    looks = style.architecture_looks(rows)
    names = [f"{looks[a].label}: {_target(t)}" for a, t in keys]
    figure, axes = _rows(names, groups)
    axes.axvline(100 * document["chance"], color=_INK, ls=":", lw=1)
    axes.set(xlim=(-2, 102), xlabel="classes identified (%); dotted: chance")
    return _svg(figure, "inversion")


def _target(name: str) -> str:
    return (
        TARGET_NAMES[name]
        .replace("baseline: ", "")
        .replace("control: ", "")
        .replace("real data, DP", "DP")
    )


def _percents(found: Mapping[str, float]) -> tuple[float, float, float]:
    return 100 * found["rate"], 100 * found["low"], 100 * found["high"]


def mu(document: Document, known: Optional[LossBound] = None) -> Optional[str]:
    """Bounds on the loss per release at each share gamma; None where every one of them was refused.

    Args:
      document: of the estimate.
      known: the accountant's bound, which is drawn where it is near.
    """
    rows = [row for row in document["mu"] if not row["refused"]]
    if not rows:
        return None
    figure, axes = _empty(2.6)
    gammas = [row["gamma"] for row in rows]
    values = [row["bounds"]["saw_yang_mo"]["per_release"] for row in rows]
    axes.plot(gammas, values, color=_BLUE, marker="o", lw=1.4, ms=5, label="Saw, Yang and Mo")
    if known is not None and known.nats < 10 * max(values):
        label = "proven, for every record" if known.proven else "accounted, with ideal noise"
        axes.axhline(known.nats, color=_INK, ls="--", lw=1, label=label)
    axes.set(xscale="log", yscale="log", xlabel="share gamma of records that may lose more")
    axes.set(ylabel="nats, whole release")
    axes.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    _legend(figure, axes.get_legend_handles_labels()[0])
    return _svg(figure, "mu")


def roc(document: Document) -> list[tuple[str, str]]:
    """ROC curves on logarithmic axes: for each attack its name and a chart. For the private page."""
    charts = []
    for number, attack in enumerate(document["attacks"]):
        figure, axes = _empty(3.6)
        axes.plot([1e-4, 1], [1e-4, 1], color=_FAINT, lw=1)
        start = min(
            1e-2, 0.5 / max(attack["main"]["num_members"], attack["main"]["num_non_members"])
        )
        for role, (label, colour, _) in _ROLES.items():
            curve = attack[role]["roc"]
            places = np.geomspace(start, 1, 200)
            found = np.interp(places, curve["false_positive_rate"], curve["true_positive_rate"])
            axes.plot(places, np.maximum(found, start), color=colour, lw=1.4, label=label)
        axes.set(xscale="log", yscale="log", xlim=(start, 1), ylim=(start, 1.1))
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
        _legend(figure, axes.get_legend_handles_labels()[0])
        charts.append((f"{attack['target']}: {attack['name']}", _svg(figure, f"roc{number}")))
    return charts


def _rows(
    names: Sequence[str], groups: Mapping[tuple[str, str, str], Iterable[_Point]]
) -> tuple[Figure, Axes]:
    """Points with intervals in rows, the first on top; groups are told apart by their looks, and set apart in a row."""
    lines = max(1, len(groups))
    step = max(_ROW, 0.15 * lines + 0.1)
    figure, axes = _empty(_MARGIN + 0.2 * ((len(groups) + 1) // 2) + step * len(names))
    for position, ((_, colour, marker), points) in enumerate(groups.items()):
        shift = (position - (len(groups) - 1) / 2) * 0.62 / lines
        for point in points:
            at = [point.row + shift]
            axes.plot([point.low, point.high], at * 2, color=colour, lw=1.6)
            axes.plot([point.value], at, color=colour, marker=marker, ms=4.5, ls="")
    axes.set_yticks(range(len(names)), [style.plain(n, 60) if "\n" not in n else n for n in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=_SMALL)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color=_FAINT, lw=0.5)
    axes.grid(axis="x", color=_FAINT, lw=0.5)
    handles = [Line2D([], [], color=c, marker=m, lw=1.6, ms=4.5, label=lab) for lab, c, m in groups]
    _legend(figure, handles)
    return figure, axes


def _empty(height: float) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    return figure, axes


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    with matplotlib.rc_context(_RC):
        figure.legend(
            handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=_SMALL
        )


def _svg(figure: Figure, name: str) -> str:
    """The `<svg>` element, the same for the same figure, and with identifiers of its own in a page."""
    content = io.StringIO()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", svg, count=2)
    for stand_in, colour in _OF_PAGE.items():
        svg = svg.replace(stand_in, colour)
    return svg.strip()
