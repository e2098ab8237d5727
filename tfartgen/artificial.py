# SPDX-License-Identifier: Apache-2.0
"""What an artificial data set is drawn from: a released generator, a label policy and a seed.

Label and seed of an example are functions of the plan's seed and the example's position alone, and its image
is a function of those two: however a draw is cut into parts, the examples are the same. Everything here is
post-processing of a release, except `LabelPolicy.noised`, which looks at private labels and is priced.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional, Union

import numpy as np

from tfartgen import _validate, ledger
from tfartgen.budget_entries import Spending
from tfartgen.noise_limits import GRID
from tfartgen.released_models import GeneratorModel, LocalModel, ModelSpec, find_version

if TYPE_CHECKING:
    from tfartgen.budget_book import BudgetBook
    from tfartgen.data import PrivateData

__all__ = [
    "PART_SIZE",
    "DrawPlan",
    "GeneratorModel",
    "LabelPolicy",
    "LocalModel",
    "ModelSpec",
    "declared_policy",
    "draw_part",
    "example_labels",
    "example_seeds",
    "find_version",
    "noised_policy",
]

#: Examples of a part, the unit of resuming and of Beam's work; never seen in the result.
PART_SIZE = 2048

#: Examples of one call of the generator; a multiple of the blocks in which it computes.
_BATCH_SIZE = 256

#: How far from one the sum of declared probabilities may be.
_SUM_TOLERANCE = 1e-6

#: Which stream of random words: labels, and seeds of latents.
_LABELS, _SEEDS = 1, 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
class LabelPolicy:
    """From which distribution the labels of a data set are drawn.

    Attributes:
      kind: 'uniform', 'declared' (the owner says that the histogram is public) or 'noised' (released with the
        Gaussian mechanism).
      probabilities: of each class.
      noise_multiplier: standard deviation of the noise on each count, for 'noised'.
    """

    kind: str
    probabilities: tuple[float, ...]
    noise_multiplier: Optional[float] = None

    def __post_init__(self) -> None:
        _validate.one_of("kind", self.kind, ("uniform", "declared", "noised"))
        for probability in self.probabilities:
            _validate.non_negative("probabilities", probability)
        total = math.fsum(self.probabilities)
        if not abs(total - 1) <= _SUM_TOLERANCE:
            raise ValueError(f"probabilities must sum to 1, got {total!r}")
        if self.kind == "noised":
            _validate.positive("noise_multiplier", self.noise_multiplier)

    @classmethod
    def uniform(cls, num_classes: int) -> LabelPolicy:
        """Every class alike; says nothing of the data."""
        _validate.positive_int("num_classes", num_classes)
        return cls("uniform", (1 / num_classes,) * num_classes)

    @classmethod
    def declared(
        cls, histogram: Union[Mapping[str, float], Sequence[float]], class_names: Sequence[str]
    ) -> LabelPolicy:
        """A histogram that its owner declares public.

        Args:
          histogram: probabilities by class name, where a class that is left out has none, or one for each
            class in the order of the labels.
          class_names: the generator's.

        Raises:
          ValueError: an unknown class, a negative probability or no number, or a sum that is not 1.
        """
        if isinstance(histogram, Mapping):
            for name in histogram:
                if name not in class_names:
                    raise ValueError(
                        f"label histogram names the unknown class {name!r}; the classes are {', '.join(class_names)}"
                    )
            values = [histogram.get(name, 0.0) for name in class_names]
        else:
            values = list(histogram)
        if len(values) != len(class_names):
            raise ValueError(
                f"label histogram must have {len(class_names)} probabilities, one per class, got {len(values)}"
            )
        for name, value in zip(class_names, values):
            _validate.non_negative(f"label histogram's probability of {name}", value)
        total = math.fsum(values)
        if not abs(total - 1) <= _SUM_TOLERANCE:
            raise ValueError(
                f"label histogram must sum to 1, got {total:.10g}; divide each number by that"
            )
        return cls("declared", tuple(float(value) for value in values))

    @classmethod
    def noised(cls, counts: Sequence[int], noise_multiplier: float) -> LabelPolicy:
        """A histogram of private labels, released with exact discrete Gaussian noise.

        Formal guarantee: one record more or less changes one count by one, so the L2 sensitivity is 1 and
        the release costs `stretch`, with no caveat for floating point (`noise.with_exact_noise`). What follows is
        post-processing: clipping at zero and scaling to sum 1 (uniform if nothing is left).

        Args:
          counts: number of records of each class.
          noise_multiplier: standard deviation of the noise.

        Raises:
          ValueError: no counts, the noise is not a positive number, or OpenDP cannot be imported.
        """
        from tfartgen import noise  # TensorFlow, which other policies do without

        _validate.positive_int("number of classes", len(counts))
        _validate.positive("label_noise_multiplier", noise_multiplier)
        sums = np.array([int(count) for count in counts], np.int64) * GRID
        kept = np.maximum(noise.with_exact_noise(sums, noise_multiplier), 0.0).tolist()
        total = math.fsum(kept)
        probabilities = [n / total for n in kept] if total else [1 / len(kept)] * len(kept)
        return cls("noised", tuple(probabilities), float(noise_multiplier))

    def digest(self) -> str:
        """SHA-256 of the distribution, by which the budget book knows it."""
        content = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode("utf-8")).hexdigest()

    def stretch(self) -> Optional[ledger.Stretch]:
        """What releasing the histogram cost, to be priced with the critic's stretches; None for nothing.

        One exact mechanism on all records: a stretch of one step at sampling rate 1.
        """
        if self.noise_multiplier is None:
            return None
        return ledger.Stretch.of_sums(self.noise_multiplier, 1.0, len(self.probabilities))


def declared_policy(path: Union[str, os.PathLike[str]], class_names: Sequence[str]) -> LabelPolicy:
    """`LabelPolicy.declared` from a JSON file.

    Raises:
      ValueError: no JSON in the file, or not a histogram of these classes.
      OSError: the file cannot be read.
    """
    try:
        histogram = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if not isinstance(histogram, (dict, list)):
            raise ValueError('it must be {"class": probability, ...} or a list of probabilities')
        return LabelPolicy.declared(histogram, class_names)
    except ValueError as error:
        raise ValueError(f"--label_histogram={path}: {error}") from None


def noised_policy(
    private: PrivateData,
    class_names: Sequence[str],
    noise_multiplier: float,
    book: BudgetBook,
) -> LabelPolicy:
    """`LabelPolicy.noised` from the labels of the private records; those held out are not counted.

    Formal guarantee: the histogram is in the budget book before its noise is drawn, and within the ceiling of these records.

    Args:
      private: whose classes are counted.
      class_names: the generator's.
      noise_multiplier: standard deviation of the noise on each count.
      book: in which it is entered.

    Raises:
      ValueError: the data has other classes than the generator, the noise is not a positive number, or a ceiling would be exceeded.
      OSError: the book cannot be written.
    """
    if tuple(private.class_names) != tuple(class_names):
        raise ValueError(
            f"--dataset has the classes {', '.join(private.class_names)} and the generator {', '.join(class_names)}; "
            "give the data that it was trained on"
        )
    _validate.positive("label_noise_multiplier", noise_multiplier)
    planned = ledger.Stretch.of_sums(noise_multiplier, 1.0, len(class_names))
    reservation = book.reserve(
        Spending(
            name=f"class histogram of {private.name}",
            digests=private.train.digests(),
            ledger=ledger.Ledger(),
            planned=[planned],
            dataset=private.name,
        )
    )
    counts = private.train.class_counts(len(class_names)).tolist()
    policy = LabelPolicy.noised(counts, noise_multiplier)
    reservation.settle(ledger.Ledger([planned]), policy.digest())
    return policy


def example_labels(policy: LabelPolicy, seed: int, start: int, stop: int) -> np.ndarray:
    """Labels of the examples `start` to `stop - 1`, independent draws from the policy.

    Args:
      policy: gives the distribution.
      seed: the plan's.
      start: position of the first.
      stop: one after the last.

    Returns:
      int32 `[stop - start]`.
    """
    edges = np.cumsum(np.array(policy.probabilities, np.float64))
    # Divided by the last edge: the classes after the last likely one end exactly where it ends, and get nothing.
    edges /= edges[-1]
    uniform = (_words(_LABELS, seed, start, stop) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(edges, uniform, side="right").astype(np.int32)


def example_seeds(seed: int, start: int, stop: int) -> np.ndarray:
    """Seeds of the latents of the examples `start` to `stop - 1`, no two of one plan alike.

    Arguments as in `example_labels`.

    Returns:
      int64 `[stop - start]`.
    """
    return _words(_SEEDS, seed, start, stop).view(np.int64)


def _words(stream: int, seed: int, start: int, stop: int) -> np.ndarray:
    """Random words uint64 `[stop - start]`: SplitMix64 with the position as its counter.

    Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16, started for each
    stream at a scrambled seed. The scrambler is a bijection, so that words of one stream never repeat.
    """
    with np.errstate(over="ignore"):
        key = np.array([seed % 2**64], np.uint64)
        for word in (_GOLDEN, np.uint64(stream)):
            key = _scramble(key + word)
        return _scramble(key + np.arange(start + 1, stop + 1, dtype=np.uint64) * _GOLDEN)


def _scramble(words: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, elementwise."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words


@dataclasses.dataclass(frozen=True)
class DrawPlan:
    """Which examples to draw.

    Attributes:
      num_examples: how many.
      seed: of labels and latents, any whole number of 64 bits.
      policy: how labels are drawn.
      part_size: examples of a part; the result does not depend on it.
    """

    num_examples: int
    seed: int
    policy: LabelPolicy
    part_size: int = PART_SIZE

    def __post_init__(self) -> None:
        _validate.positive_int("num_examples", self.num_examples)
        _validate.positive_int("part_size", self.part_size)
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed must fit in 64 bits, got {self.seed}")

    def parts(self) -> list[tuple[int, int]]:
        """Start and stop of each part."""
        starts = range(0, self.num_examples, self.part_size)
        return [(start, min(start + self.part_size, self.num_examples)) for start in starts]


def draw_part(
    model: GeneratorModel, plan: DrawPlan, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the examples `start` to `stop - 1` of a plan.

    Returns:
      Images uint8 `[n, height, width, channels]` and labels int32 `[n]`.

    Raises:
      ValueError: the model answers with images of another shape.
    """
    labels = example_labels(plan.policy, plan.seed, start, stop)
    seeds = example_seeds(plan.seed, start, stop)
    images = np.empty((stop - start, *model.spec.image_shape), np.uint8)
    for begin in range(0, stop - start, _BATCH_SIZE):
        rows = slice(begin, begin + _BATCH_SIZE)
        drawn, expected = model.draw(labels[rows], seeds[rows]), images[rows].shape
        if drawn.shape != expected or drawn.dtype != np.uint8:
            raise ValueError(
                f"the generator {model.spec.name} drew {drawn.dtype} {drawn.shape} where uint8 {expected} was due; "
                "export it again"
            )
        images[rows] = drawn
    return images, labels
