# SPDX-License-Identifier: Apache-2.0
"""The private folder of a run: what was asked for, what was spent, and where training stands.

    config.json      settings and identity of the data, written once
    ledger.jsonl     stretches of private steps, for the accountant
    budget.json      its entry in the budget book, and budget.records
    choices.json     what was chosen by looking at the private data, in any session
    checkpoints/     networks, both optimizers, counters
    tensorboard/     logs
    finished.json    where the release went

The ledger is written before the checkpoint that it belongs to, and the first checkpoint before the first private step, so that a
checkpoint never holds a step which the ledger does not, and a ledger without checkpoints is one whose checkpoints were removed.
Work after the last checkpoint dies with its process, before anything of it is released; doing it again draws fresh batches
and fresh noise, and the ledger is cut back to the checkpoint. It is cut no more once anything was exported, nor where the
checkpoints are gone: then what it holds is owed. All files are for their owner alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

from tfartgen.accounting import Ledger, Stretch
from tfartgen.ledger import VERSION
from tfartgen.whole_files import for_owner_only, write_atomically

_MISSING = "<missing>"

#: Field of the settings that says with which version of the mechanisms the run began; 0.1 wrote none.
_VERSION_FIELD = "ledger_version"

#: Settings that follow from a budget.
CALIBRATED = ("noise_multiplier", "warm_start_noise_multiplier")


class RunFolder:
    """One run's folder, held by one process at a time."""

    def __init__(self, path: str | os.PathLike[str]):
        """Opens the folder, making it if needed.

        Args:
          path: the folder.

        Raises:
          ValueError: another process is training in it.
          OSError: it cannot be made or written.
        """
        self.path = pathlib.Path(path)
        self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        with for_owner_only():
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w", encoding="utf-8")
        os.chmod(self.path, 0o700)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"run_dir {self.path} is in use by another process; wait for it or give another --run_dir"
            ) from None

    def close(self) -> None:
        """Lets other processes have the folder; one that was made in vain is removed."""
        if self._made and not (self.path / "config.json").exists():
            with contextlib.suppress(OSError):  # not empty: somebody else's
                os.unlink(self._lock.name)
                for folder in self._made:
                    folder.rmdir()
        self._lock.close()

    @property
    def tensorboard(self) -> pathlib.Path:
        """Where the logs go."""
        return self.path / "tensorboard"

    @property
    def version(self) -> int:
        """Of the mechanisms that the run began with: 1 for one of tfartgen 0.1, which must not go on."""
        stored = self.config()
        return VERSION if stored is None else int(stored.get(_VERSION_FIELD, 1))

    def settle(self, config: dict[str, Any]) -> dict[str, Any]:
        """Writes the run's configuration, or checks that it is the one already there.

        Args:
          config: flat JSON-able settings. Those of `CALIBRATED` that are None are calibrated to the others, and take
            the stored ones.

        Returns:
          The configuration of the run, the stored one if there is one.

        Raises:
          ValueError: the stored one differs; the message names the first field that does.
        """
        stored = self.config()
        if stored is None:
            return {**config, _VERSION_FIELD: VERSION}
        for field in sorted((set(stored) | set(config)) - {_VERSION_FIELD}):
            was, now = stored.get(field, _MISSING), config.get(field, _MISSING)
            calibrated = field in CALIBRATED and now is None
            if was != now and not calibrated:
                raise ValueError(
                    f"run_dir {self.path} holds a run with {field}={was}, not {now}; repeat that setting to resume it, "
                    "or give another --run_dir (or --name)"
                )
        return stored

    def config(self) -> Optional[dict[str, Any]]:
        """The stored configuration, None before the first start."""
        return self._read_json("config.json")

    def write_config(self, config: dict[str, Any]) -> None:
        """Stores the configuration."""
        self._write_json("config.json", config)

    def add_choices(self, choices: Sequence[str]) -> list[str]:
        """What was chosen by looking at the private data: what earlier sessions said, and this one."""
        stored = self._read_json("choices.json") or {"selected_on_private_data": []}
        before = list(stored["selected_on_private_data"])
        together = list(dict.fromkeys([*before, *choices]))
        if together != before:
            self._write_json("choices.json", {"selected_on_private_data": together})
        return together

    def finished(self) -> Optional[dict[str, Any]]:
        """What `write_finished` stored, None before the end."""
        return self._read_json("finished.json")

    def write_finished(self, facts: dict[str, Any]) -> None:
        """Marks the run as done."""
        self._write_json("finished.json", facts)

    def _read_json(self, name: str) -> Optional[dict[str, Any]]:
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged ({error}); restore it, or give another --run_dir"
            ) from None

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        write_atomically(self.path / name, json.dumps(value, indent=2) + "\n", private=True)


class Progress:
    """Checkpoints and ledger of a run, kept in step."""

    def __init__(self, folder: RunFolder, keep: int = 3, **tracked: Any):
        """Binds objects to the run's checkpoints.

        Args:
          folder: the run.
          keep: how many checkpoints stay.
          **tracked: what a checkpoint holds; `critic_optimizer` among it, whose `iterations` count critic steps, and
            `warm_start_optimizer` and `matching` if there is a warm start.
        """
        self._optimizer = tracked["critic_optimizer"]
        optimizers = [
            tracked[key] for key in ("critic_optimizer", "warm_start_optimizer") if key in tracked
        ]
        self._counters = [optimizer.iterations for optimizer in optimizers]
        self._released = tracked["matching"].released if "matching" in tracked else None
        self._recorded = False  # whether this session is in the ledger
        self._exported = folder.finished() is not None
        self._ledger_path = folder.path / "ledger.jsonl"
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(**tracked), str(folder.path / "checkpoints"), max_to_keep=keep
        )
        self._lost_before = 0  # critic steps of the ledger that no checkpoint holds
        self.ledger = Ledger()
        self.notes: list[str] = []

    @property
    def steps(self) -> int:
        """Critic steps taken, by the optimizer's own count."""
        return int(self._optimizer.iterations.numpy())

    @property
    def lost_steps(self) -> int:
        """Critic steps of the ledger whose work is lost: spent, and in no network."""
        return self._lost_before

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one, of whatever step."""
        return bool(self._manager.checkpoints)

    def restore(self) -> int:
        """Goes back to the newest checkpoint that can be read, and cuts the ledger to it if nothing was exported.

        Returns:
          Critic steps taken, 0 when there is no checkpoint yet. `notes` says what could not be read, and what is owed.

        Raises:
          ValueError: there are checkpoints and none can be read, or the ledger lacks steps that one holds.
        """
        checkpoints = list(reversed(self._manager.checkpoints))
        for checkpoint in checkpoints:
            if self._try_restore(checkpoint):
                self._restore_ledger()
                return self.steps
        if checkpoints:
            raise ValueError(
                f"no checkpoint in {self._manager.directory} can be read; restore the folder from a copy, or start a new "
                "run with another --run_dir"
            )
        if self._ledger_path.exists():
            self.ledger = Ledger.read(self._ledger_path)
            self._exported |= self.ledger.exported
            self._lost_before = self.ledger.steps
            if self.ledger.stretches:
                self.notes.append(
                    "the checkpoints of this run are gone: it starts anew, and what its ledger holds is owed all the same"
                )
        return 0

    def _try_restore(self, checkpoint: str) -> bool:
        try:
            status = self._manager.checkpoint.restore(checkpoint)
            status.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError, OSError, IndexError):
            self.notes.append(
                f"checkpoint {os.path.basename(checkpoint)} is damaged: going back to the one before"
            )
            return False
        return True

    def _restore_ledger(self) -> None:
        if not self._ledger_path.exists():
            raise ValueError(
                f"{self._ledger_path} is missing, so what the checkpoints spent is not known; restore it, or start a new "
                "run with another --run_dir"
            )
        self.ledger = Ledger.read(self._ledger_path)
        if self.ledger.steps < self.steps:
            raise ValueError(
                f"{self._ledger_path} accounts for {self.ledger.steps} critic steps, the checkpoint for {self.steps}; "
                "restore the ledger, or start a new run with another --run_dir"
            )
        self._exported |= self.ledger.exported
        if not self._exported:
            released = self._released is None or bool(self._released.numpy())
            self.ledger.truncate(self.steps, embedding_released=released)
            return
        self.ledger.exported = True
        self._lost_before = self.ledger.steps - self.steps
        if self._lost_before:
            self.notes.append(
                f"{self._lost_before:,} critic steps of this run were exported and their checkpoint is lost: they are owed all "
                "the same"
            )

    def seal(self) -> None:
        """Marks the ledger as that of something exported, before it is: from now on no line of it is cut."""
        self._exported = self.ledger.exported = True
        self.ledger.write(self._ledger_path)

    def save(
        self, template: Stretch, tell: Callable[[Ledger], object] = lambda ledger: None
    ) -> None:
        """Writes ledger, then checkpoint.

        Args:
          template: the stretch that is running; its steps are what the ledger does not hold yet.
          tell: called before both: whoever counts what ran should not learn less than the ledger does.

        Raises:
          OSError: no space, or no permission; what was saved before is still there.
        """
        new_steps = self.steps + self._lost_before - self.ledger.steps
        if new_steps:
            stretch = dataclasses.replace(template, steps=new_steps)
            self.ledger.record(stretch, continues=self._recorded)
            self._recorded = True
        tell(self.ledger)
        self.ledger.write(self._ledger_path)
        try:
            number = sum(int(counter.numpy()) for counter in self._counters)
            self._manager.save(checkpoint_number=number)
        except tf.errors.OpError as error:
            raise OSError(
                f"cannot write a checkpoint in {self._manager.directory}: {error.message.splitlines()[0]}; make room or "
                "give another --run_dir, then start again to resume"
            ) from None


def require_writable(directory: pathlib.Path) -> None:
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
