# SPDX-License-Identifier: Apache-2.0
"""`bin/estimate_privacy` from images to a document: space, calibration, estimate, and what it must be held against."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import calibration, environment, estimation, feature_spaces, privacy_estimate
from tfartgen.feature_spaces import FeatureSpace
from tfartgen.image_size import sides
from tfartgen.privacy_estimate import PrivacyEstimate, PrivacyEstimateConfig
from tfartgen.released_sample import ReleasedSample

SCHEMA = "tfartgen.privacy_estimate/1"

#: Of the calibration: nats of the shift, about what the density changes at the examples of a record that is left out,
#: and pairs of samples.
_DIVERGENCE, _REPEATS = 2.0, 4


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Real records of both kinds.

    Attributes:
      name: of the data set.
      members: trained on, uint8 [n, height, width, channels].
      controls: not trained on, uint8 [m, height, width, channels].
      control_name: where these are from.
      removed: controls that were left out because they equal a member.
    """

    name: str
    members: np.ndarray
    controls: np.ndarray
    control_name: str
    removed: int = 0

    @classmethod
    def of(cls, name: str, members: np.ndarray, controls: np.ndarray, control_name: str) -> Records:
        """Leaves out controls that are members too.

        Raises:
          ValueError: controls of another shape, or none that are not members.
        """
        if members.shape[1:] != controls.shape[1:]:
            raise ValueError(
                f"--control={control_name} has images {sides(controls.shape[1:])}, --dataset={name} has {sides(members.shape[1:])}; "
                "give records of the same kind"
            )
        known = {image.tobytes() for image in members}
        fresh = np.array([image.tobytes() not in known for image in controls], bool)
        if fresh.sum() < 2:
            raise ValueError(
                f"{control_name} has {fresh.sum()} records that were not trained on; give others with --control, at least 2"
            )
        return cls(name, members, controls[fresh], control_name, int((~fresh).sum()))


@dataclasses.dataclass(frozen=True, eq=False)
class StudyResult:
    """What was found.

    Attributes:
      estimate: losses and figures.
      space: where.
      points: of members and of artificial examples in the space.
      document: all that goes on file, JSON-able.
    """

    estimate: PrivacyEstimate
    space: FeatureSpace
    points: tuple[np.ndarray, np.ndarray]
    document: dict[str, Any]


def run(
    records: Records,
    sample: ReleasedSample,
    config: PrivacyEstimateConfig,
    space_name: str = "pca",
    dimensions: int = 16,
    progress: Callable[[str], object] = lambda stage: None,
) -> StudyResult:
    """Estimates, or refuses.

    Raises:
      ValueError: images that differ in shape, too few, or a space that the calibration does not support.
    """
    if sample.images.shape[1:] != records.members.shape[1:]:
        raise ValueError(
            f"{sample.folder} has images {sides(sample.images.shape[1:])}, --dataset={records.name} has "
            f"{sides(records.members.shape[1:])}; give the data that it was learned from, with the same --image_size"
        )
    half = len(sample.images) // 2
    estimation.require_examples(half, config.k)
    progress("feature space")
    space = feature_spaces.make(
        space_name, dimensions, sample.images, sample.labels, len(sample.class_names)
    )
    artificial, members, controls = map(
        space.embed, (sample.images, records.members, records.controls)
    )
    progress("calibration")
    rng = np.random.default_rng(config.seed)
    calibrated = calibration.calibrate(
        artificial, half, half, config.k, rng, divergence=_DIVERGENCE, repeats=_REPEATS
    )
    calibrated.require_supported()
    found = privacy_estimate.estimate(artificial, members, controls, config, progress)
    document = {
        "schema": SCHEMA,
        **environment.describe(),
        "dataset": {
            "name": records.name,
            "num_members": len(records.members),
            "num_controls": len(records.controls),
            "control": records.control_name,
            "controls_removed": records.removed,
        },
        "release": {
            "folder": sample.folder,
            "digest": sample.digest,
            "num_examples": len(sample.images),
        },
        "settings": {
            **dataclasses.asdict(config),
            "gammas": list(config.gammas),
            "space": space.name,
            "dimensions": space.dimensions,
            **space.facts,
        },
        "calibration": calibrated.to_json(),
        **found.document,
        "mu": [_with_proof(row, sample.statement.get("kl_bound")) for row in found.document["mu"]],
        "formal": _formal(sample, found.document),
    }
    return StudyResult(found, space, (members, artificial), document)


def _with_proof(row: dict[str, Any], kl_bound: Optional[float]) -> dict[str, Any]:
    """A row of mu with the least that is known for a whole release: the estimate, or what is proven for every record."""
    known: dict[str, Optional[float]] = {"proof": kl_bound}
    if row["bounds"]:
        known["estimate"] = row["bounds"]["saw_yang_mo"]["per_release"]
    least = min(
        (value, by) for by, value in [*known.items(), ("nothing", np.inf)] if value is not None
    )
    value = float(least[0]) if np.isfinite(least[0]) else None
    return {**row, "least_per_release": value, "least_by": least[1]}


def _formal(sample: ReleasedSample, document: dict[str, Any]) -> dict[str, Any]:
    """The accountant's figures, the lower bound by attack, and whether they nest."""
    statement = sample.statement
    epsilon, delta = statement.get("epsilon"), statement.get("delta") or 1e-5
    lower = privacy_estimate.lower_bound(document["attack"], delta)
    per_release = document["mean_loss"] * len(sample.images)
    kl_bound: Optional[float] = statement.get("kl_bound")
    return {
        "guarantee": statement.get("guarantee"),
        "epsilon": epsilon,
        "delta": delta,
        "kl_bound": kl_bound,
        "attack_lower_bound": lower,
        "nests": None if epsilon is None else lower <= epsilon,
        "mean_loss_per_release": per_release,
        "mean_loss_within_kl_bound": None if kl_bound is None else per_release <= kl_bound,
    }
