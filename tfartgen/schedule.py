# SPDX-License-Identifier: Apache-2.0
"""How many critic steps each generator step waits for."""

from __future__ import annotations

import dataclasses
import json

import tensorflow as tf

from tfartgen import _validate


@dataclasses.dataclass(frozen=True)
class CriticSchedule:
    """Critic steps for every generator step.

    Fixed, or adaptive as in "Private GANs, revisited" (Bie et al. 2023, arXiv 2302.02936, section 4): whenever
    the critic's accuracy on fakes, a moving average, falls below `threshold`, the number goes up to the next
    of 1, 2, 5, 10, 20, 50, ... The accuracy is measured on fakes alone, so it costs no privacy.

    Attributes:
      steps: the number, or where an adaptive one starts.
      adaptive: whether it grows.
      threshold: accuracy on fakes below which it grows.
      maximum: where an adaptive number stops growing.
      decay: of the moving average, per generator step.
    """

    steps: int = 1
    adaptive: bool = False
    threshold: float = 0.6
    maximum: int = 200
    decay: float = 0.9

    def __post_init__(self) -> None:
        _validate.positive_int("steps", self.steps)
        _validate.positive_int("maximum", self.maximum)
        _validate.probability("threshold", self.threshold)
        _validate.probability("decay", self.decay)

    def following(self, steps: int) -> int:
        """The next larger number of the series, at most `maximum`."""
        series = [factor * 10**power for power in range(10) for factor in (1, 2, 5)]
        return min(self.maximum, next(n for n in series if n > steps))


class Pace(tf.train.experimental.PythonState):
    """Where a run stands in its schedule; part of a checkpoint.

    Attributes:
      steps_each: critic steps for every generator step, now.
      since_generator: critic steps since the last generator step.
      accuracy: moving average of the critic's accuracy on fakes.
    """

    def __init__(self, schedule: CriticSchedule):
        self._schedule = schedule
        self.steps_each, self.since_generator, self.accuracy = schedule.steps, 0, 1.0

    def serialize(self) -> str:
        """For `tf.train.Checkpoint`."""
        return json.dumps([self.steps_each, self.since_generator, self.accuracy])

    def deserialize(self, string_value: str) -> None:
        """For `tf.train.Checkpoint`."""
        self.steps_each, self.since_generator, self.accuracy = json.loads(string_value)

    def advance(self) -> bool:
        """Counts a critic step; whether a generator step follows it."""
        self.since_generator += 1
        due = self.since_generator >= self.steps_each
        if due:
            self.since_generator = 0
        return due

    def adapt(self, fake_accuracy: float) -> None:
        """Takes in the critic's accuracy on the fakes of a generator step, in [0, 1]."""
        if not self._schedule.adaptive:
            return
        decay = self._schedule.decay
        self.accuracy = decay * self.accuracy + (1.0 - decay) * fake_accuracy
        if self.accuracy < self._schedule.threshold:
            self.steps_each = self._schedule.following(self.steps_each)
            self.accuracy = 1.0  # give the larger number time to act
