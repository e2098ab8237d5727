# SPDX-License-Identifier: Apache-2.0
"""A run: from private data and a configuration to a released generator, resumable and priced."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
import tempfile
import zlib
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from tfartgen import _validate, accounting, release
from tfartgen.callbacks import Checkpointer, ProgressBar, StopOnSignal, TensorBoardLog
from tfartgen.data import PrivateData
from tfartgen.dp_optimizer import DPAdam, KeySource, operating_system_keys
from tfartgen.gan import ArtGAN, CriticSchedule
from tfartgen.losses import LOSSES
from tfartgen.networks import Critic, Generator
from tfartgen.run_folder import Progress, RunFolder
from tfartgen.sampling import SAMPLERS, Sampler, striped
from tfartgen.statement import privacy_statement
from tfartgen.train_config import ADAPTIVE, TrainConfig


@dataclasses.dataclass(frozen=True)
class RunResult:
    """How a call of `train` ended.

    Attributes:
      steps: critic steps taken by the run so far.
      total_steps: critic steps of the whole run.
      spent: the accountant's answer for those steps.
      model_path: folder of the exported version; None when the run was stopped before its end.
      stopped_by: number of the signal that stopped it, None when it ended by itself.
      already_finished: whether there was nothing left to do.
      notes: lines for people.
      void_reasons: why `spent` guarantees nothing; empty if it holds.
    """

    steps: int
    total_steps: int
    spent: accounting.Spent
    model_path: Optional[pathlib.Path]
    stopped_by: Optional[signal.Signals] = None
    already_finished: bool = False
    notes: tuple[str, ...] = ()
    void_reasons: tuple[str, ...] = ()


def train(
    data: PrivateData,
    config: TrainConfig,
    run_dir: pathlib.Path,
    model_dir: pathlib.Path,
    *,
    checkpoint_minutes: float = 5.0,
    selected_on_private_data: Sequence[str] = (),
    keys: KeySource = operating_system_keys,
) -> RunResult:
    """Trains, or goes on training, the run in `run_dir`, and exports its generator when it is done.

    Formal guarantee: with `config.epsilon`, the ledger's critic steps and those still planned stay within
    (epsilon, delta) by the accountant at the start of every session, and no step beyond the planned ones is taken.

    Args:
      data: the private data; only its training split is read.
      config: settings.
      run_dir: private folder of the run.
      model_dir: where versions of the generator go.
      checkpoint_minutes: minutes between checkpoints.
      selected_on_private_data: choices that were made by looking at the private data, for the statement.
      keys: source of the noise's and the sampler's keys; anything but the default voids the statement.

    Returns:
      What was done.

    Raises:
      ValueError: settings out of range, a run folder of other settings, an unreachable or exceeded budget.
      OSError: a folder cannot be written.
    """
    _validate.positive("checkpoint_minutes", checkpoint_minutes)
    folder = RunFolder(run_dir)
    try:
        run = _Run(data, config, folder, model_dir, keys, selected_on_private_data)
        return run.go(checkpoint_minutes)
    finally:
        folder.close()


class _Run:
    """The stages of `train`, in the order in which they happen."""

    def __init__(
        self,
        data: PrivateData,
        config: TrainConfig,
        folder: RunFolder,
        model_dir: pathlib.Path,
        keys: KeySource,
        selected_on_private_data: Sequence[str],
    ):
        self._data, self._config, self._folder = data, config, folder
        self._model_dir, self._keys = model_dir, keys
        self._selected_on_private_data = selected_on_private_data
        self._sampler = _make_sampler(config, data, keys)
        self._settled = self._settle()
        self._noise = self._settled["noise_multiplier"]
        self._template = self._sampler.stretch(self._noise, config.clip_norm, config.steps)

    def _settle(self) -> dict[str, Any]:
        """Configuration of the run; its noise multiplier is the one asked for, the stored or the calibrated one."""
        asked = {
            **_run_identity(self._config, self._data),
            "predictable_noise": self._keys is not operating_system_keys,
        }
        stored = self._folder.settle(asked)
        if stored["noise_multiplier"] is None and self._config.epsilon is not None:
            stored["noise_multiplier"] = accounting.calibrate_noise_multiplier(
                self._config.epsilon,
                self._config.delta,
                sampler=self._sampler.name,
                sampling_rate=self._sampler.rate,
                batch_size=self._sampler.batch_size,
                clip_norm=self._config.clip_norm,
                steps=self._config.steps,
            )
        return stored

    def go(self, checkpoint_minutes: float) -> RunResult:
        strategy = _strategy()
        with strategy.scope():
            gan = build_gan(self._data, self._config, self._noise, self._keys)
        self._folder.write_config(self._settled)  # only now: what cannot be built leaves nothing
        self._gan, self._progress = gan, _progress_of(gan, self._folder)
        done = self._progress.restore()
        finished = self._folder.finished()
        if done == self._config.steps and finished and pathlib.Path(finished["model"]).is_dir():
            return self._result(pathlib.Path(finished["model"]), already_finished=True)
        self._check_budget(done)
        stopped_by = None
        if done < self._config.steps:
            _require_writable(self._model_dir)
            stopped_by = self._fit(strategy, done, checkpoint_minutes)
        if self._progress.steps < self._config.steps:
            return self._result(None, stopped_by=stopped_by)
        path = self._export()
        self._folder.write_finished({"model": str(path), "steps": self._progress.steps})
        return self._result(path)

    def _check_budget(self, done: int) -> None:
        budget = self._config.epsilon
        if budget is None:
            return
        planned = dataclasses.replace(self._template, steps=self._config.steps - done)
        total = accounting.epsilon([*self._progress.ledger.stretches, planned], self._config.delta)
        if not total <= budget:
            raise ValueError(
                f"the run would spend epsilon {total:.4g}, more than --epsilon={budget}; start a new run with another "
                "--run_dir"
            )

    def _fit(
        self, strategy: tf.distribute.Strategy, done: int, checkpoint_minutes: float
    ) -> Optional[signal.Signals]:
        remaining = self._config.steps - done
        meter = accounting.EpsilonMeter(
            self._progress.ledger.stretches, self._template, self._config.delta
        )

        def save() -> None:
            self._progress.save(self._template)

        with StopOnSignal() as stopper:
            self._gan.fit(
                _distributed_batches(strategy, self._sampler, self._data),
                steps_per_epoch=remaining,
                epochs=1,
                verbose=0,
                callbacks=[
                    ProgressBar(self._config.steps, done, meter.at),
                    TensorBoardLog(self._folder.tensorboard, self._folder.config() or {}, meter.at),
                    Checkpointer(checkpoint_minutes, save),
                    stopper,
                ],
            )
            save()
        return None if stopper.received is None else signal.Signals(stopper.received)

    def _export(self) -> pathlib.Path:
        statement = privacy_statement(
            self._progress.ledger.stretches,
            self._config.delta,
            critic_steps=self._progress.steps,
            budget_epsilon=self._config.epsilon,
            selected_on_private_data=self._selected_on_private_data,
            void_reasons=self._void_reasons,
        )
        return release.export_generator(
            self._gan.average,
            self._model_dir,
            statement,
            class_names=self._data.class_names,
            name=self._data.name,
        )

    @property
    def _void_reasons(self) -> tuple[str, ...]:
        if self._keys is operating_system_keys:
            return ()
        return ("the noise was predictable (a test)",)

    def _result(self, model_path: Optional[pathlib.Path], **facts: Any) -> RunResult:
        return RunResult(
            steps=self._progress.steps,
            total_steps=self._config.steps,
            spent=accounting.spent(self._progress.ledger.stretches, self._config.delta),
            model_path=model_path,
            notes=tuple(self._progress.notes),
            void_reasons=self._void_reasons,
            **facts,
        )


def build_gan(
    data: PrivateData, config: TrainConfig, noise_multiplier: float, keys: KeySource
) -> ArtGAN:
    """Networks and optimizers of a resolved configuration, compiled."""
    shape, classes = data.image_shape, data.num_classes
    seeds = np.random.SeedSequence(config.seed).generate_state(3).tolist()
    gan = ArtGAN(
        Generator(shape, classes, config.latent_dim, config.generator_width, seed=seeds[0]),
        Critic(shape, classes, config.critic_width, seed=seeds[1]),
        ema_decay=config.ema_decay,
    )
    adaptive = config.critic_steps == ADAPTIVE
    gan.compile(
        critic_optimizer=DPAdam(
            config.clip_norm,
            noise_multiplier,
            config.batch_size,
            keys=keys,
            learning_rate=config.critic_learning_rate,
            beta_1=0.5,
            beta_2=0.99,
        ),
        generator_optimizer=tf.keras.optimizers.legacy.Adam(
            config.generator_learning_rate, beta_1=0.5, beta_2=0.99
        ),
        loss=LOSSES[config.loss],
        penalty_weight=config.penalty_weight,
        schedule=CriticSchedule(1 if adaptive else int(config.critic_steps), adaptive),
        generator_batch_size=config.generator_batch_size,
        latent_seed=seeds[2],
    )
    return gan


def _make_sampler(config: TrainConfig, data: PrivateData, keys: KeySource) -> Sampler:
    count = data.train.num_examples
    if config.sampling == "poisson":
        data.require_memory(
            ", or --sampling=shuffle to stream it (priced without amplification by sampling)"
        )
        return SAMPLERS["poisson"](count, config.batch_size, keys)
    return SAMPLERS[config.sampling](count, config.batch_size)


def _progress_of(gan: ArtGAN, folder: RunFolder) -> Progress:
    return Progress(
        folder,
        generator=gan.generator,
        average=gan.average,
        critic=gan.critic,
        critic_optimizer=gan.critic_optimizer,
        generator_optimizer=gan.generator_optimizer,
        pace=gan.pace,
    )


def _run_identity(config: TrainConfig, data: PrivateData) -> dict[str, Any]:
    """What must not change between the sessions of a run, as flat JSON-able fields."""
    identity = {
        **dataclasses.asdict(config),
        "dataset": data.name,
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        "num_examples": data.train.num_examples,
    }
    if config.sampling == "poisson":  # the data is in memory
        images, labels = data.train.arrays()
        identity["data_checksum"] = zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes()))
    return identity


def _require_writable(directory: pathlib.Path) -> None:
    """Finds out before hours of training that the export could not be written; leaves nothing behind.

    Raises:
      OSError: the folder cannot be made or written to.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass
    for path in made:
        path.rmdir()


def _strategy() -> tf.distribute.Strategy:
    """All visible GPUs when there are several; else whatever single device TensorFlow picks."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _distributed_batches(
    strategy: tf.distribute.Strategy, sampler: Sampler, data: PrivateData
) -> Any:
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return sampler.batches(data.train)
    return strategy.distribute_datasets_from_function(
        lambda _: striped(sampler.batches(data.train), replicas)
    )
