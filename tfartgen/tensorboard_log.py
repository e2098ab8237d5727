# SPDX-License-Identifier: Apache-2.0
"""A run in TensorBoard: scalars, grids of generated images, the graph of its networks, its settings.

Logs hold generated images only. Scalars of the critic look at private records, so the logs stay in the
private run folder.
"""

from __future__ import annotations

import contextlib
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfartgen.gan import ArtGAN
from tfartgen.generated_images import generated_images, tiled
from tfartgen.networks import Generator

_ROWS, _MOST_COLUMNS = 8, 20


def log_run(directory: pathlib.Path, gan: ArtGAN, settings: Mapping[str, Any]) -> None:
    """Writes what stays the same through a run: its settings, for the HParams tab, and the graph of its networks.

    Args:
      directory: where event files go. HParams takes the scalars in it and below as the run's metrics.
      gan: whose networks train.
      settings: the run's configuration.
    """
    with _writer(directory) as writer, writer.as_default(step=0):
        hparams.hparams(
            {k: v for k, v in settings.items() if isinstance(v, (bool, int, float, str))}
        )
        tf.summary.graph(_graph(gan))


def log_spent(directory: pathlib.Path, epsilon: float, steps: int) -> None:
    """Writes what a run spent in all, the metric that runs of every kind have; nothing if that is infinite.

    Args:
      directory: of `log_run`.
      epsilon: what the ledger costs.
      steps: critic steps of the run.
    """
    if math.isfinite(epsilon):
        with _writer(directory) as writer, writer.as_default(step=steps):
            tf.summary.scalar("epsilon_spent", epsilon)


def _graph(gan: ArtGAN) -> tf.Graph:
    """Latents and labels through the generator, and its images through the critic."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, gan.generator.latent_dim], tf.float32, "latent"),
            tf.TensorSpec([None], tf.int32, "label"),
        ]
    )
    def score(latent: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        return gan.critic((gan.generator((latent, label)), label))

    return score.get_concrete_function().graph


def _writer(directory: pathlib.Path) -> Any:
    return contextlib.closing(tf.summary.create_file_writer(str(directory)))


class TensorBoardLog(tf.keras.callbacks.Callback):
    """Scalars and grids of generated images of one stage of a run."""

    def __init__(
        self,
        directory: pathlib.Path,
        gan: ArtGAN,
        done: int,
        epsilon_at: Callable[[int], float],
        scalar_steps: int = 50,
        image_steps: int = 1000,
    ):
        """Creates the log.

        Args:
          directory: where event files go.
          gan: whose networks train.
          done: steps of this stage that an earlier session took.
          epsilon_at: bound on epsilon spent after so many steps of this session.
          scalar_steps: steps between scalars, over which means are taken.
          image_steps: steps between grids.
        """
        super().__init__()
        self._directory, self._gan = directory, gan
        self._first, self._step, self._epsilon_at = done, done, epsilon_at
        self._scalar_steps, self._image_steps = scalar_steps, image_steps

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens a file of events."""
        self._writer = tf.summary.create_file_writer(str(self._directory))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes what is due at this step."""
        self._step += 1
        if self._step % self._scalar_steps == 0:
            self._write_scalars(logs)
        if self._step % self._image_steps == 0:
            self._write_images()

    def on_train_end(self, logs: Any = None) -> None:
        """Writes the last step's, if it was not due, and closes the file."""
        # The HParams tab shows the last values: they are to be those of the last step.
        if self._step % self._scalar_steps:
            self._write_scalars(logs)
        if self._step % self._image_steps:
            self._write_images()
        self._writer.close()

    def _write_scalars(self, logs: Mapping[str, float]) -> None:
        with self._writer.as_default(step=self._step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            if self.model is self._gan:
                tf.summary.scalar("critic_steps_per_generator_step", self._gan.pace.steps_each)
            epsilon = self._epsilon_at(self._step - self._first)
            if math.isfinite(epsilon):
                tf.summary.scalar("epsilon_spent_bound", epsilon)
        self.model.reset_metrics()

    def _write_images(self) -> None:
        with self._writer.as_default(step=self._step):
            tf.summary.image("generated", _grid(self._gan.average)[None])


def _grid(generator: Generator) -> np.ndarray:
    """Images with a column per class (at most 20), the same latents every time, as `tiled`."""
    columns = min(_MOST_COLUMNS, generator.num_classes)
    labels = np.tile(np.arange(columns, dtype=np.int32), _ROWS)
    return tiled(generated_images(generator, labels, seed=0), columns)
