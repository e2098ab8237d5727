# SPDX-License-Identifier: Apache-2.0
"""The draw of a data set as an Apache Beam pipeline: one work item per part, on any runner.

Needs the extra `[beam]`, here and on the workers. What a part holds depends on the model and the plan only, and
a part appears whole under its name, so the runner may retry an item, or run it twice at once.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from typing import Any, Callable, Union

from tfartgen import artificial, beam_extra, dataset_formats

_NEEDED_BY = "--beam_runner needs"

_Path = Union[str, "os.PathLike[str]"]

#: Held while a worker loads its model: the threads of a worker share one.
_LOADING = threading.Lock()


def draw_parts(
    model_path: _Path,
    plan: artificial.DrawPlan,
    parts_folder: _Path,
    runner: str = "DirectRunner",
    options: Sequence[str] = (),
) -> None:
    """Draws the parts of a plan that are not in the folder yet, and waits for them.

    Workers read the model and write the parts where this process does, on a file system that all of them
    share. If the runner's own option `--temp_location` is an address (`gs://...`, `s3://...`), they do so below
    that address instead, and the parts are fetched from there at the end; what a pipeline that failed has left
    there is used by the next one for the same model and plan.

    Args:
      model_path: one version of a generator.
      plan: what to draw.
      parts_folder: of this process.
      runner: name of the Beam runner.
      options: the runner's own, as on a command line.

    Raises:
      ValueError: the extra is not installed, there is no such runner, or a worker failed.
    """
    beam_options = beam_extra.beam(_NEEDED_BY).options.pipeline_options
    parsed = beam_options.PipelineOptions(list(options))
    shared = parsed.view_as(beam_options.GoogleCloudOptions).temp_location or ""
    model, folder = pathlib.Path(model_path).resolve(), pathlib.Path(parts_folder).resolve()
    missing = [
        index
        for index in range(len(plan.parts()))
        if not dataset_formats.part_path(folder, index).exists()
    ]
    if not missing:
        return
    if "://" not in shared:
        _run(functools.partial(_draw, str(model), plan, str(folder)), missing, runner, parsed)
        return
    staging = f"{shared.rstrip('/')}/tfartgen-{_digest(model, plan)}"
    _upload_model(model, staging)
    _run(functools.partial(_draw_staged, staging, plan), missing, runner, parsed)
    for index in missing:
        _fetch(_staged_part(staging, index), dataset_formats.part_path(folder, index))
    beam_extra.file_systems().delete([staging])


def _run(task: Callable[[int], object], indices: Sequence[int], runner: str, options: Any) -> None:
    beam = beam_extra.beam(_NEEDED_BY)
    try:
        with beam.Pipeline(runner=runner, options=options) as pipeline:
            items = pipeline | "Parts" >> beam.Create(indices)
            # Without it a runner may fuse all of them into the one item that created them.
            _ = items | beam.Reshuffle() | "Draw" >> beam.Map(task)
    except (ImportError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"--beam_runner={runner} failed: {lines[-1].strip()}; what was drawn is kept, the same command goes on"
        ) from error


def _draw(model: str, plan: artificial.DrawPlan, folder: str, index: int) -> None:
    """A worker's item, on a shared file system."""
    path = dataset_formats.part_path(pathlib.Path(folder), index)
    if not path.exists():
        part = artificial.draw_part(_loaded(model), plan, *plan.parts()[index])
        dataset_formats.write_part(path, *part)


def _draw_staged(staging: str, plan: artificial.DrawPlan, index: int) -> None:
    """A worker's item, by way of an address that all workers reach."""
    if beam_extra.file_systems().exists(_staged_part(staging, index)):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = dataset_formats.part_path(pathlib.Path(folder), index)
        part = artificial.draw_part(_loaded(staging), plan, *plan.parts()[index])
        dataset_formats.write_part(path, *part)
        _send(path, _staged_part(staging, index))


def _loaded(model: str) -> artificial.LocalModel:
    """The model, loaded once in each worker."""
    with _LOADING:
        return _load(model)


@functools.lru_cache(maxsize=1)
def _load(model: str) -> artificial.LocalModel:
    if "://" not in model:
        return artificial.LocalModel(model)
    with tempfile.TemporaryDirectory() as folder:
        archive = pathlib.Path(folder, "model.zip")
        _fetch(f"{model}/model.zip", archive)
        shutil.unpack_archive(archive, pathlib.Path(folder, "1"))
        return artificial.LocalModel(pathlib.Path(folder, "1"))


def _upload_model(model: pathlib.Path, staging: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = shutil.make_archive(str(pathlib.Path(folder, "model")), "zip", model)
        _send(pathlib.Path(archive), f"{staging}/model.zip")


def _digest(model: pathlib.Path, plan: artificial.DrawPlan) -> str:
    """Identifies what is drawn, so that parts of anything else are never taken for it."""
    digest = hashlib.sha256(repr(plan).encode())
    for path in sorted(path for path in model.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(model).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:32]


def _staged_part(staging: str, index: int) -> str:
    return f"{staging}/{dataset_formats.part_path(pathlib.Path(), index).name}"


def _send(source: pathlib.Path, target: str) -> None:
    """Copies a file to an address, where it appears whole."""
    systems = beam_extra.file_systems()
    temporary = f"{target}.{secrets.token_hex(4)}.tmp"
    with open(source, "rb") as content, systems.create(temporary) as copy:
        shutil.copyfileobj(content, copy)
    systems.rename([temporary], [target])


def _fetch(source: str, target: pathlib.Path) -> None:
    """Copies a file from an address; it appears whole."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beam_extra.file_systems().open(source) as content, open(temporary, "wb") as copy:
            shutil.copyfileobj(content, copy)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
