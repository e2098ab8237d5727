# SPDX-License-Identifier: Apache-2.0
"""One stage's process, and the lock of a study's folder, which the processes of its stages share."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from typing import Optional

from tfartgen import study_child
from tfartgen.study_stages import Stage

#: Seconds until stages whose parent was killed have saved what they do.
_PATIENCE = 15.0

#: Read from the end of a log for its last line.
_TAIL = 1 << 16

#: How many threads a program takes.
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class StudyLock:
    """Holds a study's folder for one `bin/reproduce` and its stages.

    The stages inherit the lock, so that one that outlives its parent keeps the folder locked.
    """

    def __init__(self, folder: pathlib.Path, patience: float = _PATIENCE):
        """Takes the lock, and makes the folder if needed.

        Args:
          folder: of the study.
          patience: seconds to wait for stages whose parent is gone, and that are about to end.

        Raises:
          BlockingIOError: others hold it.
          OSError: the folder cannot be made or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / ".lock", "a+", encoding="utf-8")
        deadline = time.monotonic() + patience
        while not self._taken():
            if _is_held_by_living(folder) or time.monotonic() > deadline:
                self._file.close()
                raise BlockingIOError(errno.EWOULDBLOCK, "is locked", str(folder))
            time.sleep(0.1)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def descriptor(self) -> int:
        """To be passed on to stages."""
        return self._file.fileno()

    def close(self) -> None:
        """Lets others have the folder, once the stages have ended."""
        self._file.close()


def refusal(folder: pathlib.Path, processes: Collection[int]) -> ValueError:
    """Why a folder cannot be had whose lock is held.

    Args:
      folder: of the study.
      processes: of stages that have started in it and not ended, by its records.
    """
    left = [str(process) for process in processes if is_alive(process)]
    if left and not _is_held_by_living(folder):
        return ValueError(
            f"--output={folder}: stages of a bin/reproduce that is gone still run in it; wait for them, or end them "
            f"(kill {' '.join(left)})"
        )
    return ValueError(
        f"--output={folder} is in use by another bin/reproduce (process {_holder(folder) or 'unknown'}); wait for it or "
        "give another --output"
    )


def _holder(folder: pathlib.Path) -> Optional[int]:
    """The process that took the lock; None if it is not known yet."""
    text = (folder / ".lock").read_text(encoding="utf-8").strip()
    return int(text) if text.isdecimal() else None


def _is_held_by_living(folder: pathlib.Path) -> bool:
    holder = _holder(folder)
    return holder is None or is_alive(holder)


def is_alive(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _has_ended(process)


def _has_ended(process: int) -> bool:
    """Whether Linux keeps no more of it than its exit status, for a parent that is slow to ask."""
    try:
        stat = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class StageProcess:
    """A stage that runs, its output in a log."""

    def __init__(
        self,
        stage: Stage,
        programs: pathlib.Path,
        folder: pathlib.Path,
        lock: StudyLock,
        threads: Optional[int],
    ):
        """Starts the stage.

        Args:
          stage: to be run.
          programs: folder of the programs.
          folder: of the study, in which it runs.
          lock: that it shares.
          threads: that it may use; None for as many as it likes.

        Raises:
          OSError: it cannot be started, or there is no space for the log.
        """
        self.log = folder / "logs" / f"{stage.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._begun = time.monotonic()
        program, *arguments = stage.command
        launcher = [sys.executable, "-I", str(pathlib.Path(study_child.__file__).resolve())]
        with open(self.log, "ab") as log:
            log.write(f"$ bin/{' '.join(stage.command)}\n".encode())
            log.flush()
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*launcher, str(os.getpid()), str(programs / program), *arguments],
                cwd=folder,
                env=_environment(threads),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock.descriptor,),
                # Ctrl-C reaches this process alone, which passes it on once.
                start_new_session=True,
            )

    @property
    def number(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self._begun

    def status(self) -> Optional[int]:
        """Its exit status, less than 0 for a signal's number; None while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        self._process.send_signal(number)

    def last_words(self) -> str:
        """Why it failed: the last line that it wrote, or the signal that ended it."""
        status = self.status() or 0
        if status < 0:
            hint = ", out of memory perhaps" if -status == signal.SIGKILL else ""
            return f"it was ended by {signal.Signals(-status).name}{hint}"
        with open(self.log, "rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _TAIL))
            lines = log.read().decode("utf-8", "replace").splitlines()
        written = [line.strip() for line in lines if line.strip()]
        return written[-1] if written else f"it ended with status {status} and said nothing"


def _environment(threads: Optional[int]) -> dict[str, str]:
    """This process's, with few threads, and a GPU to be shared, for a stage that has company."""
    environment = dict(os.environ)
    if environment.get("PYTHONPATH"):  # the stage runs in another folder
        parts = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, parts))
    if threads is not None:
        for variable in _THREADS:
            environment.setdefault(variable, str(threads))
        environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    return environment
