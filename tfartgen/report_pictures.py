# SPDX-License-Identifier: Apache-2.0
"""Pictures of a report: artificial images beside their nearest artificial neighbours, and, in private, beside real records.

Nearest neighbours are exact; pixels are compared in blocks, so that memory is bounded.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Optional

import numpy as np
from PIL import Image

from tfartgen import neighbours
from tfartgen.neighbours import Neighbours
from tfartgen.released_data import ReleasedData
from tfartgen.report_blocks import Gallery, Picture, PictureRow

#: Classes shown, neighbours of each image, and of the private page's.
MOST_CLASSES, NEAREST, NEAREST_RECORDS = 10, 5, 3

#: Pixels of all images of a block, as numbers.
_BLOCK = 1 << 24

#: Pixels of the longer side, above which a picture is shrunk.
_LARGEST = 160


def copies(images: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Which images equal a record in every pixel, bool `[images]`.

    Args:
      images: uint8 `[n, height, width, channels]`.
      records: uint8 `[m, height, width, channels]`.
    """
    known = {record.tobytes() for record in records}
    return np.array([image.tobytes() in known for image in images], bool)


def diversity(release: ReleasedData, copied: Optional[np.ndarray] = None) -> Gallery:
    """The first artificial image of each class beside its nearest artificial neighbours of any class.

    Args:
      release: whose images are shown.
      copied: which of them are copies of real records, and must not be shown; none if not given.
    """
    images, labels = release.images, release.labels
    if copied is not None:
        images, labels = images[~copied], labels[~copied]
    chosen = first_of_classes(labels, len(release.class_names))
    near = nearest_pixels(images[chosen], images, NEAREST + 1)
    rows = []
    for own, indices, distances in zip(chosen, near.indices, near.distances):
        name = release.class_names[labels[own]]
        others = [(i, d) for i, d in zip(indices, distances) if i != own][:NEAREST]
        group = [
            artificial_picture(
                images[i],
                f"artificial {release.class_names[labels[i]]}, {_away(d)} away",
                _away(d),
            )
            for i, d in others
        ]
        drawn = artificial_picture(images[own], f"artificial {name}")
        rows.append(
            PictureRow(name, [("drawn", [drawn]), ("its nearest artificial neighbours", group)])
        )
    return Gallery(
        "Artificial images and their nearest artificial neighbours",
        "The first image of "
        + of_classes(len(release.class_names))
        + ", and those nearest to it in the whole release, by the "
        "Euclidean distance of pixels between 0 and 1. A distance of 0.0 is a copy: a generator that repeats itself shows here.",
        rows,
    )


def _away(distance: float) -> str:
    """With one decimal; 0.0 is said of copies alone."""
    return f"{distance:.1f}" if distance == 0 or distance >= 0.05 else "under 0.1"


def of_classes(count: int) -> str:
    """Which classes are shown."""
    return (
        "each class"
        if count <= MOST_CLASSES
        else f"each of the first {MOST_CLASSES} of {count} classes"
    )


def first_of_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Positions of the first example of each class that is shown; classes without one are left out."""
    found = [np.flatnonzero(labels == label) for label in range(min(num_classes, MOST_CLASSES))]
    return np.array([positions[0] for positions in found if len(positions)], int)


def nearest_pixels(images: np.ndarray, others: np.ndarray, k: int) -> Neighbours:
    """The k nearest of `others` by the Euclidean distance of pixels between 0 and 1.

    Args:
      images: uint8 `[n, height, width, channels]`.
      others: uint8 `[m, height, width, channels]`.
      k: how many, or all if there are fewer.
    """
    points, parts = as_points(images), []
    step = max(k, _BLOCK // points.shape[1])
    for start in range(0, len(others), step):
        near = neighbours.nearest_of_block(points, as_points(others[start : start + step]), k)
        parts.append(Neighbours(near.distances, near.indices + start))
    return neighbours.merged(parts, k)


def as_points(images: np.ndarray) -> np.ndarray:
    """Pixels between 0 and 1, float64 `[n, pixels]`."""
    return images.reshape(len(images), -1) / 255.0


def artificial_picture(image: np.ndarray, description: str, note: str = "") -> Picture:
    """A picture of an artificial image, uint8 `[height, width, channels]`."""
    return Picture(data_uri(image), description, note)


def record_picture(image: np.ndarray, description: str, note: str = "") -> Picture:
    """A picture of a real record, for the private page alone."""
    return Picture(data_uri(image), description, note, private=True)


def data_uri(image: np.ndarray) -> str:
    """A PNG of uint8 `[height, width, channels]`, 1 or 3 channels; large ones are shrunk."""
    drawn = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if max(drawn.size) > _LARGEST:
        drawn.thumbnail((_LARGEST, _LARGEST))
    content = io.BytesIO()
    drawn.save(content, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def closest_records(
    release: ReleasedData,
    positions: Sequence[int],
    by_pixels: Neighbours,
    by_features: Neighbours,
    records: np.ndarray,
) -> list[PictureRow]:
    """Artificial images, each beside the real records that are closest to it.

    Args:
      release: whose images they are.
      positions: of the images in the release.
      by_pixels: neighbours of these among the records.
      by_features: the same in the feature space.
      records: uint8 `[n, height, width, channels]`.
    """
    rows = []
    for row, position in enumerate(positions):
        name = release.class_names[release.labels[position]]
        groups = [("drawn", [artificial_picture(release.images[position], f"artificial {name}")])]
        for space, near in (("pixels", by_pixels), ("features", by_features)):
            pairs = zip(near.indices[row], near.distances[row])
            shown = [
                record_picture(records[i], f"real record {i}, {d:.2f} away in {space}", f"{d:.2f}")
                for i, d in pairs
            ]
            groups.append((f"closest real records, {space}", shown))
        rows.append(PictureRow(name, groups))
    return rows
