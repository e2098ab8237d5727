# SPDX-License-Identifier: Apache-2.0
"""Programs of `bin/`, in this process or in one of their own, for the tests."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Callable

from absl import flags
from absl.testing import flagsaver

ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def main_of(name: str) -> Iterator[Callable[..., int]]:
    """A function that runs the program's `main` in this process, with the flags given."""
    path, module_name = ROOT / "bin" / name, f"bin_{name}"
    before = set(flags.FLAGS)
    loader = importlib.machinery.SourceFileLoader(module_name, str(path))
    spec = importlib.util.spec_from_loader(module_name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # absl looks for the module that defines a flag
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = wrote

    def main(*arguments: str) -> int:
        with flagsaver.flagsaver():
            flags.FLAGS([str(path), *arguments])
            return module.main([str(path)])

    try:
        yield main
    finally:
        del sys.modules[module_name]
        for flag in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, flag)


def start(name: str, folder: pathlib.Path, *arguments: str) -> subprocess.Popen:
    """A process of a program in `folder`, without what the tests' own process tells TensorFlow."""
    dropped = ("TF_", "TFARTGEN_DEBUG")  # the budget book of the tests stays
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "bin" / name), *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """Its exit status, standard output and standard error."""
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    return process.returncode, out, err
