# SPDX-License-Identifier: Apache-2.0
"""Puts a folder under its final name in one step: made in a hidden folder beside it, then renamed.

A reader of the final name sees nothing, or the folder that was there before, or the whole new one. The hidden
folder, `.NAME.parts`, is held by one process at a time, and outlives one that was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence

#: Above this many files the whole system's buffers are written out instead of one file's after the other.
_MANY_FILES = 1000

#: Of Linux: `renameat2` swaps two names, relative to the working directory.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check_output(output: pathlib.Path, overwrite: bool) -> None:
    """Raises a ValueError if a data set may not be put there."""
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise ValueError(f"--output={output} exists; give another, or --overwrite to replace it")
    if output.is_symlink() or not output.is_dir():
        raise ValueError(f"--output={output} is no folder; give another")
    if any(output.iterdir()) and not (output / "privacy.json").is_file():
        raise ValueError(
            f"--output={output} holds no artificial data set (no privacy.json), so --overwrite does not touch it; "
            "give another"
        )


def work_path(output: pathlib.Path) -> pathlib.Path:
    """Where the hidden folder of an output is, whether or not it exists."""
    return output.with_name(f".{output.name}.parts")


@contextlib.contextmanager
def work_folder(output: pathlib.Path) -> Iterator[pathlib.Path]:
    """The hidden folder beside the output, held by this process; removed if nothing was drawn in it."""
    work = work_path(output)
    made = [path for path in work.parents if not path.exists()]
    work.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY)
    try:
        _hold(descriptor, work, output)
        with _emptied_on_failure(work, made):
            _tidy(work, output)
            yield work
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _emptied_on_failure(work: pathlib.Path, made: Sequence[pathlib.Path]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(work / "assembled", ignore_errors=True)
        if not any(work.glob("part-*.npz")):
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):  # somebody else's by now
                for path in made:
                    path.rmdir()
        raise


def _hold(descriptor: int, work: pathlib.Path, output: pathlib.Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(work)):
            raise FileNotFoundError(work)
    except (BlockingIOError, FileNotFoundError):
        raise ValueError(
            f"--output={output} is being written by another process; wait for it or give another"
        ) from None


def _tidy(work: pathlib.Path, output: pathlib.Path) -> None:
    """Removes what an attempt that was killed left behind, except its parts."""
    replaced = work / "replaced"
    if replaced.exists() and not output.exists():
        os.rename(replaced, output)
    for leftover in ("replaced", "assembled"):
        if (work / leftover).exists():
            shutil.rmtree(work / leftover)
    for temporary in work.glob(".*.tmp"):
        temporary.unlink()


def flush_to_disk(folder: pathlib.Path) -> None:
    """Makes the rename the last thing that reaches the disk."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if len(files) > _MANY_FILES:
        os.sync()
        return
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def publish(assembled: pathlib.Path, output: pathlib.Path, work: pathlib.Path) -> None:
    """Puts a complete folder under its final name; a folder that was there ends up below `work`."""
    if not os.path.lexists(output):
        os.rename(assembled, output)
    elif not _exchange(assembled, output):
        os.rename(output, work / "replaced")
        os.rename(assembled, output)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Swaps two folders at once; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0
