# SPDX-License-Identifier: Apache-2.0
"""`bin/infer_membership`: who was in the training data, told from a release, from a critic and from students.

Every attack runs on three targets: the one that is asked about; the control, which never saw the candidates, on which
the attack must be at chance; and one that memorised, on which it must succeed, or it proves nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from tfartgen import _validate, environment, feature_spaces, membership
from tfartgen.data import PrivateData, Split
from tfartgen.evaluation_data import Records
from tfartgen.image_size import sides
from tfartgen.membership_students import StudentAttacks
from tfartgen.released_data import ReleasedData

SCHEMA = "tfartgen.membership/1"

#: Grey levels by which a release of copies differs from the records.
_COPY_NOISE = 4
#: Records that a critic is made to memorise.
_MEMORISED = 50


@dataclasses.dataclass(frozen=True)
class MembershipConfig:
    """How candidates are chosen and compared.

    Attributes:
      num_candidates: members, and non-members, to tell apart; None for as many as there are of both.
      false_positive_rates: None for those of `membership.DEFAULT_FALSE_POSITIVE_RATES` that the non-members bear.
      dimensions: principal components in which a release is attacked.
      seed: of the choice of candidates.
    """

    num_candidates: Optional[int] = None
    false_positive_rates: Optional[tuple[float, ...]] = None
    dimensions: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_candidates is not None:
            _validate.positive_int("--num_candidates", self.num_candidates)
        _validate.positive_int("--dimensions", self.dimensions)
        _validate.non_negative("--seed", self.seed)


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Records to be told apart, and what the attacker knows beside.

    Attributes:
      name: of the data set.
      train: all training records, uint8 `[n, height, width, channels]` and integers `[n]`.
      members: some of them.
      rest: the other ones.
      non_members: records that were not trained on.
      references: further records that were not trained on, which the attacker knows.
      rates: false-positive rates that the non-members bear.
      seed: of the choice, and of the halves in which thresholds are chosen and tested.
      notes: lines for people.
      digest: SHA-256 of all of it.
    """

    name: str
    train: Records
    members: Records
    rest: Records
    non_members: Records
    references: Records
    rates: tuple[float, ...]
    seed: int
    notes: tuple[str, ...]
    digest: str

    @classmethod
    def of(
        cls,
        private: PrivateData,
        config: MembershipConfig,
        others: Optional[tuple[str, Records]] = None,
    ) -> Candidates:
        """Chooses candidates.

        Half of the held-out split are non-members, the other half references; where others are given they are the
        non-members, and all of the held-out split is reference.

        Args:
          private: the data set.
          config: how many.
          others: non-members of the same population, and what to call them in messages.

        Raises:
          ValueError: non-members of another shape or class, some that are members, too few for the rates or at all.
        """
        rng = np.random.default_rng(config.seed)
        train, held_out = private.train.arrays(), private.held_out.arrays()
        held_out, notes = _fresh(held_out, "held-out record(s)", train, "training record")
        order = rng.permutation(len(held_out[1]))
        if others is None:
            half = len(order) // 2
            non_members, references = (_take(held_out, p) for p in (order[:half], order[half:]))
        else:
            where, records = others
            membership.refuse_overlap(train[0], records[0], where)
            non_members = _take(records, rng.permutation(len(records[1])))
            references = _take(held_out, order)
        # A non-member that is a reference, too, would be told by that alone.
        references, dropped = _fresh(references, "reference(s)", non_members, "non-member")
        notes += dropped
        for kind, some in (("non-members", non_members), ("references", references)):
            if len(some[1]) < 2:
                raise ValueError(
                    f"--dataset={private.name} leaves {len(some[1])} {kind}, and at least 2 are needed; give more records"
                )
        count = min(len(train[1]), len(non_members[1]))
        if config.num_candidates is not None:
            count = _at_most(config.num_candidates, count)
        non_members = _take(non_members, slice(count))
        positions = rng.permutation(len(train[1]))
        members, rest = _take(train, positions[:count]), _take(train, np.sort(positions[count:]))
        rates = membership.measurable_rates(count, config.false_positive_rates)
        notes += _rate_notes(count, rates, config)
        digest = hashlib.sha256()
        for array in (*train, *members, *non_members, *references):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array))
        groups = train, members, rest, non_members, references
        return cls(private.name, *groups, rates, config.seed, notes, digest.hexdigest())

    def success(self, scores: np.ndarray) -> dict[str, Any]:
        """`membership.success` of scores of the members and, after them, the non-members."""
        count = len(self.members[1])
        return membership.success(scores[:count], scores[count:], self.rates, seed=self.seed)

    @property
    def records(self) -> Records:
        """Members, and after them non-members."""
        return _joined(self.members, self.non_members)

    @functools.cached_property
    def pool(self) -> Records:
        """All records of the population: the candidates, and after them further ones."""
        return _joined(self.records, self.rest, self.references)

    @property
    def unseen(self) -> Records:
        """What controls learn: training records that are no candidates, of the members' population.

        The references, where fewer others are left than there are of these.
        """
        return self.rest if len(self.rest[1]) >= len(self.references[1]) else self.references

    @property
    def train_split(self) -> Split:
        """All training records, for a sampler."""
        return Split.from_arrays(*self.train)


def _joined(*parts: Records) -> Records:
    images, labels = (np.concatenate(each) for each in zip(*parts))
    return images, labels


def _take(records: Records, positions: Any) -> Records:
    return records[0][positions], records[1][positions]


def _fresh(
    records: Records, what: str, known: Records, known_as: str
) -> tuple[Records, tuple[str, ...]]:
    """The records that equal no known one, and a note on others; some data sets hold a picture twice."""
    seen = {image.tobytes() for image in known[0]}
    fresh = np.array([image.tobytes() not in seen for image in records[0]], bool)
    dropped = int((~fresh).sum())
    note = f"{dropped} {what} equal a {known_as}, and are left out"
    return _take(records, fresh), (note,) if dropped else ()


def _at_most(asked: int, available: int) -> int:
    if asked > available:
        raise ValueError(
            f"--num_candidates={asked} exceeds the {available} that there are of members and of non-members; lower it"
        )
    return asked


def _rate_notes(count: int, rates: Sequence[float], config: MembershipConfig) -> tuple[str, ...]:
    missing = [r for r in membership.DEFAULT_FALSE_POSITIVE_RATES if r not in rates]
    if config.false_positive_rates is not None or not missing:
        return ()
    listed = ", ".join(f"{rate:g} ({round(1 / rate)} non-members)" for rate in missing)
    return (f"{count} non-members cannot show a false-positive rate of {listed}; left out",)


def of_release(
    candidates: Candidates, release: ReleasedData, config: MembershipConfig
) -> list[dict[str, Any]]:
    """Attacks by the distance to the nearest artificial example, plain and calibrated by references.

    The control takes training records that are no candidates for the release (or, where there are too few, half of the
    references, calibrated by the other half). What memorised is a release of noisy copies of the members.

    Raises:
      ValueError: images of another shape, or more dimensions than there are.
    """
    images = candidates.records[0]
    if release.images.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"{release.folder} has images {sides(release.images.shape[1:])}, --dataset={candidates.name} has "
            f"{sides(images.shape[1:])}; give the data that it was learned from, with the same --image_size"
        )
    noise = np.random.default_rng(config.seed).integers(
        -_COPY_NOISE, _COPY_NOISE + 1, candidates.members[0].shape
    )
    copies = np.clip(candidates.members[0].astype(int) + noise, 0, 255).astype(np.uint8)
    references, unseen = candidates.references[0], candidates.unseen[0]
    control, half = (unseen, references), len(references) // 2
    if unseen is references:
        control = references[:half], references[half:]
    targets = {
        "main": (release.images, references),
        "control": control,
        "memorised": (copies, references),
    }
    found = {role: _by_distance(images, *target, config) for role, target in targets.items()}
    return [
        {
            "target": "release",
            "name": name,
            "published": True,
            **{role: candidates.success(found[role][name]) for role in targets},
        }
        for name in ("nearest", "nearest, calibrated")
    ]


def _by_distance(
    images: np.ndarray, artificial: np.ndarray, references: np.ndarray, config: MembershipConfig
) -> dict[str, np.ndarray]:
    """Scores of candidates in principal components of what is attacked, by the name of the attack."""
    labels = np.zeros(
        len(artificial), np.int32
    )  # only a space of a student's features looks at them
    space = feature_spaces.make("pca", config.dimensions, artificial, labels, 1)
    points, released, known = map(space.embed, (images, artificial, references))
    return {
        "nearest": membership.nearest_scores(points, released),
        "nearest, calibrated": membership.nearest_scores(points, released, known),
    }


def of_critic(
    candidates: Candidates, run_dir: str, config: MembershipConfig
) -> list[dict[str, Any]]:
    """The attack by the critic's score, of the critic of a run's private folder.

    Source: Hayes et al. 2019 (LOGAN, arXiv 1705.07663), the white-box attack.

    Raises:
      ValueError: no finished run with critic steps, or one of other records.
    """
    from tfartgen import membership_critic, run_models  # they import TensorFlow

    images, labels = candidates.records
    few = min(_MEMORISED, len(candidates.members[1]))
    known = _take(candidates.members, slice(few))
    others = _joined(candidates.rest, candidates.references)
    own, fresh, learned = (
        run_models.critic_scores(critic, images, labels)
        for critic in (
            membership_critic.of_run(run_dir, candidates.train_split),
            run_models.new_critic(run_dir, config.seed),
            membership_critic.memorising(run_dir, known, others, config.seed),
        )
    )
    count = len(candidates.members[1])
    return [
        {
            "target": "critic (not released)",
            "name": "critic's score",
            "published": False,
            "main": candidates.success(own),
            "control": candidates.success(fresh),
            "memorised": membership.success(
                learned[:few], learned[count:], candidates.rates, seed=candidates.seed
            ),
        }
    ]


def document(
    candidates: Candidates,
    attacks: Sequence[dict[str, Any]],
    config: MembershipConfig,
    students: Optional[StudentAttacks],
    releases: Sequence[ReleasedData],
) -> dict[str, Any]:
    """All that goes on file, JSON-able."""
    return {
        "schema": SCHEMA,
        **environment.describe(),
        "dataset": {
            "name": candidates.name,
            "num_train": len(candidates.train[1]),
            "num_members": len(candidates.members[1]),
            "num_non_members": len(candidates.non_members[1]),
            "num_references": len(candidates.references[1]),
            "digest": candidates.digest,
        },
        "releases": [
            {
                "folder": each.folder,
                "digest": each.digest,
                "num_examples": len(each.images),
                **{key: each.statement[key] for key in ("epsilon", "delta", "guarantee")},
            }
            for each in releases
        ],
        "settings": {
            **dataclasses.asdict(config),
            "false_positive_rates": list(candidates.rates),
            "students": None if students is None else students.settings,
        },
        "notes": list(candidates.notes),
        "attacks": list(attacks),
    }
