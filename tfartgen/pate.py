# SPDX-License-Identifier: Apache-2.0
"""The private baseline PATE: teachers on disjoint parts of the data vote, with noise, on public images.

Papernot et al. 2018, "Scalable Private Learning with PATE" (arXiv 1802.08908): the Gaussian noisy maximum,
GNMax, priced by its data-independent bound. One record is in the part of one teacher, whose vote can move
from one class to another, so that the votes on an image have L2 sensitivity sqrt(2).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Callable

import numpy as np

from tfartgen import _validate, noise, students
from tfartgen.accounting import Stretch, calibrate_noise_multiplier
from tfartgen.noise_limits import GRID
from tfartgen.students import StudentConfig

#: L2 norm by which one record can change the votes on one image.
SENSITIVITY = math.sqrt(2.0)

#: Share of the teachers by which the winner is taken to lead when the number of queries is chosen, and how many
#: standard deviations of the noise on a count that lead must be.
_TYPICAL_LEAD, _STANDARD_DEVIATIONS = 0.7, 3.0

#: Fewest queries for each class that are chosen: a student of less knows too little, whatever the noise.
_QUERIES_PER_CLASS = 4


@dataclasses.dataclass(frozen=True)
class PateConfig:
    """How teachers are made and asked.

    Attributes:
      epsilon: budget of all answers together.
      delta: of the budget.
      num_teachers: how many, each with a part of the records.
      num_queries: public images to be labelled, see `default_queries`.
      teacher: how each teacher trains.
      seed: fixes the parts and the teachers' weights; never the noise.
    """

    epsilon: float
    delta: float
    num_teachers: int
    num_queries: int
    teacher: StudentConfig = StudentConfig(steps=150, batch_size=32)
    seed: int = 0

    def __post_init__(self) -> None:
        _validate.positive("epsilon", self.epsilon)
        _validate.probability("delta", self.delta)
        _validate.positive_int("num_teachers", self.num_teachers)
        _validate.positive_int("num_queries", self.num_queries)


@dataclasses.dataclass(frozen=True, eq=False)
class PateLabels:
    """The answers of the teachers.

    Attributes:
      labels: int32 `[queries]`.
      stretch: what they cost, for `accounting`.
      vote_noise: standard deviation of the noise on each count of votes.
    """

    labels: np.ndarray
    stretch: Stretch
    vote_noise: float


def default_teachers(num_records: int) -> int:
    """The square root of the number of records: as many teachers as each has records."""
    return max(2, round(math.sqrt(num_records)))


def default_queries(
    epsilon: float, delta: float, num_teachers: int, num_classes: int, available: int
) -> int:
    """As many queries as leave a lead of 70% of the teachers three standard deviations of the noise on a count.

    Depends on public facts alone. All queries together are one Gaussian mechanism, so the noise on a count is
    `sigma * sqrt(2 * queries)` with the noise multiplier `sigma` of a single one.

    Args:
      epsilon: budget of all answers together.
      delta: of the budget.
      num_teachers: how many vote.
      num_classes: at least four queries for each, whatever the noise.
      available: public images.
    """
    single = _noise_multiplier(epsilon, delta, 1, num_classes)
    bearable = _TYPICAL_LEAD * num_teachers / (_STANDARD_DEVIATIONS * SENSITIVITY * single)
    return min(available, max(_QUERIES_PER_CLASS * num_classes, math.floor(bearable**2)))


def assign_teachers(
    images: np.ndarray, labels: np.ndarray, num_teachers: int, seed: int
) -> np.ndarray:
    """The teacher of each record.

    Formal guarantee: a function of the record (and the seed) alone, so that one record more or less changes the
    part of one teacher, and no other record moves.

    Args:
      images: uint8 `[n, height, width, channels]`.
      labels: integers `[n]`.
      num_teachers: how many there are.
      seed: another seed gives other parts.

    Returns:
      int64 `[n]` in 0..num_teachers-1.
    """
    key = str(seed).encode()
    digests = (
        hashlib.blake2b(image.tobytes(), digest_size=8, key=key, salt=b"%d" % label).digest()
        for image, label in zip(images, labels)
    )
    hashes = np.frombuffer(b"".join(digests), np.uint64)
    return (hashes % np.uint64(num_teachers)).astype(np.int64)


def check_teachers(num_teachers: int, num_records: int) -> None:
    """Raises a ValueError if there are more teachers than records."""
    if num_teachers > num_records:
        raise ValueError(
            f"--num_teachers={num_teachers} exceeds the {num_records} records; give at most that many"
        )


def count_votes(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Votes for each class.

    Args:
      predictions: integers `[teachers, queries]`.
      num_classes: number of labels.

    Returns:
      int64 `[queries, num_classes]`.
    """
    return (predictions[..., np.newaxis] == np.arange(num_classes)).sum(axis=0)


def noisy_labels(votes: np.ndarray, vote_noise: float) -> np.ndarray:
    """GNMax: the class with the most votes after noise on each count (Papernot et al. 2018, section 3.1).

    Formal guarantee: each label is post-processing of exact discrete Gaussian noise of noise multiplier
    `vote_noise / SENSITIVITY` (`noise.with_exact_noise`). No seed reaches it.

    Args:
      votes: integers `[queries, num_classes]`.
      vote_noise: standard deviation of the noise on each count.

    Returns:
      int32 `[queries]`.
    """
    sums = votes.astype(np.int64) * GRID
    noised = noise.with_exact_noise(sums, vote_noise / SENSITIVITY, SENSITIVITY)
    return np.argmax(noised, axis=1).astype(np.int32)


def teacher_votes(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    queries: np.ndarray,
    config: PateConfig,
    progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Trains the teachers one by one and counts their votes. Private: only `noisy_labels` of it may be released.

    Formal guarantee: the votes of a teacher depend on its own part and on the seed alone. A teacher without records
    trains on one blank image of class 0: a training that was left out would leave its dropout's random numbers to the
    teachers after it, so that its first record would change theirs.

    Args:
      images: private, uint8 `[n, height, width, channels]`.
      labels: private, integers `[n]`.
      num_classes: number of labels.
      queries: public images, uint8 `[queries, height, width, channels]`.
      config: the teachers.
      progress: called with 1 after each teacher.

    Returns:
      int64 `[queries, num_classes]`.
    """
    parts = assign_teachers(images, labels, config.num_teachers, config.seed)
    settings = dataclasses.replace(config.teacher, seed=config.seed)
    teacher = students.new_student(num_classes, settings)
    students.logits(teacher, queries[:1])
    untrained, blank = teacher.get_weights(), np.zeros_like(images[:1])
    predictions = []
    for number in range(config.num_teachers):
        teacher.set_weights(untrained)
        for slot in teacher.optimizer.variables():
            slot.assign(slot * 0)
        part = parts == number
        own = (images[part], labels[part]) if part.any() else (blank, np.zeros(1, np.int32))
        students.fit(teacher, *own, settings)
        predictions.append(np.argmax(students.logits(teacher, queries), axis=1))
        progress(1)
    return count_votes(np.stack(predictions), num_classes)


def label_publicly(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    public: np.ndarray,
    config: PateConfig,
    progress: Callable[[int], object] = lambda count: None,
) -> PateLabels:
    """Labels for the first public images, at the price of the budget.

    Formal guarantee: the labels are (epsilon, delta)-differentially private for one private record added or
    removed, by `accounting.epsilon` of the stretch that is returned.

    Args:
      images: private, uint8 `[n, height, width, channels]`.
      labels: private, integers `[n]`.
      num_classes: number of labels.
      public: public images, uint8 `[m, height, width, channels]`.
      config: the teachers and the budget.
      progress: called with 1 after each teacher.

    Raises:
      ValueError: more teachers than records, or more queries than public images.
    """
    check_teachers(config.num_teachers, len(images))
    queries = config.num_queries
    if queries > len(public):
        raise ValueError(
            f"--num_queries={queries} exceeds the {len(public)} public images; lower it or raise --public_fraction"
        )
    sigma = _noise_multiplier(config.epsilon, config.delta, queries, num_classes)
    votes = teacher_votes(images, labels, num_classes, public[:queries], config, progress)
    return PateLabels(
        noisy_labels(votes, sigma * SENSITIVITY),
        stretch(sigma, queries, num_classes),
        sigma * SENSITIVITY,
    )


def stretch(noise_multiplier: float, queries: int, num_classes: int) -> Stretch:
    """What answers cost: exact noise on the votes of each query, which all records had a part in."""
    return Stretch.of_sums(noise_multiplier, SENSITIVITY, num_classes, steps=queries)


def _noise_multiplier(epsilon: float, delta: float, queries: int, num_classes: int) -> float:
    return calibrate_noise_multiplier(
        epsilon,
        delta,
        sampler="poisson",
        sampling_rate=1.0,
        batch_size=1,
        clip_norm=SENSITIVITY,
        steps=queries,
        coordinates=num_classes,
        grid=GRID,
    )
