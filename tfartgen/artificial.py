# SPDX-License-Identifier: Apache-2.0
"""What an artificial data set is drawn from: a released generator, a label policy and a seed.

Label and seed of an example are functions of the plan's seed and the example's position alone, and its image
is a function of those two: however a draw is cut into parts, the examples are the same. Everything here is
post-processing of a release, except `LabelPolicy.noised`, which looks at private labels and is priced.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Protocol, Union

import numpy as np

from tfartgen import _validate, ledger

#: Examples of a part, the unit of resuming and of Beam's work; never seen in the result.
PART_SIZE = 4096

#: Examples of one call of the generator; a multiple of the blocks in which it computes.
_BATCH_SIZE = 256

#: How far from one the sum of declared probabilities may be.
_SUM_TOLERANCE = 1e-6

#: Which stream of random words: labels, and seeds of latents.
_LABELS, _SEEDS = 1, 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a released generator says about itself.

    Attributes:
      name: of the model.
      image_shape: `(height, width, channels)`.
      class_names: name of each label, in the order of the labels.
      latent_dim: length of the latent.
      privacy: the privacy statement that was released with it.
      version: the released version, where it is known.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    latent_dim: int
    privacy: dict[str, Any] = dataclasses.field(hash=False)
    version: Optional[int] = None

    @classmethod
    def from_json(
        cls, model: Mapping[str, Any], privacy: Mapping[str, Any], version: Optional[int] = None
    ) -> ModelSpec:
        """From the contents of `model.json` and `privacy.json`.

        Raises:
          ValueError: they are not what `release.export_generator` writes.
        """
        try:
            height, width, channels = (int(n) for n in model["image_shape"])
            names = tuple(str(name) for name in model["class_names"])
            return cls(
                name=str(model["name"]),
                image_shape=(height, width, channels),
                class_names=names,
                latent_dim=int(model["latent_dim"]),
                privacy=dict(privacy),
                version=version,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the generator's description is damaged ({error!r})") from None

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 to one less."""
        return len(self.class_names)


class GeneratorModel(Protocol):
    """A released generator, wherever it runs."""

    spec: ModelSpec

    def draw(self, labels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Draws images; row i depends on `labels[i]` and `seeds[i]` only.

        Args:
          labels: int32 `[n]`.
          seeds: int64 `[n]`.

        Returns:
          uint8 `[n, height, width, channels]`.
        """


class LocalModel:
    """A generator from a SavedModel on this machine; a `GeneratorModel`."""

    def __init__(self, path: Union[str, os.PathLike[str]], version: Optional[int] = None):
        """Loads the SavedModel.

        Args:
          path: a folder of versions, or one version.
          version: which one of a folder of versions; the latest if None.

        Raises:
          ValueError: there is no such version, no SavedModel, or one that `bin/train` did not write.
        """
        self.path = find_version(path, version)
        self.spec = _read_spec(self.path)
        self._loaded = _load(self.path)

    def draw(self, labels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """See `GeneratorModel.draw`."""
        import tensorflow as tf

        label, seed = tf.constant(labels, tf.int32), tf.constant(seeds, tf.int64)
        return self._loaded.signatures["seeded"](label=label, seed=seed)["image"].numpy()


def find_version(path: Union[str, os.PathLike[str]], version: Optional[int] = None) -> pathlib.Path:
    """The folder of one version of a generator.

    Args:
      path: a folder of versions, or one version.
      version: which one; the latest if None.

    Raises:
      ValueError: there is none, or not that one.
    """
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"--model={path} is no folder; give a generator that bin/train wrote")
    if (folder / "saved_model.pb").is_file():
        if version is not None and folder.resolve().name != str(version):
            raise ValueError(
                f"--version={version} is not the version that --model={path} names; give the folder of versions"
            )
        return folder
    versions = sorted(
        int(entry.name)
        for entry in folder.iterdir()
        if entry.name.isdecimal() and (entry / "saved_model.pb").is_file()
    )
    if not versions:
        raise ValueError(
            f"--model={path} holds no SavedModel; give a generator that bin/train wrote, such as saved_models/digits"
        )
    if version is not None and version not in versions:
        there = ", ".join(map(str, versions))
        raise ValueError(
            f"--version={version} is not in {path}, which has {there}; give one of them"
        )
    return folder / str(versions[-1] if version is None else version)


def _read_spec(folder: pathlib.Path) -> ModelSpec:
    version = folder.resolve().name
    try:
        model, privacy = (
            json.loads((folder / "assets.extra" / name).read_text(encoding="utf-8"))
            for name in ("model.json", "privacy.json")
        )
        return ModelSpec.from_json(model, privacy, int(version) if version.isdecimal() else None)
    except FileNotFoundError as error:
        raise ValueError(
            _foreign(folder, f"it has no {os.path.basename(error.filename)}")
        ) from None
    except ValueError as error:
        raise ValueError(_foreign(folder, str(error))) from None


def _load(folder: pathlib.Path) -> Any:
    """The loaded SavedModel, without which its signatures lose their weights."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # protobuf, checkpoint and graph errors, whatever the damage is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--model={folder} cannot be loaded ({reason}); restore it") from error
    if "seeded" not in loaded.signatures:
        raise ValueError(_foreign(folder, "it has no signature seeded"))
    return loaded


def _foreign(folder: pathlib.Path, why: str) -> str:
    return f"--model={folder} is no SavedModel of this program: {why}; give a generator that bin/train wrote"


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
        """A histogram of private labels, released with the Gaussian mechanism.

        Formal guarantee: one record more or less changes one count by one, so the L2 sensitivity is 1 and
        the release costs `stretch`. Each count gets fresh noise from the operating system's generator; what
        follows is post-processing: rounding to whole numbers, so that the low bits of floating-point noise
        (Mironov 2012) are not released, clipping at zero and scaling to sum 1 (uniform if nothing is left).

        Args:
          counts: number of records of each class.
          noise_multiplier: standard deviation of the noise.

        Raises:
          ValueError: no counts, or the noise is not a positive number.
        """
        _validate.positive_int("number of classes", len(counts))
        _validate.positive("label_noise_multiplier", noise_multiplier)
        system = random.SystemRandom()
        kept = [max(0, int(n) + round(system.gauss(0, noise_multiplier))) for n in counts]
        total = sum(kept)
        probabilities = [n / total for n in kept] if total else [1 / len(kept)] * len(kept)
        return cls("noised", tuple(probabilities), float(noise_multiplier))

    def stretch(self) -> Optional[ledger.Stretch]:
        """What releasing the histogram cost, to be priced with the critic's stretches; None for nothing.

        One Gaussian mechanism on all records: a stretch of one step at sampling rate 1.
        """
        if self.noise_multiplier is None:
            return None
        return ledger.Stretch("poisson", 1.0, self.noise_multiplier, 1.0, batch_size=1, steps=1)


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
    batches = list(draw_batches(model, plan, start, stop))
    images, labels = zip(*batches)
    return np.concatenate(images), np.concatenate(labels)


def draw_batches(
    model: GeneratorModel, plan: DrawPlan, start: int, stop: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `draw_part`, in the generator's batches."""
    for begin in range(start, stop, _BATCH_SIZE):
        end = min(begin + _BATCH_SIZE, stop)
        labels = example_labels(plan.policy, plan.seed, begin, end)
        images = model.draw(labels, example_seeds(plan.seed, begin, end))
        expected = (end - begin, *model.spec.image_shape)
        if images.shape != expected or images.dtype != np.uint8:
            raise ValueError(
                f"the generator {model.spec.name} drew {images.dtype} {images.shape}, not uint8 {expected}; export it again"
            )
        yield images, labels
