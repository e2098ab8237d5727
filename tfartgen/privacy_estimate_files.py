# SPDX-License-Identifier: Apache-2.0
"""What `bin/estimate_privacy` leaves behind."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from tfartgen import exposure, privacy_estimate_figures
from tfartgen.privacy_estimate_study import Records, StudyResult
from tfartgen.released_sample import ReleasedSample
from tfartgen.whole_files import write_json


def write(result: StudyResult, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes the figure and, last, the JSON; the most exposed records of an earlier estimate go.

    Raises:
      OSError: no space, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (exposure.PICTURE_FILE, exposure.LIST_FILE):
        (folder / name).unlink(missing_ok=True)
    figure = folder / "privacy_estimate.png"
    privacy_estimate_figures.draw(result.estimate, result.document, figure)
    return [figure, write_json(result.document, folder / "privacy_estimate.json")]


def write_comparison(document: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes the scatter of retrained against imitated losses and, last, the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    figure, comparison = folder / "retraining.png", document["comparison"]
    retrained, imitated = (comparison[side]["losses"] for side in ("retrained", "imitated"))
    privacy_estimate_figures.draw_comparison(retrained, imitated, figure)
    return [figure, write_json(document, folder / "retraining.json")]


def write_most_exposed(
    result: StudyResult,
    records: Records,
    sample: ReleasedSample,
    count: int,
    folder: pathlib.Path,
) -> list[pathlib.Path]:
    """Writes the records with the largest losses beside the artificial examples that are nearest to them: private."""
    found = result.estimate
    exposure.write(
        folder,
        records.members,
        result.points[0],
        sample.images,
        result.points[1],
        found.members,
        found.losses,
        found.saturated,
        count,
        result.document["release"]["digest"],
    )
    return [folder / exposure.PICTURE_FILE, folder / exposure.LIST_FILE]
