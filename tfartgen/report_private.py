# SPDX-License-Identifier: Apache-2.0
"""The sections of a report that must not leave the owner: they show real records, or tell of single ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import feature_spaces, neighbours, report_figures, report_pictures
from tfartgen.evaluation_tables import Table
from tfartgen.neighbours import Neighbours
from tfartgen.released_data import ReleasedData
from tfartgen.report_blocks import (
    Block,
    Chart,
    Figures,
    Gallery,
    Missing,
    PictureRow,
    Section,
    Text,
)
from tfartgen.report_documents import Found
from tfartgen.rounding import downwards

#: Principal components of a classifier's features, in which images are compared.
_DIMENSIONS = 16

#: Artificial images that are shown for being closest to a record, over all classes.
_CLOSEST_PAIRS = 10

#: Images of each kind whose distance to the training records is the yardstick.
_YARDSTICK = 1000

_QUANTILES = ((0.001, "0.1%"), (0.01, "1%"), (0.1, "10%"), (0.5, "median"))


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """The real records that a release was learned from.

    Attributes:
      train: uint8 `[n, height, width, channels]`, in the order of the training split.
      train_labels: int32 `[n]`.
      others: held-out records, of the same population, uint8 `[m, height, width, channels]`.
    """

    train: np.ndarray
    train_labels: np.ndarray
    others: np.ndarray


class Closeness:
    """How close artificial images come to training records, in pixels and in a feature space.

    The space is made from the release alone, so that it favours no real record.
    """

    def __init__(
        self,
        release: ReleasedData,
        records: Records,
        stage: Callable[[str], object] = lambda _: None,
    ):
        """Searches.

        Args:
          release: whose images are compared.
          records: with which.
          stage: told what happens next.
        """
        self._release, self._records = release, records
        stage("feature space")
        dimensions = min(_DIMENSIONS, len(release.images), int(np.prod(release.images.shape[1:])))
        space = feature_spaces.make(
            "student", dimensions, release.images, release.labels, len(release.class_names)
        )
        stage("nearest records by features")
        self._points = space.embed(records.train)
        self._artificial = space.embed(release.images)
        self._closest = neighbours.nearest(self._artificial, self._points, 1).distances[:, 0]
        stage("nearest records by pixels")
        self._yardstick = self._distances(space.embed)

    def _distances(
        self, embed: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each space, distances of artificial images and of held-out records to the nearest training record."""
        some, others = self._release.images[:_YARDSTICK], self._records.others[:_YARDSTICK]
        by_pixels = [self._by_pixels(images, 1).distances[:, 0] for images in (some, others)]
        features = neighbours.nearest(embed(others), self._points, 1).distances[:, 0]
        return {"pixels": (by_pixels[0], by_pixels[1]), "features": (self._closest, features)}

    def _by_pixels(self, images: np.ndarray, k: int) -> Neighbours:
        return report_pictures.nearest_pixels(images, self._records.train, k)

    def table(self) -> Figures:
        """Quantiles of the distances, beside those of records that nobody trained on."""
        rows = []
        for space, (artificial, others) in self._yardstick.items():
            for kind, values in (("artificial images", artificial), ("held-out records", others)):
                found = np.atleast_1d(np.quantile(values, [share for share, _ in _QUANTILES]))
                rows.append((f"{kind}, {space}", f"{len(values):,}", *(f"{v:.2f}" for v in found)))
        return Figures(
            "Distance to the nearest training record, smallest first. Held-out records were never trained on: artificial images "
            "that come closer than these do are worth a look.",
            Table(("", "images", *(name for _, name in _QUANTILES)), tuple(rows)),
        )

    def first_of_classes(self) -> list[PictureRow]:
        """The first image of each class beside its closest records."""
        release = self._release
        return self._rows(
            report_pictures.first_of_classes(release.labels, len(release.class_names))
        )

    def closest_pairs(self) -> list[PictureRow]:
        """The artificial images of each class that are closest to a record in the feature space."""
        labels, order = self._release.labels, np.argsort(self._closest, kind="stable")
        classes = min(len(self._release.class_names), report_pictures.MOST_CLASSES)
        each = max(1, _CLOSEST_PAIRS // classes)
        chosen = [order[labels[order] == label][:each] for label in range(classes)]
        return self._rows(np.concatenate(chosen))

    def _rows(self, positions: np.ndarray) -> list[PictureRow]:
        k = min(report_pictures.NEAREST_RECORDS, len(self._points))
        return report_pictures.closest_records(
            self._release,
            positions.tolist(),
            self._by_pixels(self._release.images[positions], k),
            neighbours.nearest(self._artificial[positions], self._points, k),
            self._records.train,
        )


def closest_section(
    found: Optional[Closeness], copies: Optional[int], release: ReleasedData, missing: Missing
) -> Section:
    """Artificial images beside the real records that are closest to them."""
    blocks: Sequence[Block] = [missing]
    if found is not None:
        told = f"{copies:,} of {len(release.images):,} artificial images equal a training record in every pixel."
        blocks = [
            Text([told], important=bool(copies)),
            found.table(),
            Gallery(
                "One image of each class",
                "The first artificial image of each class, beside its closest real records; distances are below these.",
                found.first_of_classes(),
            ),
            Gallery(
                "The closest of each class",
                "Of all artificial images of "
                + report_pictures.of_classes(len(release.class_names))
                + ", those that come closest to a real record, by features.",
                found.closest_pairs(),
            ),
        ]
    return Section("closest", "Closest real records", blocks)


def exposed_section(
    release: ReleasedData,
    records: Optional[Records],
    exposure: Optional[Found],
    missing: Sequence[Missing],
) -> Section:
    """The records with the largest losses of the estimate, beside what is nearest to them in the release."""
    blocks: Sequence[Block] = missing
    if records is not None and exposure is not None:
        blocks = [
            Text(
                [
                    "The training records with the largest losses in the empirical estimate: leaving one of them out is estimated to change "
                    "the release most. Position is in the training split, from 0; a loss that samples cannot resolve is told as at least."
                ]
            ),
            Gallery(
                "Records and the artificial images nearest to them",
                "Nearest in the space of the estimate; the distance is below the artificial image.",
                [
                    _exposed(each, release, records, exposure)
                    for each in exposure.content["records"]
                ],
            ),
        ]
    return Section("exposed", "Most exposed records", blocks)


def _exposed(
    each: Mapping[str, Any], release: ReleasedData, records: Records, found: Found
) -> PictureRow:
    position, nearest = each["position"], each["nearest_artificial"]
    if not (0 <= position < len(records.train) and 0 <= nearest < len(release.images)):
        raise ValueError(
            f"{found.path} names record {position} and artificial image {nearest}, of {len(records.train)} and "
            f"{len(release.images)}; give the --dataset that it was made with, or make it anew with bin/estimate_privacy"
        )
    name = release.class_names[records.train_labels[position]]
    loss = f"{each['loss']:.3g} nats"
    if each["saturated"]:
        loss = f"at least {downwards(each['loss'])} nats"
    record = report_pictures.record_picture(
        records.train[position], f"real record {position}, {name}", loss
    )
    near = release.class_names[release.labels[nearest]]
    artificial = report_pictures.artificial_picture(
        release.images[nearest],
        f"artificial {near}, {each['distance']:.2f} away",
        f"{each['distance']:.2f}",
    )
    groups = [("real record", [record]), ("nearest artificial image", [artificial])]
    return PictureRow(f"record {position}, {name}", groups)


def membership_section(document: Optional[Mapping[str, Any]], missing: Missing) -> Section:
    """ROC curves: what an attacker finds at every rate of false alarms."""
    blocks: Sequence[Block] = [missing]
    if document is not None:
        blocks = [
            Text(
                [
                    "Members found against others accused, both on logarithmic axes, since an attacker who is sure of a few does more "
                    "harm than one who is right a little more often than chance. The faint line is chance."
                ]
            ),
            *(
                Chart(
                    name, f"ROC curve of the attack on {name}, its control and what memorised.", svg
                )
                for name, svg in report_figures.roc(document)
            ),
        ]
    return Section("membership", "Membership curves", blocks)
