# SPDX-License-Identifier: Apache-2.0
"""A run: from private data and a configuration to a released generator, resumable and priced."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import signal
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
import tensorflow as tf

from tfartgen import (
    _validate,
    accounting,
    assembly,
    deltas,
    embedding,
    public_start,
    published_names,
    release,
)
from tfartgen.budget_book import BudgetBook, Reservation
from tfartgen.budget_entries import Ceiling, Spending
from tfartgen.callbacks import Checkpointer, ProgressBar, StopOnSignal
from tfartgen.data import PrivateData
from tfartgen.embedding_projector import write_projector
from tfartgen.gan import ArtGAN
from tfartgen.ledger import CRITIC, MEAN_EMBEDDING, VERSION, Ledger, Stretch
from tfartgen.noise import KeySource, operating_system_keys, require_exact
from tfartgen.rounding import upwards
from tfartgen.run_folder import Progress, RunFolder, require_writable
from tfartgen.statement import privacy_statement, together
from tfartgen.tensorboard_log import TensorBoardLog, log_run, log_spent
from tfartgen.train_config import TrainConfig
from tfartgen.warm_start import WarmStart
from tfartgen.whole_files import for_owner_only


@dataclasses.dataclass(frozen=True)
class RunResult:
    """How a call of `train` ended.

    Attributes:
      steps: critic steps taken by the run so far.
      total_steps: critic steps of the whole run.
      spent: the accountant's answer for all that ran.
      model_path: folder of the exported version; None when the run was stopped before its end.
      stopped_by: number of the signal that stopped it, None when it ended by itself.
      already_finished: whether there was nothing left to do.
      notes: lines for people.
      void_reasons: why `spent` guarantees nothing; empty if it holds.
      warm_start: generator steps of the warm start, taken and in all; None without one.
      together: a sentence on this and earlier releases from the same records; empty where there are none, or nobody counted.
    """

    steps: int
    total_steps: int
    spent: accounting.Spent
    model_path: Optional[pathlib.Path]
    stopped_by: Optional[signal.Signals] = None
    already_finished: bool = False
    notes: tuple[str, ...] = ()
    void_reasons: tuple[str, ...] = ()
    warm_start: Optional[tuple[int, int]] = None
    together: str = ""


def train(
    data: PrivateData,
    config: TrainConfig,
    run_dir: pathlib.Path,
    model_dir: pathlib.Path,
    *,
    checkpoint_minutes: float = 5.0,
    projector_images: int = 0,
    selected_on_private_data: Sequence[str] = (),
    budget_book: Union[str, os.PathLike[str], None] = None,
    ceiling: Optional[Ceiling] = None,
    throwaway: bool = False,
    keys: KeySource = operating_system_keys,
) -> RunResult:
    """Trains, or goes on training, the run in `run_dir`, and exports its generator when it is done.

    With a warm start, the mean embedding is released once and the generator matches it; then, with what is left of
    the budget, the critic takes its steps.

    Formal guarantee: with `config.epsilon`, what the ledger holds and what is still planned stay within (epsilon, delta)
    by the accountant at the start of every session, and nothing beyond what was planned reads a private record. Before the
    first private step everything planned is in the budget book, and within the ceiling that these records are under.

    Args:
      data: the private data; only its training split is read.
      config: settings.
      run_dir: private folder of the run.
      model_dir: where versions of the generator go.
      checkpoint_minutes: minutes between checkpoints.
      projector_images: generated images in TensorBoard's projector when the run is done; 0 for no projector.
      selected_on_private_data: choices that were made by looking at the private data, for the statement; those of earlier
        sessions stay.
      budget_book: folder of the book in which all runs on these records are counted; None for `budget_book.default_path`.
      ceiling: on all runs on these records together; None for the one that was fixed before, if any.
      throwaway: an experiment whose generator is never published, and which is therefore in no book.
      keys: source of the noise's and the sampler's keys; anything but the default voids the statement.

    Returns:
      What was done.

    Raises:
      ValueError: settings out of range, a run folder of other settings, an unreachable or exceeded budget or ceiling, a public
        start that is not public.
      OSError: a folder cannot be written.
    """
    _validate.positive("checkpoint_minutes", checkpoint_minutes)
    if projector_images:
        _validate.positive_int("projector_images", projector_images)
    book = None if throwaway else BudgetBook(budget_book)
    with for_owner_only() as umask:
        folder = RunFolder(run_dir)
        try:
            choices = selected_on_private_data
            run = _Run(data, config, folder, model_dir, keys, book, ceiling, umask, choices)
            return run.go(checkpoint_minutes, projector_images)
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
        book: Optional[BudgetBook],
        ceiling: Optional[Ceiling],
        umask: int,
        choices: Sequence[str],
    ):
        published_names.check_names(data.name, data.class_names)
        published_names.check_texts("--selected_on_private_data", list(choices))
        self._data, self._config, self._folder = data, config, folder
        self._model_dir, self._keys, self._umask = model_dir, keys, umask
        self._book, self._ceiling, self._choices = book, ceiling, list(choices)
        self._reservation: Optional[Reservation] = None
        self._together = ""
        source = config.init_from
        self._source = None if source is None else public_start.find(source)
        if config.warm_start:
            require_exact()
        self._sampler = assembly.make_sampler(config, data, keys)
        self._settled = self._settle()
        counts = data.train.class_counts(data.num_classes).tolist()
        published_names.check_classes(data.class_names, counts)
        self._embedding_noise = self._settled["warm_start_noise_multiplier"]
        noise = self._settled["noise_multiplier"]
        # None without critic steps: if one were taken all the same, it would drown.
        self._noise = accounting.MAX_NOISE_MULTIPLIER if noise is None else noise
        self._template = self._sampler.stretch(
            self._noise,
            config.clip_norm,
            config.steps,
            assembly.critic_coordinates(data, config),
        )

    def _settle(self) -> dict[str, Any]:
        """Configuration of the run; its noise multipliers are those asked for, the stored or the calibrated ones."""
        asked = {
            **_run_identity(self._config, self._data),
            "warm_start_noise_multiplier": None,
            "public_sources": [] if self._source is None else [self._source.described],
            "predictable_noise": self._keys is not operating_system_keys,
        }
        settled = self._folder.settle(asked)
        if self._config.epsilon is not None and self._folder.config() is None:
            settled.update(
                assembly.calibrated_noise(
                    self._config.epsilon, self._data, self._config, self._sampler
                )
            )
        return settled

    def go(self, checkpoint_minutes: float, projector_images: int) -> RunResult:
        strategy = assembly.strategy()
        with strategy.scope():
            gan, warm_start = assembly.build_warm_start(
                self._data, self._config, self._noise, self._keys
            )
            if self._source is not None:
                self._source.start(gan)
        self._gan, self._warm_start = gan, warm_start
        self._progress = _progress_of(gan, warm_start, self._folder)
        self._progress.restore()
        finished = self._folder.finished()
        if self._done and finished and pathlib.Path(finished["model"]).is_dir():
            model = pathlib.Path(finished["model"])
            if self._book is not None:
                told = self._told(self._progress.ledger)
                self._book.settle_finished(self._folder.path, told, public_start.digest_of(model))
            return self._result(model, already_finished=True)
        self._check_ledger()
        if not self._done:
            self._refuse_old_run()
        planned = self._planned()
        self._check_budget(planned)
        if not self._done:
            require_writable(self._model_dir)
        if self._book is not None:
            self._reserve(self._book, planned)
        self._folder.write_config(self._settled)  # only now: what is refused leaves nothing
        self._choices = self._folder.add_choices(self._choices)
        try:
            return self._spend(strategy, checkpoint_minutes, projector_images)
        except BaseException:  # the process lives: what its ledger does not hold dies here
            with contextlib.suppress(OSError, ValueError):
                self._settle_book()
            raise

    def _spend(
        self, strategy: tf.distribute.Strategy, checkpoint_minutes: float, projector_images: int
    ) -> RunResult:
        """Everything that reads private records, and the export."""
        warm_start = self._warm_start
        if not self._done:
            settings = {"run": self._folder.path.resolve().name, **self._settled}
            log_run(self._folder.tensorboard, self._gan, settings)
            if not self._progress.has_checkpoint:
                self._save()
        stopped_by = None
        if warm_start is not None and warm_start.steps_taken < warm_start.steps:
            stopped_by = self._warm_up(strategy, warm_start, checkpoint_minutes)
        if stopped_by is None and self._progress.steps < self._config.steps:
            stopped_by = self._fit_critic(strategy, checkpoint_minutes)
        if not self._done:
            self._settle_book()
            return self._result(None, stopped_by=stopped_by)
        return self._finish(projector_images)

    def _finish(self, projector_images: int) -> RunResult:
        """Logs the outcome, then exports it: who stops the program in between gets no second version."""
        outcome, logs = self._result(None), self._folder.tensorboard
        if not outcome.void_reasons:
            log_spent(logs, outcome.spent.epsilon, outcome.steps)
        if projector_images:
            write_projector(logs, self._gan.average, self._data.class_names, projector_images)
        self._progress.seal()
        path = self._export()
        self._folder.write_finished({"model": str(path), "steps": outcome.steps})
        self._settle_book(public_start.digest_of(path))
        return dataclasses.replace(outcome, model_path=path, together=self._together)

    @property
    def _done(self) -> bool:
        warm_start = self._warm_start
        warm = warm_start is None or warm_start.steps_taken >= warm_start.steps
        return warm and self._progress.steps == self._config.steps

    def _refuse_old_run(self) -> None:
        """A run of another version of the mechanisms is exported, evaluated and reported, but does not go on.

        Raises:
          ValueError: it would.
        """
        if self._version < VERSION:
            raise ValueError(
                f"run_dir {self._folder.path} was begun by tfartgen 0.1, whose noise does not keep what it states (SECURITY.md), "
                "so it cannot be trained further; start a new run with another --run_dir (or --name)"
            )

    def _check_ledger(self) -> None:
        """What ran against the settings that it ran under; those of version 0.1 differ by design.

        Raises:
          ValueError: the one was changed without the other.
        """
        if self._version < VERSION:
            return
        expected = {CRITIC: self._template}
        if self._warm_start is not None:
            expected[MEAN_EMBEDDING] = self._embedding_stretch
        names = [field.name for field in dataclasses.fields(Stretch) if field.name != "steps"]
        for stretch in self._progress.ledger.stretches:
            for name in names:
                was, now = (getattr(x, name, None) for x in (stretch, expected.get(stretch.stage)))
                if was != now:
                    raise ValueError(
                        f"the ledger of {self._folder.path} has {stretch.stage} steps of {name} {was}, and its config.json "
                        f"means {now}; restore both from a copy, or start a new run with another --run_dir"
                    )

    def _planned(self) -> list[Stretch]:
        """What is still to run.

        Raises:
          ValueError: what was released is not in the ledger.
        """
        ledger, warm_start = self._progress.ledger, self._warm_start
        recorded = any(stretch.stage == MEAN_EMBEDDING for stretch in ledger.stretches)
        left = self._config.steps - self._progress.steps
        planned = [dataclasses.replace(self._template, steps=left)]
        if warm_start is None:
            return planned
        if not warm_start.matching.released.numpy():
            return [*planned, self._embedding_stretch]
        if not recorded:
            raise ValueError(
                f"the ledger of {self._folder.path} lacks the mean embedding that its checkpoint holds; restore the "
                "ledger, or start a new run with another --run_dir"
            )
        return planned

    def _check_budget(self, planned: Sequence[Stretch]) -> None:
        """What ran and what is still planned against the budget.

        Raises:
          ValueError: it would be exceeded.
        """
        budget = self._config.epsilon
        if budget is None:
            return
        stretches = [*self._progress.ledger.stretches, *planned]
        total = accounting.epsilon(stretches, self._config.delta)
        if not total <= budget:
            raise ValueError(
                f"the run would spend epsilon {upwards(total)}, more than --epsilon={budget}, with what its ledger holds already; "
                "start a new run with another --run_dir, which adds to what these records have spent"
            )

    def _reserve(self, book: BudgetBook, planned: Sequence[Stretch]) -> None:
        """Enters the plan in the book, before anything of it runs."""
        digests = self._data.train.digests()
        starts = self._starts(book, digests)
        self._reservation = book.reserve(
            Spending(
                name="/".join(self._folder.path.resolve().parts[-2:]),
                digests=digests,
                ledger=self._told(self._progress.ledger),
                planned=self._told(Ledger(planned)).stretches,
                dataset=self._data.name,
                ceiling=self._ceiling,
                starts=starts,
                sources=() if self._source is None else (self._source.digest,),
            ),
            self._folder.path,
        )

    def _starts(self, book: BudgetBook, digests: np.ndarray) -> tuple[dict[str, Any], ...]:
        """What a public start has spent, if it may have been on these records.

        Raises:
          ValueError: it was.
        """
        source = self._source
        if source is None:
            return ()
        shared = book.shares_records(
            digests, source.digest, source.run_dir, asking=self._folder.path
        )
        if shared is None:
            shared = source.dataset == self._data.name or None
        if shared:
            raise ValueError(
                f"--init_from={source.path} was trained on records of {self._data.name}, or on another data set of that name, so it "
                "is not public here; give a model that other data taught, or rename the data set if it is another"
            )
        return source.spent() if shared is None else ()

    def _settle_book(self, weights: Optional[str] = None) -> None:
        if self._reservation is not None:
            self._reservation.settle(self._told(self._progress.ledger), weights)

    def _save(self) -> None:
        """Book, ledger, checkpoint: who dies in between has told too much, never too little."""

        def tell(ledger: Ledger) -> None:
            if self._reservation is not None:
                self._reservation.record(self._told(ledger))

        self._progress.save(self._template, tell)

    def _told(self, ledger: Ledger) -> Ledger:
        """A ledger as the book has it: noise that could be predicted is none."""
        if not self._void_reasons:
            return ledger
        bare = [dataclasses.replace(each, noise_multiplier=0.0) for each in ledger.stretches]
        return Ledger(bare, ledger.version, ledger.exported)

    @functools.cached_property
    def _embedding_stretch(self) -> accounting.Stretch:
        return assembly.embedding_stretch(self._data, self._config, self._embedding_noise)

    def _warm_up(
        self, strategy: tf.distribute.Strategy, stage: WarmStart, checkpoint_minutes: float
    ) -> Optional[signal.Signals]:
        """Releases the embedding if that is still to do, and lets the generator match it."""
        matching = stage.matching
        if not matching.released.numpy():
            split, classes = self._data.train, self._data.num_classes
            released = embedding.release(matching.embedding, split, classes, self._embedding_noise)
            matching.receive(released)
            self._progress.ledger.record(self._embedding_stretch)
            self._save()
        spent = accounting.epsilon(self._progress.ledger.stretches, self._config.delta)
        return self._fit(
            stage,
            strategy.experimental_distribute_dataset(tf.data.Dataset.range(2**62).batch(1024)),
            (stage.steps_taken, stage.steps),
            lambda _: spent,
            self._folder.tensorboard / "warm_start",
            checkpoint_minutes,
        )

    def _fit_critic(
        self, strategy: tf.distribute.Strategy, checkpoint_minutes: float
    ) -> Optional[signal.Signals]:
        meter = accounting.EpsilonMeter(
            self._progress.ledger.stretches, self._template, self._config.delta
        )
        return self._fit(
            self._gan,
            assembly.distributed_batches(strategy, self._sampler, self._data),
            (self._progress.steps, self._config.steps),
            meter.at,
            self._folder.tensorboard,
            checkpoint_minutes,
        )

    def _fit(
        self,
        model: tf.keras.Model,
        batches: Any,
        done_of: tuple[int, int],
        epsilon_at: Callable[[int], float],
        log_dir: pathlib.Path,
        checkpoint_minutes: float,
    ) -> Optional[signal.Signals]:
        """The steps of a stage that are left; the signal that stopped it, if one did."""
        done, total = done_of
        with StopOnSignal() as stopper:
            model.fit(
                batches,
                steps_per_epoch=total - done,
                epochs=1,
                verbose=0,
                callbacks=[
                    ProgressBar(total, done, epsilon_at),
                    TensorBoardLog(log_dir, self._gan, done, epsilon_at),
                    Checkpointer(checkpoint_minutes, self._save),
                    stopper,
                ],
            )
            self._save()
        return None if stopper.received is None else signal.Signals(stopper.received)

    def _export(self) -> pathlib.Path:
        statement = privacy_statement(
            self._progress.ledger.stretches,
            self._config.delta,
            critic_steps=self._progress.steps,
            lost_steps=self._progress.lost_steps,
            budget_epsilon=self._config.epsilon,
            public_sources=self._settled["public_sources"],
            selected_on_private_data=self._choices,
            void_reasons=self._void_reasons,
            version=self._version,
            num_records=self._data.train.num_examples,
            earlier=None if self._reservation is None else self._reservation.earlier(),
        )
        self._together = together(statement)
        with for_owner_only(but=self._umask):
            return release.export_generator(
                self._gan.average,
                self._model_dir,
                statement,
                class_names=self._data.class_names,
                name=self._data.name,
            )

    @property
    def _version(self) -> int:
        """Of the mechanisms that ran."""
        return min(self._folder.version, self._progress.ledger.version)

    @property
    def _notes(self) -> tuple[str, ...]:
        old = "this run is of tfartgen 0.1: what it states is not proven, see SECURITY.md"
        delta, count = self._config.delta, self._data.train.num_examples
        large = deltas.warning(delta, count) if deltas.guarantees(delta, count) else None
        return (
            *published_names.notes(self._data.name, self._data.class_names),
            *self._progress.notes,
            *([old] if self._version < VERSION else []),
            *([] if large is None else [large]),
        )

    @property
    def _void_reasons(self) -> tuple[str, ...]:
        if self._keys is operating_system_keys:
            return ()
        return ("the noise was predictable (a test)",)

    def _result(self, model_path: Optional[pathlib.Path], **facts: Any) -> RunResult:
        stage = self._warm_start
        return RunResult(
            steps=self._progress.steps,
            total_steps=self._config.steps,
            spent=accounting.spent(
                self._progress.ledger.stretches,
                self._config.delta,
                self._data.train.num_examples,
            ),
            model_path=model_path,
            notes=self._notes,
            void_reasons=self._void_reasons,
            warm_start=stage and (stage.steps_taken, stage.steps),
            **facts,
        )


def _progress_of(gan: ArtGAN, warm_start: Optional[WarmStart], folder: RunFolder) -> Progress:
    stage = {}
    if warm_start is not None:
        stage = {
            "matching": warm_start.matching,
            "warm_start_optimizer": warm_start.generator_optimizer,
        }
    return Progress(
        folder,
        **stage,
        generator_steps=gan.generator_steps,
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
        identity["data_checksum"] = data.train.checksum()
    return identity
