# SPDX-License-Identifier: Apache-2.0
"""What all figures share: colours, names, intervals, axes of accuracy, and how a figure becomes a file.

Only matplotlib's objects are used, never pyplot, so drawing leaves no state behind and needs no screen.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from tfartgen.evaluation_tables import ARCHITECTURE_NAMES, METHOD_NAMES
from tfartgen.rounding import upwards_with_commas
from tfartgen.whole_files import write_atomically

Row = Mapping[str, Any]

DPI = 120
#: Of a figure, inches: 1000 pixels.
WIDTH = 1000 / DPI

#: Colours and markers of methods. Okabe and Ito's palette, which colour-blind people can tell apart.
_METHODS = {
    "real": ("#000000", "o"),
    "artificial": ("#0072B2", "s"),
    "pool": ("#CC79A7", "D"),
    "dp_sgd": ("#D55E00", "^"),
    "pate": ("#E69F00", "v"),
}
#: Releases beyond the first have lighter blues, and each its marker.
_RELEASE_MARKERS = "sphd<>8H"
_LIGHTEST = 0.6

_ARCHITECTURES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
)


@dataclasses.dataclass(frozen=True)
class Look:
    """How one kind of student is drawn, and called.

    Attributes:
      label: for legends.
      colour: of line and marker.
      marker: matplotlib's name of it.
    """

    label: str
    colour: str
    marker: str

    def handle(self, label: Optional[str] = None, line: str = "") -> Line2D:
        """An entry of a legend."""
        return Line2D(
            [], [], color=self.colour, marker=self.marker, ls=line, label=label or self.label
        )


def method_looks(document: Mapping[str, Any]) -> dict[tuple[str, Optional[str]], Look]:
    """The looks of a table's methods and releases, real data first, by method and release."""
    rows, looks = document["table"], {}
    names = release_names(document)
    for method, (colour, marker) in _METHODS.items():
        own = distinct((row for row in rows if row["method"] == method), "release")
        for position, release in enumerate(own):
            row = next(r for r in rows if (r["method"], r["release"]) == (method, release))
            text = METHOD_NAMES[method]
            if method == "artificial":
                text += f" ({names[release]})"
                colour = _shade(_METHODS[method][0], position / max(1, len(own) - 1))
                marker = _RELEASE_MARKERS[position % len(_RELEASE_MARKERS)]
            looks[method, release] = Look(text + _privacy(row, document), colour, marker)
    return looks


def rows_of(document: Mapping[str, Any], architecture: str) -> list[tuple[Look, Row]]:
    """A table's rows of an architecture with their looks, real data first."""
    return [
        (look, row)
        for key, look in method_looks(document).items()
        for row in document["table"]
        if (row["method"], row["release"]) == key and row["architecture"] == architecture
    ]


def strongest(document: Mapping[str, Any]) -> tuple[str, str]:
    """The architecture that a table comes to last, and what it is called."""
    name = document["table"][-1]["architecture"]
    return name, architecture_looks(document["table"])[name].label


def architecture_looks(rows: Iterable[Row]) -> dict[str, Look]:
    """The looks of architectures, by name."""
    return {
        name: Look(plain(_called(name)), *_ARCHITECTURES[i % len(_ARCHITECTURES)])
        for i, name in enumerate(distinct(rows, "architecture"))
    }


def _shade(colour: str, share: float) -> str:
    levels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(v + (255 - v) * _LIGHTEST * share):02x}" for v in levels)


def _privacy(row: Row, document: Mapping[str, Any]) -> str:
    """Which epsilon a row spent: without it, students of different budgets would look like equals."""
    if row["method"] != "artificial":
        return (
            f", ε = {upwards_with_commas(row['epsilon'], 3)}"
            if row.get("epsilon") is not None
            else ""
        )
    releases = {each["folder"]: each for each in document.get("releases", [])}
    statement = releases.get(row["release"], {})
    epsilon = statement.get("epsilon")
    text = f", ε = {upwards_with_commas(epsilon, 3)}" if epsilon is not None else ""
    return text + (", no guarantee" if statement.get("guarantee") == "none" else "")


def release_names(document: Mapping[str, Any]) -> dict[str, str]:
    """Short names of the release folders: their last parts, as many as tell them apart."""
    rows = [row for study in ("table", "curve", "fidelity") for row in document.get(study, [])]
    rows += [document["validation"]] if document.get("validation") else []
    folders = [release for release in distinct(rows, "release") if release and " + " not in release]
    parts = [[part for part in pathlib.PurePath(folder).parts if part != "/"] for folder in folders]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = [plain("/".join(each[-depth:])) for each in parts]
        if len(set(names)) == len(names):
            break
    return dict(zip(folders, names)) if folders else {}


def plain(text: str, longest: int = 40) -> str:
    """Text that matplotlib does not take for mathematics, of one line and bounded length."""
    text = " ".join(str(text).split())
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("$", r"\$")


def number(value: float) -> str:
    """Three digits, or a whole number with commas."""
    return f"{value:,.0f}" if 1000 <= value < 1e9 else f"{value:.3g}"


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """The values of a key, each once, in the order of their first row."""
    return list(dict.fromkeys(row[key] for row in rows))


def dataset_name(document: Mapping[str, Any]) -> str:
    """The data set's name, without the folders of a path."""
    return plain(pathlib.PurePath(document["dataset"]["name"]).name)


def class_names(document: Mapping[str, Any]) -> list[str]:
    """Names that fit on an axis."""
    return [plain(name, 18) for name in document["dataset"]["class_names"]]


def percent(intervals: Iterable[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Means and intervals in percent; an interval ends where accuracy does, at 0 and 100.

    Returns:
      Means `[n]`, and lengths of the error bars `[2, n]` below and above, NaN where there is no interval.
    """
    pairs = [(each["mean"], each["half_width"]) for each in intervals]
    mean, half = np.array(pairs, float).reshape(-1, 2).T * 100
    return mean, np.array([np.minimum(half, mean), np.minimum(half, 100 - mean)])


def seeds_note(rows: Sequence[Row]) -> str:
    """What points and bars are."""
    count = max((len(row["accuracies"]) for row in rows), default=0)
    if not count:
        return "no student"
    return (
        f"means of {count} seeds and their 95% intervals" if count > 1 else "one seed: no intervals"
    )


def divergence_note(row: Row) -> str:
    """How many of a row's students diverged; empty if none."""
    return f"{row['diverged']} of {len(row['accuracies'])} diverged" if row["diverged"] else ""


def mark_diverged(axes: Axes, rows: Sequence[Row], x: Any, y: Any) -> None:
    """Crosses the points of rows in which a student diverged."""
    chosen = [i for i, row in enumerate(rows) if row.get("diverged")]
    if chosen:
        x, y = np.asarray(x)[chosen], np.asarray(y)[chosen]
        axes.plot(x, y, "x", color="black", ms=10, mew=1.5, zorder=5, label="diverged")


def diverged_handles(rows: Iterable[Row]) -> list[Line2D]:
    """The entry in a legend of what `mark_diverged` draws, if it draws anything."""
    if not any(row.get("diverged") for row in rows):
        return []
    return [Line2D([], [], color="black", marker="x", ms=9, ls="", label="a seed diverged")]


def accuracy_start(lowest: Iterable[float]) -> float:
    """Where an axis of accuracy starts, in percent: below everything, at 0 unless that is far away."""
    start = 5 * math.floor((min(lowest) - 2) / 5)
    return min(start, 90) if start > 20 else 0


def accuracy_label(start: float) -> str:
    """Names an axis of accuracy, and says so if it does not start at 0."""
    return "accuracy on real test images (%)" + (f"\nthe axis starts at {start:g}" if start else "")


def accuracy_end(start: float) -> float:
    """Where such an axis ends: above 100, so that points there are whole, and below the next tick."""
    return 100 + 0.015 * (100 - start)


def accuracy_axis(set_limits: Any, set_label: Any, rows: Sequence[Row]) -> float:
    """Makes an axis of accuracy, of which the setters are, reach all rows; returns where it starts."""
    mean, errors = percent([row["accuracy"] for row in rows])
    start = accuracy_start(mean - np.nan_to_num(errors[0])) if rows else 0
    set_limits(start, accuracy_end(start))
    set_label(accuracy_label(start))
    return start


def _called(architecture: str) -> str:
    return ARCHITECTURE_NAMES.get(architecture, architecture.replace("_", " "))


def real_line(axes: Axes, rows: Iterable[Row], architecture: str, look: Look) -> None:
    """Draws a dashed line at the accuracy of an architecture's student of real data."""
    for row in rows:
        if row["architecture"] == architecture:
            axes.axhline(100 * row["accuracy"]["mean"], color=look.colour, ls="--", lw=1.2)


def new_figure(height: float) -> Figure:
    """An empty figure, its height in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Leaves what carries data: no frame at the top and right, a faint grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)


def legend_below(figure: FigureBase, handles: Sequence[Any], columns: int = 3) -> None:
    """One legend for the figure, outside of all axes."""
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def uncrowded(places: Sequence[float], least: float) -> list[int]:
    """Positions of the places, from the lowest, that are at least so far from the one before."""
    kept: list[int] = []
    for position in np.argsort(places, kind="stable").tolist():
        if not kept or places[position] - places[kept[-1]] >= least:
            kept.append(position)
    return kept


def write_png(figure: Figure, path: pathlib.Path) -> None:
    """Writes a PNG that readers see whole or not at all, with the same bytes for the same figure.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, content.getvalue())
