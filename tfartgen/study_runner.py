# SPDX-License-Identifier: Apache-2.0
"""Runs what is not up to date in a study, several stages at a time, and stops without losing anything.

Whether a stage runs is decided when those that it needs are done, by what these have left behind. What a stage
that was stopped had done, its program goes on with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import signal
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Optional, Protocol

from tfartgen import study_process, study_times
from tfartgen.study_process import StageProcess, StudyLock
from tfartgen.study_records import FAILED, FINISHED, STOPPED, UP_TO_DATE, StudyRecords
from tfartgen.study_stages import Stage, has_company
from tfartgen.study_times import DataSize

#: Seconds between looks at the processes.
_TICK = 0.1

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Display(Protocol):
    """Shows a person what happens."""

    def tell(self, line: str) -> object:
        """A line that stays."""

    def begin(self, name: str, seconds: float) -> object:
        """A stage has started, and will likely take so long."""

    def tick(self, name: str, seconds: float) -> object:
        """It has run for so long."""

    def end(self, name: str) -> object:
        """It has ended."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A stage that failed.

    Attributes:
      stage: its name.
      reason: one line.
      log: all that it said.
    """

    stage: str
    reason: str
    log: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `StudyRunner.run` ended.

    Attributes:
      done: stages that are up to date now.
      failures: of stages; empty if all are up to date now, or the run was stopped.
      stopped_by: the signal that stopped it; None if none did.
    """

    done: frozenset[str]
    failures: tuple[Failure, ...] = ()
    stopped_by: Optional[signal.Signals] = None

    @property
    def is_complete(self) -> bool:
        """Whether everything is up to date."""
        return not self.failures and self.stopped_by is None


@dataclasses.dataclass
class _Running:
    """A stage's process, and how many signals have been passed on to it."""

    stage: Stage
    process: StageProcess
    record: dict[str, Any]
    passed_on: int = 0


class StudyRunner:
    """Runs the stages of one study."""

    def __init__(
        self,
        all_stages: Sequence[Stage],
        records: StudyRecords,
        lock: StudyLock,
        folder: pathlib.Path,
        programs: pathlib.Path,
        size: DataSize,
        jobs: int,
        display: Display,
    ):
        """Prepares; nothing runs yet.

        Args:
          all_stages: each after those that it needs.
          records: of the study.
          lock: of its folder.
          folder: of the study.
          programs: folder of the programs.
          size: of the data, for estimates.
          jobs: stages at a time.
          display: for people.
        """
        self._stages, self._records, self._lock = tuple(all_stages), records, lock
        self._folder, self._programs, self._jobs = folder, programs, jobs
        self._display = display
        self._estimates = {
            stage.name: study_times.estimate(stage, size, records.last_seconds(stage.name))
            for stage in all_stages
        }
        self._done: set[str] = set()
        self._running: dict[str, _Running] = {}
        self._failures: list[Failure] = []
        self._received: list[signal.Signals] = []

    def run(self) -> Outcome:
        """Runs until all stages are up to date, one has failed and those beside it have ended, or a signal comes.

        Raises:
          OSError: a record cannot be written.
          ValueError: another version wrote a record.
        """
        try:
            with self._signals():
                while self._start_what_can():
                    time.sleep(_TICK)
                    self._pass_on()
                    self._look()
        finally:
            self._end_all()
        stopped_by = self._received[0] if self._received else None
        return Outcome(frozenset(self._done), tuple(self._failures), stopped_by)

    def _start_what_can(self) -> bool:
        """Starts stages; whether any run now."""
        while not self._failures and not self._received and len(self._running) < self._jobs:
            seconds = {name: each.seconds for name, each in self._estimates.items()}
            free = study_times.ready(self._stages, self._done, self._running, seconds)
            if not free:
                break
            self._start(free[0])
        return bool(self._running)

    def _start(self, stage: Stage) -> None:
        verdict = self._records.judge(stage)
        if verdict.state == UP_TO_DATE:
            self._display.tell(f"{stage.name}: up to date")
            self._done.add(stage.name)
            return
        for name in self._records.clear_way(stage):
            self._display.tell(f"{stage.name}: what was there is now {self._folder / name}")
        threads = self._threads(stage)
        process = StageProcess(stage, self._programs, self._folder, self._lock, threads)
        record = self._records.begin(stage, process.number)
        self._running[stage.name] = _Running(stage, process, record)
        seconds = self._estimates[stage.name].seconds
        about = study_times.shown(seconds)
        self._display.tell(f"{stage.name}: {verdict.state} ({verdict.reason}), about {about}")
        self._display.begin(stage.name, seconds)

    def _threads(self, stage: Stage) -> Optional[int]:
        """By the stage, not by what runs now: results may depend on it in their last digits."""
        if self._jobs == 1 or not has_company(stage, self._stages):
            return None
        return max(1, study_process.cores() // self._jobs)

    def _look(self) -> None:
        for name, running in list(self._running.items()):
            status = running.process.status()
            if status is None:
                self._display.tick(name, running.process.seconds)
            else:
                del self._running[name]
                self._display.end(name)
                self._ended(running, status)

    def _ended(self, running: _Running, status: int) -> None:
        stage, process = running.stage, running.process
        reason = self._finished(running) if status == 0 else process.last_words()
        took = study_times.shown(process.seconds)
        if reason is None:
            self._done.add(stage.name)
            self._display.tell(f"{stage.name}: done in {took}")
            return
        state = STOPPED if self._received else FAILED
        self._records.end(stage, running.record, state, process.seconds)
        self._display.tell(f"{stage.name}: {state} after {took}")
        if state == FAILED:
            self._failures.append(Failure(stage.name, reason, process.log))
            if self._running:
                self._display.tell(f"waiting for {', '.join(self._running)}, and then stopping")

    def _finished(self, running: _Running) -> Optional[str]:
        """Puts a stage's success on file; why it is none, if so."""
        stage, seconds = running.stage, running.process.seconds
        try:
            self._records.end(stage, running.record, FINISHED, seconds)
        except ValueError as error:
            return str(error)
        return None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals stop the stages instead of this process: the first gently, the next at once."""
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        del frame
        self._received.append(signal.Signals(number))

    def _pass_on(self) -> None:
        for running in self._running.values():
            for number in self._received[running.passed_on :]:
                first = running.passed_on == 0
                running.process.send(number if first else signal.SIGKILL)
                running.passed_on += 1

    def _end_all(self) -> None:
        """Of an error of this process, stages are stopped and waited for."""
        for running in self._running.values():
            running.process.send(signal.SIGTERM)
        while self._running:
            time.sleep(_TICK)
            self._look()
