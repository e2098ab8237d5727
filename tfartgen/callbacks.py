# SPDX-License-Identifier: Apache-2.0
"""What happens around the steps of a run: progress, logs, checkpoints, stopping.

Logs hold generated images only. Scalars of the critic look at private records, so the logs stay in the
private run folder.
"""

from __future__ import annotations

import math
import pathlib
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tqdm import tqdm

from tfartgen.data import to_uint8
from tfartgen.gan import ArtGAN


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


class TensorBoardLog(tf.keras.callbacks.Callback):
    """Scalars, grids of generated images, the graphs of both networks, and the settings in the HParams tab."""

    _ROWS = 8

    def __init__(
        self,
        directory: pathlib.Path,
        gan: ArtGAN,
        settings: dict[str, Any],
        done: int,
        epsilon_at: Callable[[int], float],
        scalar_steps: int = 50,
        image_steps: int = 1000,
    ):
        """Creates the log.

        Args:
          directory: where event files go.
          gan: whose networks train.
          settings: the run's configuration.
          done: steps of this stage that an earlier session took.
          epsilon_at: bound on epsilon spent after so many steps of this session.
          scalar_steps: steps between scalars, over which means are taken.
          image_steps: steps between grids.
        """
        super().__init__()
        self._directory, self._gan, self._settings = directory, gan, settings
        self._step, self._epsilon_at = done, epsilon_at
        self._scalar_steps, self._image_steps = scalar_steps, image_steps

    def on_train_begin(self, logs: Any = None) -> None:
        self._writer = tf.summary.create_file_writer(str(self._directory))
        with self._writer.as_default(step=0):
            hparams.hparams(
                {k: v for k, v in self._settings.items() if isinstance(v, (bool, int, float, str))}
            )
        generator = self._gan.generator
        self._write_graph("generator", generator, [generator.latent_dim])
        self._write_graph("critic", self._gan.critic, generator.image_shape)

    def _write_graph(self, name: str, network: tf.keras.Model, shape: Sequence[int]) -> None:
        """The graph of a network of rows of `shape` and labels, as a run of its own: TensorBoard shows one each."""
        rows = tf.TensorSpec([None, *shape], tf.float32)
        label = tf.TensorSpec([None], tf.int32)
        graph = tf.function(lambda *inputs: network(inputs)).get_concrete_function(rows, label)
        writer = tf.summary.create_file_writer(str(self._directory / name))
        with writer.as_default(step=0):
            tf.summary.graph(graph.graph)
        writer.close()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        with self._writer.as_default(step=self._step):
            if self._step % self._scalar_steps == 0:
                for name, value in logs.items():
                    tf.summary.scalar(name, value)
                if self.model is self._gan:
                    tf.summary.scalar("critic_steps_per_generator_step", self._gan.pace.steps_each)
                epsilon = self._epsilon_at(batch + 1)
                if math.isfinite(epsilon):
                    tf.summary.scalar("epsilon_spent_bound", epsilon)
                self.model.reset_metrics()
            if self._step % self._image_steps == 0:
                tf.summary.image("generated", generated_grid(self._gan, self._ROWS)[None])

    def on_train_end(self, logs: Any = None) -> None:
        with self._writer.as_default(step=self._step):
            tf.summary.image("generated", generated_grid(self._gan, self._ROWS)[None])
        self._writer.close()


def generated_grid(gan: ArtGAN, rows: int) -> np.ndarray:
    """Images of the averaged generator, a column per class (at most 20), the same latents every time.

    Returns:
      uint8 `[rows * height, columns * width, channels]`.
    """
    columns = min(20, gan.generator.num_classes)
    height, width, channels = gan.generator.image_shape
    latent = tf.random.stateless_normal([rows * columns, gan.generator.latent_dim], [0, 0])
    label = tf.tile(tf.range(columns), [rows])
    images = to_uint8(gan.average((latent, label))).numpy()
    grid = images.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


def format_epsilon(epsilon: float) -> str:
    """Three significant digits; large ones as powers of ten, none as the word."""
    if not math.isfinite(epsilon):
        return "infinite"
    return f"{epsilon:.3g}" if epsilon < 1e4 else f"{epsilon:.1e}"
