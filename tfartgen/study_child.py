# SPDX-License-Identifier: Apache-2.0
"""Becomes another program that ends when its parent does. Run as a file, with the parent's process and the program.

This is done here, in a process of its own, and not between fork and exec of the parent, in which threads of TensorFlow
may hold locks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: Of Linux's prctl: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


def main(parent: str, program: str, *arguments: str) -> None:
    """Replaces this process by Python with a program; does not return.

    Args:
      parent: its process, in digits.
      program: path of the program.
      *arguments: of the program.
    """
    _end_with_parent(int(parent))
    # A shell's background jobs ignore it, and so would the program.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, program, *arguments])


def _end_with_parent(parent: int) -> None:
    """Asks Linux for SIGTERM, on which a training saves itself; on other systems an orphan runs to its end."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be asked for
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
