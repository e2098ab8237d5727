# SPDX-License-Identifier: Apache-2.0
"""A whole study in one folder, from training to tables: its plan, its run, and what to say at the end."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Optional

from tfartgen import study_plan, study_process, study_settings, study_stages, study_tables
from tfartgen.study_process import StudyLock
from tfartgen.study_records import StudyRecords
from tfartgen.study_runner import Display, Outcome, StudyRunner
from tfartgen.study_settings import StudySettings

#: Stages at a time, if not given; each of them holds the data, and more of them gain little.
_MOST_JOBS = 2


class Study:
    """One study's stages, records and folder."""

    def __init__(
        self,
        settings: StudySettings,
        folder: pathlib.Path,
        programs: pathlib.Path,
        jobs: Optional[int] = None,
        extra: Optional[Mapping[str, Sequence[str]]] = None,
    ):
        """Looks at the folder; nothing is written yet.

        Args:
          settings: of the study.
          folder: where all of it goes.
          programs: folder of the programs.
          jobs: stages at a time; as cores allow, two at most, if not given.
          extra: see `study_stages.stages`.

        Raises:
          ValueError: the folder holds another study, or something else.
        """
        study_settings.check(settings, folder)
        self._settings, self._folder, self._programs = settings, folder, programs
        self._jobs = min(_MOST_JOBS, study_process.cores()) if jobs is None else jobs
        self._stages = study_stages.stages(settings, extra)
        self._records = StudyRecords(folder, settings.data)

    def plan(self) -> str:
        """What would be done, for people.

        Raises:
          ValueError: another version wrote a record.
        """
        planned = study_plan.make(self._stages, self._records, self._settings.size)
        return study_plan.text(planned, self._folder, self._jobs)

    def run(self, display: Display) -> Outcome:
        """Runs what is not up to date, and writes the tables as soon as all results are.

        Raises:
          ValueError: another `bin/reproduce` works in the folder, or results do not belong together; they are named.
          OSError: no space, or no permission.
        """
        lock = self._lock()
        try:
            study_settings.settle(self._settings, self._folder)
            runner = StudyRunner(
                self._stages,
                self._records,
                lock,
                self._folder,
                self._programs,
                self._settings.size,
                self._jobs,
                display,
            )
            outcome = runner.run()
            if outcome.done.issuperset(study_stages.OF_DOCUMENTS):
                study_tables.write(self._folder, self._settings.data["dataset"])
        finally:
            lock.close()
        return outcome

    def _lock(self) -> StudyLock:
        try:
            return StudyLock(self._folder)
        except BlockingIOError:
            raise study_process.refusal(self._folder, self._records.processes()) from None


def summary(folder: pathlib.Path) -> str:
    """The last lines of `bin/reproduce`.

    Args:
      folder: of the study, as the person gave it.
    """
    return "\n".join(
        [
            f"Tables:    {folder}: {study_tables.MARKDOWN_FILE}, {study_tables.JSON_FILE}",
            f"Pages:     {folder}: report.html, PRIVATE_report.html",
            "Privacy:   PRIVATE, all but model/, artificial/ and report.html: the rest is",
            "           computed from the real records, and no epsilon covers it",
            f"Next:      look at {folder}/{study_tables.MARKDOWN_FILE};",
            f"           bin/generate --verify={folder}/artificial",
        ]
    )


def failure(outcome: Outcome, folder: pathlib.Path) -> str:
    """Which stages failed and why, in one line.

    Args:
      outcome: with failures.
      folder: of the study, as the person gave it.
    """
    failed = "; ".join(
        f"stage {each.stage} failed: {each.reason.rstrip('.')} (all of it in {each.log})"
        for each in outcome.failures
    )
    return f"{failed}; what is done stays in {folder}, and the same command goes on"
