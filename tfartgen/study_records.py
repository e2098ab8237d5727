# SPDX-License-Identifier: Apache-2.0
"""What ran in a study, with what, and whether that is still so.

A stage's record, `stages/NAME.json`, holds what the stage depended on, and the digests of what it left behind. The
stage is up to date only if all of it agrees with what is on disk now.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Optional

import tfartgen
from tfartgen import papers
from tfartgen.study_process import is_alive
from tfartgen.study_stages import Stage
from tfartgen.whole_files import write_json

SCHEMA = "tfartgen.study_stage/1"

#: Of a record: `STARTED` is what a stage that was killed leaves behind.
STARTED, FINISHED, FAILED, STOPPED = "started", "finished", "failed", "stopped"

#: Without these a record is damaged.
_NEEDED = frozenset(["stage", "state", "basis", "process", "seconds"])

#: Of a stage.
UP_TO_DATE, GOES_ON, WILL_RUN = "up to date", "goes on", "will run"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a stage has to run, and why.

    Attributes:
      state: `UP_TO_DATE`, `GOES_ON` or `WILL_RUN`.
      reason: for people; empty if up to date.
    """

    state: str
    reason: str = ""


class StudyRecords:
    """The records of one study's folder."""

    def __init__(self, folder: pathlib.Path, data: Mapping[str, Any]):
        """Uses a folder, and makes nothing in it yet.

        Args:
          folder: of the study.
          data: the private data's identity, see `StudySettings`.
        """
        self._folder, self._data = folder, dict(data)

    def read(self, name: str) -> Optional[dict[str, Any]]:
        """A stage's record; None if there is none, or a damaged one.

        Raises:
          ValueError: another version wrote it.
        """
        path = self._path(name)
        try:
            record = dict(json.loads(path.read_text(encoding="utf-8")))
            schema = record["schema"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # a stage whose record is lost runs again
        if schema != SCHEMA:
            raise ValueError(
                f"{path} has the schema {schema!r}, not {SCHEMA!r}: another version wrote it; give another "
                "--output, or delete the file to run the stage again"
            )
        needed = _NEEDED | ({"outputs"} if record.get("state") == FINISHED else frozenset())
        return record if needed <= record.keys() else None

    def judge(self, stage: Stage) -> Verdict:
        """Holds a stage's record against what is on disk; errors as `read`."""
        record = self.read(stage.name)
        if record is None:
            return Verdict(WILL_RUN, "has not run")
        difference = _difference(record["basis"], self.basis(stage))
        if difference:
            return Verdict(WILL_RUN, difference)
        if record["state"] != FINISHED:
            return Verdict(GOES_ON, _how_it_ended(record))
        altered = self._altered(stage, record)
        return Verdict(WILL_RUN, altered) if altered else Verdict(UP_TO_DATE)

    def basis(self, stage: Stage) -> dict[str, Any]:
        """All that a stage's result depends on."""
        return {
            "version": tfartgen.__version__,
            "arguments": [stage.program, *stage.arguments],
            "data": self._data if stage.location else None,
            "inputs": self._digests(stage.reads),
        }

    def begin(self, stage: Stage, process: int) -> dict[str, Any]:
        """Writes that a stage has started; returns the record."""
        earlier = self.read(stage.name) or {}
        basis = self.basis(stage)
        resumed = earlier.get("state") != FINISHED and earlier.get("basis") == basis
        return self._write(
            {
                "schema": SCHEMA,
                "stage": stage.name,
                "state": STARTED,
                "basis": basis,
                "command": list(stage.command),
                "process": process,
                "started": _now(),
                "seconds": earlier.get("seconds", 0.0) if resumed else 0.0,
                "last_seconds": earlier.get("last_seconds"),
            }
        )

    def end(self, stage: Stage, record: Mapping[str, Any], state: str, seconds: float) -> None:
        """Writes how a stage ended.

        Args:
          stage: the stage.
          record: of its start.
          state: `FINISHED`, `FAILED` or `STOPPED`.
          seconds: that it ran.

        Raises:
          ValueError: it finished, and has not left behind what it should have.
        """
        total = record["seconds"] + seconds
        ended = {**record, "state": state, "ended": _now(), "seconds": total}
        if state == FINISHED:
            for name in stage.writes:
                if not (self._folder / name).exists():
                    raise ValueError(f"it ended without having written {name}")
            ended.update(outputs=self._outputs(stage), last_seconds=total)
        self._write(ended)

    def clear_way(self, stage: Stage) -> list[str]:
        """Sets aside what would keep a stage from making its result anew, and what the owner wrote into the old one.

        Returns:
          Where it is now, within the study's folder.
        """
        record = self.read(stage.name)
        if record is None or "outputs" not in record:
            return []
        aside = list(stage.writes) if stage.keeps and self._altered(stage, record) else []
        for name in stage.of_owner:
            path = self._folder / name
            if path.exists() and papers.sha256(path) != record["outputs"].get(name):
                aside.append(name)
        return [self._set_aside(name) for name in aside if (self._folder / name).exists()]

    def _set_aside(self, name: str) -> str:
        folder = self._folder / "set_aside" / _now().replace(":", "")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / name).rename(target)
        return target.relative_to(self._folder).as_posix()

    def last_seconds(self, name: str) -> Optional[float]:
        """How long a stage took when it last finished; None if it never has."""
        return (self.read(name) or {}).get("last_seconds")

    def processes(self) -> list[int]:
        """Processes of stages that have started and not ended, some of which may be no more."""
        names = sorted(path.stem for path in (self._folder / "stages").glob("*.json"))
        records = [self.read(name) or {} for name in names]
        return [record["process"] for record in records if record.get("state") == STARTED]

    def _altered(self, stage: Stage, record: Mapping[str, Any]) -> str:
        """What is missing, or no longer as the stage left it; empty if nothing is."""
        now, then = self._outputs(stage), record["outputs"]
        for name in sorted({*now, *then} - {*stage.of_owner}):
            if name not in now:
                return f"{name} is missing"
            if name not in then:
                return f"{name} is not of this stage"
            if now[name] != then[name]:
                return f"{name} was altered"
        return ""

    def _outputs(self, stage: Stage) -> dict[str, str]:
        extra = [path for pattern in stage.may_write for path in self._folder.glob(pattern)]
        names = (path.relative_to(self._folder).as_posix() for path in sorted(extra))
        return self._digests((*stage.writes, *names))

    def _digests(self, names: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 of files, and of all files in folders, by their path; what is not there is left out."""
        found = {}
        for name in names:
            path = self._folder / name
            inside = (
                [f"{name}/{each}" for each in papers.files_of(path)] if path.is_dir() else [name]
            )
            found.update({e: papers.sha256(self._folder / e) for e in inside if path.exists()})
        return found

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / "stages" / f"{name}.json"

    def _write(self, record: dict[str, Any]) -> dict[str, Any]:
        path = self._path(record["stage"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, path)
        return record


def _how_it_ended(record: Mapping[str, Any]) -> str:
    """For a stage that has not finished."""
    if record["state"] == STARTED:
        return "runs now" if is_alive(record["process"]) else "was cut off"
    return {FAILED: "failed", STOPPED: "was stopped"}[record["state"]]


def _difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What a stage depends on and has changed; empty if nothing has."""
    if then["version"] != now["version"]:
        return f"tfartgen was {then['version']}, is {now['version']}"
    if then["arguments"] != now["arguments"]:
        return "has other arguments"
    if then["data"] != now["data"]:
        return "the private data is another"
    for name in sorted({*then["inputs"], *now["inputs"]}):
        if name not in now["inputs"]:
            return f"{name} is missing"
        if now["inputs"][name] != then["inputs"].get(name):
            return f"{name} has changed"
    return ""


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
