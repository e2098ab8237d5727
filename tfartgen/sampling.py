# SPDX-License-Identifier: Apache-2.0
"""How batches are drawn from private records, and the event by which each way is priced.

The sampler that runs and the stretch that the accountant prices come from one object, so they cannot differ.
Batches hold `uint8` images. A batch of the Poisson sampler has whatever size the draw gave, zero included.
"""

from __future__ import annotations

import abc
import dataclasses

import tensorflow as tf

from tfartgen import _validate, noise
from tfartgen.accounting import Stretch
from tfartgen.data import Split
from tfartgen.noise import KeySource, operating_system_keys


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """A way to draw batches.

    Attributes:
      num_examples: `n`, records in the training split (treated as public).
      batch_size: `b`, the expected size of a batch.
    """

    num_examples: int
    batch_size: int

    def __post_init__(self) -> None:
        _validate.positive_int("num_examples", self.num_examples)
        _validate.positive_int("batch_size", self.batch_size)
        if self.batch_size > self.num_examples:
            raise ValueError(
                f"batch_size {self.batch_size} exceeds the {self.num_examples} training records; lower --batch_size"
            )

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """As in the ledger."""

    @property
    def rate(self) -> float:
        """`q = b / n`."""
        return self.batch_size / self.num_examples

    def stretch(
        self, noise_multiplier: float, clip_norm: float, steps: int, coordinates: int
    ) -> Stretch:
        """What the accountant prices when `steps` batches of this sampler have gone through the optimizer.

        Args:
          noise_multiplier: the optimizer's.
          clip_norm: the optimizer's.
          steps: how many.
          coordinates: weights that the optimizer trains, each with noise of its own.
        """
        return Stretch(
            sampler=self.name,
            sampling_rate=self.rate,
            noise_multiplier=noise_multiplier,
            clip_norm=clip_norm,
            batch_size=self.batch_size,
            steps=steps,
            coordinates=coordinates,
        )

    @abc.abstractmethod
    def batches(self, split: Split) -> tf.data.Dataset:
        """An endless data set of `(images uint8 [count, height, width, channels], labels int32 [count])`."""


@dataclasses.dataclass(frozen=True)
class PoissonSampler(Sampler):
    """Every record enters every batch with probability `rate`, independently of all others and of the past.

    Formal guarantee: that of `noise.chosen`, keyed afresh from the operating system for every batch; no seed reaches it,
    since amplification by sampling holds only against those who cannot predict the batches. No batch is cut.

    Attributes:
      keys: where draws get their keys. Anything but the default voids the guarantee: for tests only.
    """

    keys: KeySource = operating_system_keys

    @property
    def name(self) -> str:
        """As in the ledger."""
        return "poisson"

    def batches(self, split: Split) -> tf.data.Dataset:
        """As in `Sampler`; the split is held in memory."""
        with tf.device("CPU"):  # the host draws, whatever the device that trains
            images, labels = (tf.constant(array) for array in split.arrays())

        def draw(_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            taken = tf.where(noise.chosen(self.num_examples, self.rate, self.keys()))[:, 0]
            return tf.gather(images, taken), tf.gather(labels, taken)

        return tf.data.Dataset.range(tf.int64.max).map(draw).prefetch(2)


@dataclasses.dataclass(frozen=True)
class ShuffleSampler(Sampler):
    """Passes over the data in random order, for data that does not fit in memory. It is not Poisson.

    Formal guarantee: a record is in at most one batch of a pass, and in at most `ceil(steps * rate)` batches
    of a session, since the last batch of a pass is kept even when it is small. That is how it is priced:
    without amplification by sampling.

    Attributes:
      buffer_size: records held in memory to draw from.
    """

    buffer_size: int = 10_000

    @property
    def name(self) -> str:
        """As in the ledger."""
        return "shuffle"

    def batches(self, split: Split) -> tf.data.Dataset:
        """As in `Sampler`; the split is streamed, after a pass that counts it.

        Raises:
          ValueError: there are more or fewer records than the data set says.
        """
        # The data set's own word for the number is not enough: were there fewer records, the passes would be shorter and each
        # record in more batches than is priced. The digests are of every record that can be read, and refuse another number.
        split.digests()
        # A later pass that finds another number, of files that changed meanwhile, ends the run.
        counted = split.stream().apply(tf.data.experimental.assert_cardinality(self.num_examples))
        # What is in memory anyhow is shuffled as a whole: folders come sorted by class.
        whole = split.in_memory is not None or self.buffer_size > self.num_examples
        buffered = counted.shuffle(self.num_examples if whole else self.buffer_size)
        return buffered.batch(self.batch_size).repeat().prefetch(2)


SAMPLERS = {"poisson": PoissonSampler, "shuffle": ShuffleSampler}


def striped(batches: tf.data.Dataset, num_replicas: int) -> tf.data.Dataset:
    """Splits each batch into `num_replicas` successive parts, part r holding records r, r + R, r + 2R, ...

    Args:
      batches: data set of `(images, labels)` batches.
      num_replicas: `R`.

    Returns:
      A data set whose elements R*i to R*i + R - 1 together are batch i.
    """

    def parts(images: tf.Tensor, labels: tf.Tensor) -> tf.data.Dataset:
        replicas = tf.data.Dataset.range(num_replicas)
        return replicas.map(lambda r: (images[r::num_replicas], labels[r::num_replicas]))

    return batches if num_replicas == 1 else batches.flat_map(parts)
