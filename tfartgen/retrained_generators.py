# SPDX-License-Identifier: Apache-2.0
"""Generators that are trained to be compared, each in a process of its own, and what is drawn from them on file.

No statement prices these trainings: their folder is private, as a run's is. The module needs no TensorFlow before
a training starts, so that the processes start fast.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import pathlib
import signal
import threading
import traceback
from collections.abc import Sequence
from multiprocessing import connection, resource_tracker
from typing import Any, Callable, Optional

import numpy as np

from tfartgen.trials import Trial, TrialStore
from tfartgen.whole_files import write_atomically

#: Bytes that the training of small images takes.
_PROCESS_MEMORY = 2**30
#: Seconds that a stopped training has for its checkpoint.
_STOP_SECONDS = 60.0

Draw = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Job:
    """A generator to be trained and drawn from; goes to a process of its own.

    Attributes:
      name: for people.
      folder: of the study.
      dataset: name of the data.
      class_names: of its labels.
      images: the records to train on, uint8 `[n, height, width, channels]`.
      labels: int32 `[n]`.
      train_settings: all fields of `TrainConfig`.
      draw_settings: `num_examples` and `seed`.
      identity: what else makes it another generator: digest of the data, the record left out, the repeat.
    """

    name: str
    folder: pathlib.Path
    dataset: str
    class_names: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    train_settings: dict[str, Any]
    draw_settings: dict[str, int]
    identity: dict[str, Any]

    @property
    def training_folder(self) -> pathlib.Path:
        """Of the run and its model: the same however much is drawn."""
        content = json.dumps([self.train_settings, self.identity], sort_keys=True)
        return self.folder / "trainings" / hashlib.sha256(content.encode()).hexdigest()[:16]

    def result(self, train: Callable[[Job], Draw]) -> dict[str, Any]:
        """Trains and draws unless that is on file."""
        return self._store.result(self._trial(lambda: self._save(*train(self))))

    @property
    def finished(self) -> bool:
        """Whether its draw is on file."""
        return self._store.peek(self._trial(dict)) is not None

    def drawn(self) -> Draw:
        """What was drawn: images uint8 `[n, height, width, channels]` and labels int32 `[n]`.

        Raises:
          ValueError: the file is not what was written.
        """
        trial = self._trial(dict)
        stored, path = self._store.peek(trial), self._draw_path(trial)
        content = path.read_bytes() if path.exists() else b""
        if stored is None or hashlib.sha256(content).hexdigest() != stored["sha256"]:
            raise ValueError(
                f"{path} is missing or damaged; delete {trial.key}.json in {self.folder / 'trials'} to draw it again"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return arrays["images"], arrays["labels"]

    def _save(self, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        if (images == images[:1]).all():
            raise ValueError(
                "it draws the same image every time: it diverged; give other train settings"
            )
        content = io.BytesIO()
        np.savez_compressed(content, images=images, labels=labels)
        path = self._draw_path(self._trial(dict))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
        return {"sha256": hashlib.sha256(content.getvalue()).hexdigest()}

    @property
    def _store(self) -> TrialStore:
        return TrialStore(self.folder / "trials")

    def _trial(self, compute: Callable[[], dict[str, Any]]) -> Trial:
        settings = {"train": self.train_settings, "draw": self.draw_settings, **self.identity}
        return Trial("retrained", settings, compute)

    def _draw_path(self, trial: Trial) -> pathlib.Path:
        return self.folder / "draws" / f"{trial.key}.npz"


def train_and_draw(job: Job) -> Draw:
    """Trains the generator of a job, or goes on with it, and draws from it; labels are uniform.

    Raises:
      KeyboardInterrupt: a signal stopped the training, which is saved.
    """
    from tfartgen import artificial, training
    from tfartgen.data import PrivateData, Split
    from tfartgen.train_config import TrainConfig

    height, width, channels = job.images.shape[1:]
    train = Split.from_arrays(job.images, job.labels)
    nothing = Split.from_arrays(job.images[:0], job.labels[:0])
    shape = (height, width, channels)
    data = PrivateData(job.dataset, shape, job.class_names, train, nothing)
    folder, config = job.training_folder, TrainConfig(**job.train_settings)
    result = training.train(data, config, folder / "run", folder / "model", throwaway=True)
    if result.model_path is None:
        raise KeyboardInterrupt
    model = artificial.LocalModel(result.model_path)
    policy = artificial.LabelPolicy.uniform(model.spec.num_classes)
    count = job.draw_settings["num_examples"]
    plan = artificial.DrawPlan(count, job.draw_settings["seed"], policy)
    return artificial.draw_part(model, plan, 0, count)


def in_processes(
    jobs: Sequence[Job],
    train: Callable[[Job], Draw],
    processes: int,
    done: Callable[[Job], object] = lambda job: None,
) -> None:
    """Trains in processes of their own.

    Whatever ends it early, Ctrl-C too, stops those that are running: they save, and can go on later. So they do where
    this process dies.

    Args:
      jobs: what to train.
      train: a function of a module.
      processes: at a time.
      done: called with each job once its draw is on file.

    Raises:
      KeyboardInterrupt: a training was stopped by a signal.
      ValueError: a job cannot be trained.
      OSError: a file cannot be written, or a process ended without a word.
      RuntimeError: a bug; the message is the traceback there.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    waiting = list(jobs)[::-1]
    running: dict[Any, tuple[Any, Job]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop()
                process, answer = _start(job, train, threads)
                running[answer] = process, job
            for ready in connection.wait(list(running)):
                process, job = running[ready]
                error = _answer(ready, process, job)
                del running[ready]
                if error is not None:
                    raise error
                done(job)
    finally:
        _stop([process for process, _ in running.values()])


def _start(
    job: Job, train: Callable[[Job], Draw], threads: int
) -> tuple[Any, connection.Connection]:
    context = multiprocessing.get_context("spawn")
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, train, threads, sender), daemon=True)
    # Ctrl-C reaches all processes of a terminal. A training takes a second signal as the order to end unsaved, so its
    # only one must be ours: it inherits the mask. The tracker, where not yet running, would lift it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    sender.close()
    return process, answer


def _answer(answer: Any, process: Any, job: Job) -> Optional[BaseException]:
    """What went wrong in a process that has ended or is about to."""
    try:
        error = answer.recv()
    except EOFError:
        process.join()
        error = OSError(
            f"the training {job.name} ended with status {process.exitcode} and no word, perhaps for want of memory; give "
            "fewer --processes and start again"
        )
    process.join()
    answer.close()
    return error


def _stop(processes: Sequence[Any]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_STOP_SECONDS)
        process.kill()
        process.join()


def _work(
    job: Job, train: Callable[[Job], Draw], threads: int, answer: connection.Connection
) -> None:
    """Runs in the process of a job."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _be_quiet(job.folder / "log.txt")
    for name, value in (
        ("TF_NUM_INTRAOP_THREADS", str(threads)),
        ("TF_NUM_INTEROP_THREADS", str(threads)),
        ("TF_FORCE_GPU_ALLOW_GROWTH", "true"),
    ):
        os.environ.setdefault(name, value)
    error: Optional[BaseException] = None
    try:
        job.result(train)
    except KeyboardInterrupt as interrupt:
        error = interrupt
    except (ValueError, OSError) as trouble:
        kind = OSError if isinstance(trouble, OSError) else ValueError
        error = kind(f"generator of {job.name}: {trouble}")
    except BaseException:
        error = RuntimeError(traceback.format_exc())
    answer.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _be_quiet(path: pathlib.Path) -> None:
    """Sends to a file what this process, libraries included, prints."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def default_processes() -> int:
    """As many trainings of small images as this machine's free cores and memory carry, at least one."""
    lines = pathlib.Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return max(1, min(len(os.sched_getaffinity(0)), free // _PROCESS_MEMORY))
