# SPDX-License-Identifier: Apache-2.0
"""What happens around the steps of a run: progress, checkpoints, stopping."""

from __future__ import annotations

import math
import signal
import sys
import time
from types import FrameType
from typing import Any, Callable, Optional

import tensorflow as tf
from tqdm import tqdm

from tfartgen.rounding import upwards


class ProgressBar(tf.keras.callbacks.Callback):
    """Steps, time left, losses and epsilon spent on one line; silent when standard error is no terminal."""

    _SHORT = {"critic_loss": "critic", "generator_loss": "gen", "discrepancy": "off by"}

    def __init__(self, total: int, done: int, epsilon_at: Callable[[int], float]):
        """Creates the bar.

        Args:
          total: steps of the whole stage.
          done: steps of it that an earlier session took.
          epsilon_at: bound on epsilon spent after so many steps of this session.
        """
        super().__init__()
        self._total, self._done, self._epsilon_at = total, done, epsilon_at
        self._shown = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar = tqdm(
            total=self._total,
            initial=self._done,
            unit="step",
            file=sys.stderr,
            disable=None,
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}",
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._bar.disable and time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            shown = [
                f"{short} {logs[key]:.2g}" for key, short in self._SHORT.items() if key in logs
            ]
            losses = " ".join(shown)
            self._bar.set_postfix_str(
                f"{losses} eps {format_epsilon(self._epsilon_at(batch + 1))}", refresh=False
            )
        self._bar.update()

    def on_train_end(self, logs: Any = None) -> None:
        self._bar.close()


class Checkpointer(tf.keras.callbacks.Callback):
    """Saves every so many minutes; the run itself saves at the end."""

    def __init__(self, minutes: float, save: Callable[[], None]):
        super().__init__()
        self._seconds, self._save = minutes * 60.0, save
        self._last = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._last >= self._seconds:
            self._save()
            self._last = time.monotonic()


class StopOnSignal(tf.keras.callbacks.Callback):
    """Turns SIGINT and SIGTERM into a stop after the current step; a second one ends at once.

    Attributes:
      received: the signal's number, None when none came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: Optional[int] = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.received is not None:
            self.model.stop_training = True


def format_epsilon(epsilon: float) -> str:
    """Three significant digits; large ones as powers of ten, none as the word."""
    if not math.isfinite(epsilon):
        return "infinite"
    return upwards(epsilon, 3) if epsilon < 1e4 else upwards(epsilon, 2)
