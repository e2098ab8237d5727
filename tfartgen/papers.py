# SPDX-License-Identifier: Apache-2.0
"""What lies beside an artificial data set: `preview.png`, `DATASHEET.md` and `privacy.json`.

All of it is made from the generator's statement, the plan and the drawn examples: post-processing. No TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import tfartgen
from tfartgen import artificial, datasheet, published_names, statement
from tfartgen.artificial import DrawPlan, ModelSpec

STATEMENT_FILE, SHEET_FILE, PREVIEW_FILE = "privacy.json", "DATASHEET.md", "preview.png"

#: Without a digest: the first holds the digests, the second is the owner's to fill in.
UNDIGESTED = (STATEMENT_FILE, SHEET_FILE)

#: Images of a class, and classes, in a preview; pixels that an image's longer side takes there, at least.
PREVIEW_COLUMNS, PREVIEW_ROWS, _PREVIEW_SIDE = 10, 50, 48

_GAP, _FONT_SIZE, _LONGEST_NAME = 4, 16, 24

_LABELS_AT_ONCE = 1 << 20


def write_papers(
    folder: pathlib.Path,
    spec: ModelSpec,
    plan: DrawPlan,
    format: str,
    preview: Sequence[np.ndarray],
    counted: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """Writes the papers of a data set whose files are all written; the statement comes last.

    Formal guarantee: post-processing of the generator, and of the class histogram where one was released, which
    the statement prices.

    Args:
      folder: of the data set.
      spec: of the generator that drew it.
      plan: what was drawn.
      format: of its files.
      preview: for each class the first ten of its drawn images, or as many as there are, uint8
        `[n, height, width, channels]`.
      counted: see `statement.dataset_statement`.

    Returns:
      The statement.

    Raises:
      ValueError: the generator's statement does not follow the schema, or a name or text must not be published
        (`published_names`).
      OSError: no space, or no permission.
    """
    folder = pathlib.Path(folder)
    published_names.check_names(spec.name, spec.class_names)
    data_set = {
        "name": spec.name,
        "format": format,
        "num_examples": plan.num_examples,
        "image_shape": [int(n) for n in spec.image_shape],
        "class_names": list(spec.class_names),
        "seed": int(plan.seed),
    }
    stated = statement.dataset_statement(spec.privacy, data_set, plan.policy, counted)
    sheet = datasheet.datasheet(
        stated,
        dict(zip(spec.class_names, class_counts(plan).tolist())),
        tfartgen.__version__,
    )
    preview_grid(preview, spec.class_names).save(folder / PREVIEW_FILE, optimize=True)
    (folder / SHEET_FILE).write_text(sheet, encoding="utf-8")
    stated["files"] = digests(folder)
    content = json.dumps(stated, indent=2, allow_nan=False) + "\n"
    published_names.check_texts(STATEMENT_FILE, stated)
    published_names.check_texts(SHEET_FILE, sheet.splitlines())
    (folder / STATEMENT_FILE).write_text(content, encoding="utf-8")
    return stated


def class_counts(plan: DrawPlan) -> np.ndarray:
    """Number of examples of each class in a plan, int64 `[classes]`."""
    counts = np.zeros(len(plan.policy.probabilities), np.int64)
    for start in range(0, plan.num_examples, _LABELS_AT_ONCE):
        stop = min(start + _LABELS_AT_ONCE, plan.num_examples)
        labels = artificial.example_labels(plan.policy, plan.seed, start, stop)
        counts += np.bincount(labels, minlength=len(counts))
    return counts


def digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file of a folder but the statement and the sheet, by its path in it."""
    return {name: sha256(folder / name) for name in files_of(folder) if name not in UNDIGESTED}


def files_of(folder: pathlib.Path) -> list[str]:
    """Paths within a folder of everything in it that is no folder, sorted; links are not followed."""
    names = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        names += [os.path.relpath(os.path.join(parent, name), folder) for name in files + links]
    return sorted(pathlib.PurePath(name).as_posix() for name in names)


def sha256(path: pathlib.Path) -> str:
    """Digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def preview_grid(images: Sequence[np.ndarray], class_names: Sequence[str]) -> Image.Image:
    """A picture with a row of images for each class, its name beside it.

    Args:
      images: for each class uint8 `[n, height, width, channels]`, 1 or 3 channels.
      class_names: in the order of the labels.

    Returns:
      The first ten images of each class, of the first 50 classes; blank where there are fewer.
    """
    height, width = images[0].shape[1:3]
    zoom = max(1, -(-_PREVIEW_SIDE // max(height, width)))
    font = ImageFont.load_default(_FONT_SIZE)
    names = [_shortened(name) for name in class_names[:PREVIEW_ROWS]]
    left = preview_names_width(class_names)
    cell_width, cell_height = width * zoom + _GAP, max(height * zoom, _FONT_SIZE) + _GAP
    size = left + PREVIEW_COLUMNS * cell_width, _GAP + len(names) * cell_height
    grid = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(grid)
    for row, (name, some) in enumerate(zip(names, images)):
        top = _GAP + row * cell_height
        draw.text((left - 2 * _GAP, top + height * zoom // 2), name, "black", font, anchor="rm")
        for column, image in enumerate(some[:PREVIEW_COLUMNS]):
            grid.paste(_zoomed(image, zoom), (left + column * cell_width, top))
    return grid


def preview_names_width(class_names: Sequence[str]) -> int:
    """Pixels that the names take in a preview, left of the images."""
    font = ImageFont.load_default(_FONT_SIZE)
    widest = max(font.getlength(_shortened(name)) for name in class_names[:PREVIEW_ROWS])
    return round(widest) + 4 * _GAP


def _zoomed(image: np.ndarray, zoom: int) -> Image.Image:
    pixels = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
