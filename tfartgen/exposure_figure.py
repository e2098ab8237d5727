# SPDX-License-Identifier: Apache-2.0
"""The picture of the most exposed records: each beside what is nearest to it in the release. It holds real records."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TITLE = "PRIVATE: the first picture of each row is a real record. Do not publish."

#: Pixels that an image's longer side takes, at least and at most.
_LEAST, _MOST = 64, 160
#: Pixels: between images, around the record, of text, and of the column of labels.
_GAP, _FRAME, _FONT_SIZE, _LABELS = 8, 3, 16, 190
#: Of the title and of the names of columns.
_TITLE_HEIGHT, _HEAD_HEIGHT = 36, 30
_WARNING = "#D55E00"


def png(records: Sequence[Mapping[str, Any]], images: np.ndarray, nearest: np.ndarray) -> bytes:
    """A PNG with a row for each record.

    Args:
      records: with `position`, `loss` and `saturated`.
      images: of these, uint8 [records, height, width, channels], 1 or 3 channels.
      nearest: artificial images, the nearest first, uint8 [records, n, height, width, channels].
    """
    content = io.BytesIO()
    grid(records, images, nearest).save(content, format="png", optimize=True)
    return content.getvalue()


def grid(
    records: Sequence[Mapping[str, Any]], images: np.ndarray, nearest: np.ndarray
) -> Image.Image:
    """The picture itself; arguments are those of `png`."""
    font = ImageFont.load_default(_FONT_SIZE)
    width, height = cell(images.shape[2], images.shape[1])
    left = _LABELS + width + 5 * _GAP
    top, step = _TITLE_HEIGHT + _HEAD_HEIGHT, max(height, 4 * _FONT_SIZE) + 2 * _GAP
    needed = round(font.getlength(TITLE)) + 4 * _GAP
    size = max(needed, left + nearest.shape[1] * (width + _GAP)), top + len(records) * step
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, size[0], _TITLE_HEIGHT - 1), fill=_WARNING)
    pen.text((2 * _GAP, _TITLE_HEIGHT // 2), TITLE, "white", font, anchor="lm")
    middle = _TITLE_HEIGHT + _HEAD_HEIGHT // 2
    pen.text((_LABELS + width // 2, middle), "real", _WARNING, font, anchor="mm")
    pen.text((left, middle), "nearest artificial images", "black", font, anchor="lm")
    for row, (record, image, others) in enumerate(zip(records, images, nearest)):
        y = top + row * step
        pen.multiline_text((2 * _GAP, y), label(record), "black", font, spacing=4)
        frame = (
            _LABELS - _FRAME,
            y - _FRAME,
            _LABELS + width + _FRAME - 1,
            y + height + _FRAME - 1,
        )
        pen.rectangle(frame, fill=_WARNING)
        picture.paste(_sized(image, width, height), (_LABELS, y))
        for column, other in enumerate(others):
            picture.paste(_sized(other, width, height), (left + column * (width + _GAP), y))
    return picture


def label(record: Mapping[str, Any]) -> str:
    """What is written beside a record."""
    loss = f"{record['loss']:.3g} nats"
    lines = [f"record {record['position']}", f"loss {loss}"]
    return "\n".join(
        [lines[0], f"loss at least\n{loss}", "saturated"] if record["saturated"] else lines
    )


def cell(width: int, height: int) -> tuple[int, int]:
    """Size at which images are shown: a whole multiple of small ones, and large ones shrunk."""
    longer = max(width, height)
    if longer > _MOST:
        return max(1, width * _MOST // longer), max(1, height * _MOST // longer)
    zoom = -(-_LEAST // longer)
    return width * zoom, height * zoom


def _sized(image: np.ndarray, width: int, height: int) -> Image.Image:
    pixels = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    shrunk = width < pixels.width
    return pixels.resize(
        (width, height), Image.Resampling.BOX if shrunk else Image.Resampling.NEAREST
    )
