# SPDX-License-Identifier: Apache-2.0
"""Results of single trials on file, so that a study that was stopped goes on where it was.

A trial is known by what it depends on: settings, seed, digests of its data. The same trial is never run twice,
whichever study asks for it, and another setting is another trial.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Callable, Optional

from tfartgen.whole_files import write_atomically

#: Changed when the meaning of results changes, so that old ones are not taken for new.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Trial:
    """One thing to be computed.

    Attributes:
      kind: of trial, fit for a file name.
      settings: all that the result depends on, JSON-able.
      compute: returns the result, JSON-able.
      once: running it again spends privacy budget again, so a damaged result is refused, not replaced.
    """

    kind: str
    settings: Mapping[str, Any]
    compute: Callable[[], dict[str, Any]]
    once: bool = False

    @property
    def key(self) -> str:
        """Identifies the trial."""
        content = json.dumps([_VERSION, self.kind, self.settings], sort_keys=True, allow_nan=False)
        return f"{self.kind}-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


class TrialStore:
    """A folder with one JSON file for each trial that was run."""

    def __init__(self, folder: pathlib.Path):
        """Uses a folder, which is made when the first result is written."""
        self._folder = folder

    def result(self, trial: Trial) -> dict[str, Any]:
        """The stored result of a trial, or the one that is computed now, and stored.

        Raises:
          OSError: the result cannot be written.
        """
        stored = self.peek(trial)
        if stored is not None:
            return stored
        # What is read back later is what this call returns.
        result = json.loads(json.dumps(trial.compute(), allow_nan=False))
        self._write(trial, result)
        return result

    def peek(self, trial: Trial) -> Optional[dict[str, Any]]:
        """The stored result; None if there is none, or a damaged one.

        Raises:
          ValueError: the result is damaged, and of a trial that must not be run again for nothing.
        """
        path = self._path(trial)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return dict(content["result"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            if trial.once:
                raise ValueError(
                    f"{path} is damaged; restore it, or delete it to spend its privacy budget a second time"
                ) from None
            return None

    def _write(self, trial: Trial, result: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(trial)
        content = {"kind": trial.kind, "settings": trial.settings, "result": result}
        write_atomically(path, json.dumps(content) + "\n")

    def _path(self, trial: Trial) -> pathlib.Path:
        return self._folder / f"{trial.key}.json"
