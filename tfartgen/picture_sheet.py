# SPDX-License-Identifier: Apache-2.0
"""A sheet of pictures, a column for each class, for figures. A row of real records is marked as private."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfartgen import figure_style as style

#: Small text, as beside pictures.
SMALL: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "bottom"}
#: Most classes side by side.
MOST_COLUMNS = 20

_GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
_WARNING = "#b00020"
#: What is behind pictures: of real records, and where there are none.
_TINT: dict[str, Any] = {"fc": "#fbdfe2", "ec": _WARNING, "lw": 1, "zorder": -1}
_EMPTY: dict[str, Any] = {"fc": "#f4f4f4", "ec": "#cccccc", "hatch": "///", "lw": 0.6}

#: Pixels: of labels, between pictures, of a line, a character, and a picture.
_LABELS, _GAP, _LINE, _CHARACTER, _LARGEST = 200, 6, 15, 6.5, 110
#: Characters.
_LONGEST_NAME, _LONGEST_LINE = 14, 28


class Strip(NamedTuple):
    """A label, uint8 `[classes, height, width, channels]`, and whether these are real records."""

    lines: Sequence[str]
    images: Optional[np.ndarray]
    private: bool = False

    @classmethod
    def of(cls, lines: Sequence[str], images: Optional[np.ndarray]) -> Strip:
        """Breaks lines that are too long."""
        return cls(sum([textwrap.wrap(line, _LONGEST_LINE) for line in lines], []), images)


class Sheet:
    """Strips with a column for each class; many classes are wrapped. Lengths are in pixels."""

    def __init__(self, names: Sequence[str], strips: Sequence[Strip], top: int):
        """Plans; the first strip has images."""
        self._names = [style.plain(name, _LONGEST_NAME) for name in names]
        self._strips, self._top = strips, top
        columns = min(MOST_COLUMNS, len(names))
        height, width = np.asarray(strips[0].images).shape[1:3]
        room = (style.WIDTH * style.DPI - _LABELS) / columns - _GAP
        scale = min(room / width, _LARGEST / max(height, width))
        # Pixels of a picture are equally large, unless there are more than there is room for.
        self._interpolation = "nearest" if scale >= 1 else "antialiased"
        scale = math.floor(scale) if scale >= 1 else scale
        self._width, self._height = max(1, round(scale * width)), max(1, round(scale * height))
        self._pitch = min(room, 1.35 * self._width) + _GAP
        longest = _CHARACTER * max(map(len, self._names))
        self._turned = longest > self._pitch
        self._head = round(longest if self._turned else _LINE) + _GAP
        self._rows = [max(self._height, _LINE * len(s.lines)) + _GAP for s in strips]
        self._starts = range(0, len(self._names), MOST_COLUMNS)
        self.height = top + len(self._starts) * (self._head + sum(self._rows) + 2 * _GAP)

    def draw(self, figure: Figure) -> None:
        """Draws on a figure of this height."""
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, style.WIDTH * style.DPI), ylim=(self.height, 0))
        axes.set_axis_off()
        top = self._top
        for start in self._starts:
            columns = range(start, min(start + MOST_COLUMNS, len(self._names)))
            top += self._head
            for i, label in enumerate(columns):
                x = _LABELS + i * self._pitch + self._width / 2
                axes.text(x, top - 3, self._names[label], rotation=90 * self._turned, **SMALL)
            for strip, height in zip(self._strips, self._rows):
                self._strip(axes, strip, columns, top, height)
                top += height
            top += 2 * _GAP

    def _strip(self, axes: Axes, strip: Strip, columns: range, top: int, height: int) -> None:
        width = (len(columns) - 1) * self._pitch + self._width
        middle, colour = top + height / 2, _WARNING if strip.private else "black"
        axes.text(8, middle, "\n".join(strip.lines), fontsize=7, va="center", color=colour)
        if strip.private:
            axes.add_patch(Rectangle((3, top), _LABELS + width, height, **_TINT))
        if strip.images is None:
            axes.add_patch(Rectangle((_LABELS, top + 3), width, height - _GAP, **_EMPTY))
            return
        upper = round(middle - self._height / 2)
        for i, label in enumerate(columns):
            left = round(_LABELS + i * self._pitch)
            extent = (left, left + self._width, upper + self._height, upper)
            image, look = strip.images[label], {**_GREY, "interpolation": self._interpolation}
            image = image[..., 0] if image.shape[-1] == 1 else image
            axes.imshow(image, extent=extent, aspect="auto", **look)


def records(images: np.ndarray) -> Strip:
    """The strip of real records, uint8 `[classes, height, width, channels]`."""
    return Strip(["real record", "of the training data", "PRIVATE"], images, private=True)


def warn(figure: Figure, top: int, height: int) -> None:
    """Says that the figure shows real records, so many pixels below the top of its height."""
    text = "PRIVATE: the first row shows real records"
    look: dict[str, Any] = {"color": _WARNING, "fontsize": 10, "weight": "bold"}
    figure.text(0.5, 1 - top / height, text, ha="center", va="top", **look)
