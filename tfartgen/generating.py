# SPDX-License-Identifier: Apache-2.0
"""Draws an artificial data set and puts it, with its papers, under its final name in one step.

While it works there is a hidden folder beside the output, `.NAME.parts`:

    plan.json       what is drawn, and from which generator
    part-*.npz      what has been drawn; a draw that was killed goes on with these
    assembled/      the data set in the making; made anew by every attempt
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import shutil
import textwrap
from collections.abc import Generator, Iterator, Mapping
from concurrent import futures
from typing import Any, Callable, Optional, Union

import numpy as np

from tfartgen import accounting, dataset_formats, output_folder, papers, statement
from tfartgen.artificial import DrawPlan, GeneratorModel, LabelPolicy, ModelSpec, draw_part
from tfartgen.dataset_formats import Part
from tfartgen.rounding import upwards


@dataclasses.dataclass(frozen=True)
class GenerateResult:
    """A data set that was written.

    Attributes:
      output: its folder.
      format: one of `dataset_formats.FORMATS`.
      num_examples: how many.
      policy: how its labels were drawn.
      statement: its privacy statement.
      notes: lines for people.
    """

    output: pathlib.Path
    format: str
    num_examples: int
    policy: LabelPolicy
    statement: dict[str, Any]
    notes: tuple[str, ...] = ()


def generate(
    model: GeneratorModel,
    plan: DrawPlan,
    output: Union[str, os.PathLike[str]],
    format: str = "tfds",
    *,
    overwrite: bool = False,
    exceed_budget: bool = False,
    counted: Optional[Callable[[LabelPolicy], Mapping[str, Any]]] = None,
    progress: Callable[[int], object] = lambda count: None,
    produce: Optional[Callable[[DrawPlan, pathlib.Path], object]] = None,
) -> GenerateResult:
    """Draws a data set, or goes on with a draw of the same plan that was stopped.

    Formal guarantee: post-processing of the release and, for noised labels, of the histogram that the policy
    holds. A draw that goes on keeps the histogram that was noised when it began, so that noise is spent once.

    Args:
      model: draws.
      plan: what to draw.
      output: folder of the data set; must not exist unless `overwrite`.
      format: one of `dataset_formats.FORMATS`.
      overwrite: replace a data set that is there, once the new one is complete.
      exceed_budget: whether noised labels may cost more than the budget of the generator's training, see `check_label_noise`.
      counted: for a noised histogram, given the one that was drawn from: what the budget book knows of these records besides.
      progress: called with the number of examples that were added.
      produce: writes all parts of the plan into a folder, instead of `model` here.

    Raises:
      ValueError: bad format, plan or output, names that must not be published, labels over the budget, another process is writing
        there, or the model misbehaves.
      OSError: no space, or no permission. What was drawn stays for another attempt.
    """
    output = pathlib.Path(os.path.abspath(os.path.expanduser(output)))
    dataset_formats.check(format, model.spec)
    notes = check_label_noise(model.spec, plan.policy.noise_multiplier, exceed_budget)
    if len(plan.policy.probabilities) != model.spec.num_classes:
        raise ValueError(
            f"the label policy has {len(plan.policy.probabilities)} classes and {model.spec.name} has "
            f"{model.spec.num_classes}; give one probability per class"
        )
    output_folder.check_output(output, overwrite)
    with output_folder.work_folder(output) as work:
        plan, said = _settle(model, plan, work)
        get = functools.partial(_read_or_draw, model, plan, work)
        if produce is not None:
            _remove_damaged(plan, work)
            produce(plan, work)
            get = functools.partial(_read_produced, plan, work)
        assembled = work / "assembled"
        assembled.mkdir()
        preview = _Preview(model.spec)
        with contextlib.closing(_one_ahead(get, len(plan.parts()))) as parts:
            kept = _kept(parts, work, preview, progress)
            dataset_formats.write(format, kept, plan.num_examples, model.spec, assembled)
        known = None if counted is None else counted(plan.policy)
        stated = papers.write_papers(assembled, model.spec, plan, format, preview.images, known)
        output_folder.flush_to_disk(assembled)
        output_folder.check_output(output, overwrite)
        output_folder.publish(assembled, output, work)
        shutil.rmtree(work)
    return GenerateResult(output, format, plan.num_examples, plan.policy, stated, (*notes, *said))


def check_label_noise(
    spec: ModelSpec, noise_multiplier: Optional[float], exceed_budget: bool = False
) -> tuple[str, ...]:
    """What labels from a noised class histogram cost, against the budget that the generator was trained within.

    Formal guarantee: what the statement of the data set will say is compared, which is the generator's mechanisms and the
    histogram's, priced together. It depends on no record, so that it is known before one is read.

    Args:
      spec: of the generator.
      noise_multiplier: of the histogram; None for labels that cost nothing.
      exceed_budget: whether the budget may be exceeded. The statement then claims none.

    Returns:
      Lines for people.

    Raises:
      ValueError: the budget would be exceeded.
    """
    _check_statement(spec)
    budget = spec.privacy["budget_epsilon"]
    if noise_multiplier is None or budget is None or spec.privacy["void_reasons"]:
        return ()
    anyhow = LabelPolicy.uniform(spec.num_classes).probabilities  # they have no price
    policy = LabelPolicy("noised", anyhow, noise_multiplier)
    epsilon = statement.repriced({**spec.privacy, "label_policy": dataclasses.asdict(policy)})[
        "epsilon"
    ]
    if epsilon is not None and epsilon <= budget:
        return ()
    figure = "infinity" if epsilon is None else upwards(epsilon)
    over = f"epsilon = {figure} at delta = {spec.privacy['delta']:g}, above the budget {budget:g} of {spec.name}'s training"
    if exceed_budget:
        return (
            f"the noised class histogram makes it {over}; the data set's statement names no budget",
        )
    raise ValueError(
        f"--label_noise_multiplier={noise_multiplier:g} makes it {over}; {_noise_within_budget(spec, policy)}, or draw other labels: "
        "uniform ones, or from a public --label_histogram. --exceed_budget publishes it all the same, without the budget"
    )


def _noise_within_budget(spec: ModelSpec, policy: LabelPolicy) -> str:
    """How much noise would do."""
    one = policy.stretch()
    assert one is not None  # it is noised
    try:
        least = accounting.calibrate_noise_multiplier(
            spec.privacy["budget_epsilon"],
            spec.privacy["delta"],
            sampler=one.sampler,
            sampling_rate=one.sampling_rate,
            batch_size=one.batch_size,
            clip_norm=one.clip_norm,
            steps=1,
            coordinates=one.coordinates,
            grid=one.grid,
            before=tuple(statement.stated_stretches(spec.privacy)),
        )
    except ValueError:
        return "no noise brings it below"
    return f"give {math.ceil(least * 100) / 100:g} or more"


def _check_statement(spec: ModelSpec) -> None:
    problems = statement.validate_statement(spec.privacy)
    if problems:
        raise ValueError(
            f"the privacy statement of {spec.name} cannot be built on ({problems[0]}); export the generator again "
            "with bin/train"
        )


def _settle(
    model: GeneratorModel, plan: DrawPlan, work: pathlib.Path
) -> tuple[DrawPlan, tuple[str, ...]]:
    """The plan to follow and notes, with only such parts left in the folder as belong to it."""
    path = work / "plan.json"
    stored = _read_json(path)
    if stored is not None and _is_same_noising(stored, plan):
        plan = dataclasses.replace(plan, policy=_policy_of(stored))
    wanted = json.loads(json.dumps({"model": fingerprint(model), **dataclasses.asdict(plan)}))
    drawn = sorted(work.glob("part-*.npz"))
    if stored == wanted:
        return plan, (
            (f"going on with {len(drawn):,} of {len(plan.parts()):,} parts",) if drawn else ()
        )
    for part in drawn:
        part.unlink()
    temporary = work / ".plan.json.tmp"
    temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    if not drawn:
        return plan, ()
    fields = [
        key for key in wanted if not isinstance(stored, dict) or stored.get(key) != wanted[key]
    ]
    return plan, (f"starting over: the draw that was stopped had another {', '.join(fields)}",)


def stored_policy(output: Union[str, os.PathLike[str]], plan: DrawPlan) -> Optional[LabelPolicy]:
    """The histogram that was noised for a draw which was stopped, so that noise is spent once; None where there is none.

    Args:
      output: as in `generate`.
      plan: of the draw; its policy's probabilities do not matter.
    """
    path = pathlib.Path(os.path.abspath(os.path.expanduser(output)))
    stored = _read_json(output_folder.work_path(path) / "plan.json")
    return _policy_of(stored) if _is_same_noising(stored, plan) else None


def _policy_of(stored: Any) -> LabelPolicy:
    fields = stored["policy"]
    return LabelPolicy(**{**fields, "probabilities": tuple(fields["probabilities"])})


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _is_same_noising(stored: Any, plan: DrawPlan) -> bool:
    """Whether a stored plan differs at most in the noise that was drawn for its labels."""
    if plan.policy.kind != "noised" or not isinstance(stored, dict):
        return False
    wanted = json.loads(json.dumps(dataclasses.asdict(plan)))
    old = {key: dict(value) if key == "policy" else value for key, value in stored.items()}
    for each in (wanted, old):
        each.pop("model", None)
        each["policy"].pop("probabilities")
    return old == wanted


def fingerprint(model: GeneratorModel) -> str:
    """Identifies what a generator draws: a digest of its description and of one image per class."""
    labels = np.arange(model.spec.num_classes, dtype=np.int32)
    images = model.draw(labels, labels.astype(np.int64))
    description = json.dumps(dataclasses.asdict(model.spec), sort_keys=True)
    return hashlib.sha256(description.encode("utf-8") + images.tobytes()).hexdigest()


def _remove_damaged(plan: DrawPlan, work: pathlib.Path) -> None:
    for index in range(len(plan.parts())):
        path = dataset_formats.part_path(work, index)
        if path.exists() and dataset_formats.read_part(path) is None:
            path.unlink()


def _read_or_draw(model: GeneratorModel, plan: DrawPlan, work: pathlib.Path, index: int) -> Part:
    path = dataset_formats.part_path(work, index)
    part = dataset_formats.read_part(path)
    if part is None:
        path.unlink(missing_ok=True)
        part = draw_part(model, plan, *plan.parts()[index])
    return part


def _read_produced(plan: DrawPlan, work: pathlib.Path, index: int) -> Part:
    part = dataset_formats.read_part(dataset_formats.part_path(work, index))
    if part is None:
        raise ValueError(
            f"part {index} of {len(plan.parts())} is missing in {work} after the pipeline; its workers must share "
            "that folder"
        )
    return part


def _one_ahead(get: Callable[[int], Part], count: int) -> Generator[Part, None, None]:
    """`get(0)`, `get(1)`, ..., each made in another thread while the one before is being used."""
    with futures.ThreadPoolExecutor(1) as pool:
        part = pool.submit(get, 0)
        for index in range(1, count):
            following = pool.submit(get, index)
            yield part.result()
            part = following
        yield part.result()


class _Preview:
    """The first images of each class."""

    def __init__(self, spec: ModelSpec):
        empty = np.empty((0, *spec.image_shape), np.uint8)
        self.images = [empty for _ in spec.class_names]

    def look_at(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Takes what is still missing from a part."""
        for label, kept in enumerate(self.images):
            missing = papers.PREVIEW_COLUMNS - len(kept)
            if missing:
                new = images[labels == label][:missing]
                self.images[label] = np.concatenate([kept, new])


def _kept(
    parts: Iterator[Part], work: pathlib.Path, preview: _Preview, progress: Callable[[int], object]
) -> Iterator[Part]:
    """The parts, each in the folder before it is used: drawing goes on while the disk is waited for."""
    for index, (images, labels) in enumerate(parts):
        path = dataset_formats.part_path(work, index)
        if not path.exists():
            dataset_formats.write_part(path, images, labels)
        preview.look_at(images, labels)
        yield images, labels
        progress(len(labels))


def summarize(result: GenerateResult, output: str) -> str:
    """The last lines of `bin/generate`.

    Args:
      result: what was written.
      output: its folder, as the person gave it.
    """
    labels = {
        "uniform": "uniform",
        "declared": "from a histogram declared public",
        "noised": "from a histogram released with noise, its cost included",
    }[result.policy.kind]
    indent = " " * 11
    before = statement.stated_before(result.statement)
    lines = [
        f"Drawn:     {result.num_examples:,} labelled images, labels {labels}",
        *textwrap.wrap(
            result.statement["headline"], 79, initial_indent="Privacy:   ", subsequent_indent=indent
        ),
        *([f"           {before}"] if before else []),
        f"Data set:  {output} ({result.format}; privacy.json, DATASHEET.md, preview.png)",
        f"Next:      look at {output}/preview.png; bin/generate --verify={output}",
    ]
    return "\n".join(lines)
