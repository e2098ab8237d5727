# SPDX-License-Identifier: Apache-2.0
"""The stages of a whole study: which program runs with which arguments, what it reads and what it leaves behind.

All paths are within the study's folder, in which the programs run, so that a study may be moved:

    run/                  the training run. Private
    model/                versions of the generator
    artificial/           the artificial data set
    results/              figures about real records. Private
    report.html           the page for everybody
    PRIVATE_report.html   the page for the owner. Private
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from tfartgen import papers

if TYPE_CHECKING:  # it imports TensorFlow, which stages, records and plans need not
    from tfartgen.study_settings import StudySettings

STATEMENT = f"artificial/{papers.STATEMENT_FILE}"

#: The documents that are about a study's release, by kind, see `report_documents.KINDS`.
DOCUMENTS = {
    "evaluation": "results/evaluation.json",
    "privacy_estimate": "results/privacy_estimate.json",
    "inversion": "results/inversion.json",
    "membership": "results/membership.json",
    "exposure": "results/PRIVATE_most_exposed.json",
}

#: The stages that make them.
OF_DOCUMENTS = ("evaluate", "estimate_privacy", "invert", "infer_membership")

#: Records that the owner is shown.
_MOST_EXPOSED = 20

#: Figures of an evaluation, each of a study that the data may be too few for.
_FIGURES = ("accuracy", "curve", "confusion", "calibration", "validation", "fidelity")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A program of `bin/` and its place in a study.

    Attributes:
      name: of the stage; its program's, unless a test runs another.
      program: file name in `bin/`.
      arguments: what its result depends on.
      location: flags that say where the private data lies; empty if it reads none.
      needs: stages that come before.
      reads: files and folders that its result depends on.
      writes: files and folders that it leaves behind, every time.
      may_write: patterns of files that it may leave behind besides.
      of_owner: files below `writes` that are for the owner to fill in, and so no sign that a result was altered.
      keeps: whether it leaves alone a result that is there already, so that an altered one has to go first.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    location: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    may_write: tuple[str, ...] = ()
    of_owner: tuple[str, ...] = ()
    keeps: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """Name of the program, and all arguments."""
        return (self.program, *self.location, *self.arguments)


def stages(
    settings: StudySettings, extra: Optional[Mapping[str, Sequence[str]]] = None
) -> tuple[Stage, ...]:
    """The stages of a study, each after those that it needs.

    Every program runs at its default flags: the study is the full one.

    Args:
      settings: of the study.
      extra: further arguments, by stage; the tests make a study small with them.
    """
    extra = extra or {}
    return tuple(
        dataclasses.replace(stage, arguments=(*stage.arguments, *extra.get(stage.name, ())))
        for stage in (
            _train(settings),
            _generate(),
            _evaluate(settings),
            _estimate_privacy(settings),
            _invert(settings),
            _infer_membership(settings),
            _report(settings),
        )
    )


def _train(settings: StudySettings) -> Stage:
    flags = [f"--{name}={value}" for name, value in sorted(settings.training.items())]
    flags += [f"--selected_on_private_data={choice}" for choice in settings.selected]
    return Stage(
        "train",
        "train",
        ("--run_dir=run", "--model_dir=model", *flags),
        settings.location,
        writes=("model", "run/finished.json"),
        keeps=True,
    )


def _generate() -> Stage:
    return Stage(
        "generate",
        "generate",
        ("--model=model", "--output=artificial", "--overwrite"),
        needs=("train",),
        reads=("model",),
        writes=("artificial",),
        of_owner=(f"artificial/{papers.SHEET_FILE}",),
    )


def _about_release(
    program: str,
    settings: StudySettings,
    *arguments: str,
    writes: Sequence[str],
    may_write: Sequence[str],
) -> Stage:
    """A stage whose figures are about the release, beside the real data."""
    return Stage(
        program,
        program,
        ("--artificial=artificial", "--output=results", *arguments),
        settings.location,
        needs=("generate",),
        reads=(STATEMENT,),
        writes=tuple(writes),
        may_write=tuple(may_write),
    )


def _evaluate(settings: StudySettings) -> Stage:
    return _about_release(
        "evaluate",
        settings,
        writes=(DOCUMENTS["evaluation"], "results/evaluation.csv"),
        may_write=[f"results/{name}.png" for name in _FIGURES],
    )


def _estimate_privacy(settings: StudySettings) -> Stage:
    return _about_release(
        "estimate_privacy",
        settings,
        f"--most_exposed={_MOST_EXPOSED}",
        writes=(DOCUMENTS["privacy_estimate"], DOCUMENTS["exposure"]),
        may_write=("results/privacy_estimate.png", "results/PRIVATE_most_exposed.png"),
    )


def _invert(settings: StudySettings) -> Stage:
    return _about_release(
        "invert",
        settings,
        writes=(DOCUMENTS["inversion"],),
        may_write=("results/inversion_*.png", "results/reconstructions.npz"),
    )


def _infer_membership(settings: StudySettings) -> Stage:
    """The critic is attacked as well where there is one."""
    stage = _about_release(
        "infer_membership",
        settings,
        *(("--run_dir=run",) if settings.has_critic else ()),
        writes=(DOCUMENTS["membership"],),
        may_write=("results/membership.png",),
    )
    reads = ("run/finished.json", *stage.reads) if settings.has_critic else stage.reads
    return dataclasses.replace(stage, reads=reads)


def _report(settings: StudySettings) -> Stage:
    return Stage(
        "report",
        "report",
        ("--release=artificial", "--results=results", "--output=report.html"),
        settings.location,
        needs=OF_DOCUMENTS,
        reads=(STATEMENT, *DOCUMENTS.values()),
        writes=("report.html", "PRIVATE_report.html"),
    )


def has_company(stage: Stage, all_stages: Sequence[Stage]) -> bool:
    """Whether another stage may run at the same time."""
    below, above = _ancestors(stage, all_stages), _descendants(stage, all_stages)
    return len(below) + len(above) + 1 < len(all_stages)


def _ancestors(stage: Stage, all_stages: Sequence[Stage]) -> set[str]:
    found = set(stage.needs)
    for other in all_stages:
        if other.name in stage.needs:
            found |= _ancestors(other, all_stages)
    return found


def _descendants(stage: Stage, all_stages: Sequence[Stage]) -> set[str]:
    return {other.name for other in all_stages if stage.name in _ancestors(other, all_stages)}
