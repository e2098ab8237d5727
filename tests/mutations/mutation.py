# SPDX-License-Identifier: Apache-2.0
"""An edit that breaks a promise of `../shared/PITFALLS.md`, and the tests that should notice.

Each edit is small, leaves a program that runs, and is one that somebody could make in good faith. The tests are the least that
should fail, so that a mutation takes seconds.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutation:
    """An edit of one file.

    Attributes:
      promise: that it breaks.
      name: what it does, in words.
      file: within the repository.
      old: text that is there exactly once.
      new: what it becomes.
      tests: arguments of pytest.
    """

    promise: int
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
