# SPDX-License-Identifier: Apache-2.0
"""The most exposed records of an estimate, for the owner of the data alone: who they are, and what looks like them.

What is written holds real records. It is no part of a release, and no statement prices it.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from tfartgen import _validate, exposure_figure, neighbours
from tfartgen.whole_files import write_atomically

SCHEMA = "tfartgen.exposure/2"
LIST_FILE, PICTURE_FILE = "PRIVATE_most_exposed.json", "PRIVATE_most_exposed.png"

#: Artificial images beside each record.
NEAREST = 5


def write(
    folder: pathlib.Path,
    images: np.ndarray,
    points: np.ndarray,
    artificial_images: np.ndarray,
    artificial_points: np.ndarray,
    positions: np.ndarray,
    losses: np.ndarray,
    saturated: np.ndarray,
    count: int,
    digest: str,
) -> dict[str, Any]:
    """Writes the records with the highest losses, and each beside its nearest artificial images.

    Of equal losses, the record that comes first in `positions` does.

    Args:
      folder: private; it is made if it is missing.
      images: of the whole training split, uint8 [members, height, width, channels], 1 or 3 channels.
      points: of the same in the feature space, [members, dimensions].
      artificial_images: uint8 [artificial, height, width, channels].
      artificial_points: of the same, [artificial, dimensions].
      positions: rows of `images` that were looked at, as `PrivacyEstimate.members`, [records].
      losses: of these, finite, nats per artificial example, [records].
      saturated: which of these are known as "at least" only, [records].
      count: records that are written; all if there are fewer.
      digest: of the release, as `ReleasedData.digest`.

    Returns:
      The content of the JSON file.

    Raises:
      ValueError: arrays that do not go together, or count is not a positive whole number.
      OSError: no space, or no permission.
    """
    _validate.positive_int("count", count)
    positions, losses, saturated = map(np.asarray, (positions, losses, saturated))
    _check_images(images, points, artificial_images, artificial_points)
    _check_records(len(images), positions, losses, saturated)
    order = np.argsort(-losses.astype(float), kind="stable")[:count]
    chosen = positions[order]
    near = neighbours.nearest(
        np.asarray(points)[chosen], artificial_points, min(NEAREST, len(artificial_points))
    )
    records = [
        {
            "position": int(positions[row]),
            "loss": float(losses[row]),
            "saturated": bool(saturated[row]),
            "nearest_artificial": int(indices[0]),
            "distance": float(distances[0]),
        }
        for row, indices, distances in zip(order, near.indices, near.distances)
    ]
    document = {
        "schema": SCHEMA,
        "privacy": "PRIVATE: positions and losses of real records; do not publish",
        "release": {"digest": digest},
        "num_records": len(losses),
        "records": records,
    }
    picture = exposure_figure.png(
        records, np.asarray(images)[chosen], np.asarray(artificial_images)[near.indices]
    )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PICTURE_FILE, picture, private=True)
    content = json.dumps(document, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / LIST_FILE, content, private=True)
    return document


def _check_images(
    images: np.ndarray,
    points: np.ndarray,
    artificial_images: np.ndarray,
    artificial_points: np.ndarray,
) -> None:
    pairs = (
        ("images", images, "points", points),
        ("artificial_images", artificial_images, "artificial_points", artificial_points),
    )
    for name, some, points_name, own in pairs:
        shape = np.shape(some)
        if len(shape) != 4 or shape[3] not in (1, 3) or np.asarray(some).dtype != np.uint8:
            raise ValueError(
                f"{name} must be uint8 [{name}, height, width, 1 or 3 channels], got"
                f" {np.asarray(some).dtype} {shape}"
            )
        if len(own) != len(some):
            raise ValueError(
                f"{points_name} must have a row for each of the {len(some)} {name}, got {len(own)}"
            )
    if np.shape(images)[1:] != np.shape(artificial_images)[1:]:
        raise ValueError(
            f"artificial_images must be of the shape of images, {np.shape(images)[1:]}, got"
            f" {np.shape(artificial_images)[1:]}"
        )


def _check_records(
    members: int, positions: np.ndarray, losses: np.ndarray, saturated: np.ndarray
) -> None:
    for name, values in (("losses", losses), ("saturated", saturated)):
        if values.shape != positions.shape or positions.ndim != 1:
            raise ValueError(
                f"{name} must have one value for each position, got {values.shape} and {positions.shape}"
            )
    if not np.isfinite(losses).all():
        raise ValueError(f"losses must be finite, got {losses[~np.isfinite(losses)][0]}")
    wrong = positions[~((0 <= positions) & (positions < members))]
    if wrong.size:
        raise ValueError(
            f"positions must be rows of the {members} images of the training split, got {wrong[0]};"
            " pass the images of the whole split"
        )
