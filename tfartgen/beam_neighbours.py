# SPDX-License-Identifier: Apache-2.0
"""The k nearest neighbours as an Apache Beam pipeline: every two blocks on their own, then the nearest of all.

Needs the extra `[beam]`, here and on the workers. A work item holds one block of points, one of the others, and
the k nearest of the one in the other; what it finds depends on these alone, so the runner may retry it. The
result is that of `neighbours.nearest`, whatever the blocks.
"""

from __future__ import annotations

import functools
import io
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tfartgen import _validate, beam_extra, neighbours

_NEEDED_BY = "neighbours by Beam need"

#: Rows of a block; two of them with 32 dimensions are compared in about a second.
BLOCK = 2**14

#: A block: its first row's number among all rows, and its rows [rows, dimensions].
_Block = tuple[int, np.ndarray]


def nearest(points: Any, others: Any, k: int, *, same: bool = False, label: str = "Nearest") -> Any:
    """The k rows of `others` that are nearest to each row of `points`, as a step of a pipeline.

    Each block of the ones meets each block of the others, so of `P` and `Q` blocks the runner shuffles `Q`
    copies of the points and `P` of the others, and no worker needs more than a pair.

    Args:
      points: PCollection of (first row, array [rows, dimensions]), blocks of any sizes that do not overlap.
      others: PCollection of such blocks; it may be `points`.
      k: how many neighbours.
      same: both are the same rows, and a row is no neighbour of itself, as in `neighbours.nearest`.
      label: of the step, if a pipeline has several.

    Returns:
      PCollection of (first row, Neighbours), one for each block of points, with indices among all `others`.

    Raises:
      ValueError: the extra is not installed, or k is not a positive whole number. Workers raise it for blocks
        that `neighbours.nearest` would refuse.
    """
    step = beam_extra.beam(_NEEDED_BY).ptransform_fn(_nearest)
    return (points, others) | label >> step(_validate.positive_int("k", k), same)


def nearest_arrays(
    points: np.ndarray,
    others: np.ndarray,
    k: int,
    *,
    same: bool = False,
    block: int = BLOCK,
    runner: str = "DirectRunner",
    options: Sequence[str] | None = None,
) -> neighbours.Neighbours:
    """`neighbours.nearest` by such a pipeline, for arrays that this process has; waits for the result.

    Blocks go to the workers, and come back, as files: in the temporary folder of this process, which must then
    be on a file system that all share, or below the runner's own option `--temp_location` if that is an address
    (`gs://...`, `s3://...`). They are removed at the end.

    Args:
      points: [points, dimensions], finite.
      others: [others, dimensions], finite.
      k: how many neighbours.
      same: `points` is `others`, and a row is no neighbour of itself.
      block: rows of a block.
      runner: name of the Beam runner.
      options: the runner's own, as on a command line.

    Raises:
      ValueError: as `neighbours.nearest`; the extra is not installed, there is no such runner, or a worker failed.
    """
    points, others = neighbours.checked(points, others, k, same)
    _validate.positive_int("block", block)
    beam_options = beam_extra.beam(_NEEDED_BY).options.pipeline_options
    parsed = beam_options.PipelineOptions(list(options or ()))
    shared = parsed.view_as(beam_options.GoogleCloudOptions).temp_location or ""
    with tempfile.TemporaryDirectory(prefix="tfartgen-") as local:
        remote = f"{shared.rstrip('/')}/tfartgen-{secrets.token_hex(16)}"
        folder = remote if "://" in shared else local
        try:
            starts = _save_blocks(points, block, f"{folder}/points")
            other_starts = _save_blocks(others, block, f"{folder}/others")
            _run(folder, starts, other_starts, k, same, runner, parsed)
            found = [_load(f"{folder}/nearest-{first}") for first in starts]
        finally:
            if folder == remote and beam_extra.file_systems().exists(folder):
                beam_extra.file_systems().delete([folder])
    return neighbours.Neighbours(
        np.concatenate([part["distances"] for part in found]),
        np.concatenate([part["indices"] for part in found]),
    )


def _nearest(blocks: tuple[Any, Any], k: int, same: bool) -> Any:
    """What `nearest` is made of."""
    beam = beam_extra.beam(_NEEDED_BY)
    points, others = blocks
    starts = beam.pvalue.AsList(points | "Starts of points" >> beam.Keys())
    other_starts = beam.pvalue.AsList(others | "Starts of others" >> beam.Keys())
    # Without it a runner may fuse what lists the blocks with what waits for the list of the others.
    points = points | "Spread points" >> beam.Reshuffle()
    others = others | "Spread others" >> beam.Reshuffle()
    return (
        (
            points | "To all others" >> beam.FlatMap(_to_all_others, other_starts),
            others | "To all points" >> beam.FlatMap(_to_all_points, starts),
        )
        | "Pairs" >> beam.CoGroupByKey()
        | "Nearest of a pair" >> beam.Map(_nearest_of_pair, k, same)
        | "Nearest of all" >> beam.CombinePerKey(functools.partial(neighbours.merged, k=k))
        | "Enough" >> beam.Map(_with_enough, k, same)
    )


def _to_all_others(block: _Block, starts: Iterable[int]) -> Iterator[tuple[Any, np.ndarray]]:
    first, rows = block
    return (((first, other), rows) for other in starts)


def _to_all_points(block: _Block, starts: Iterable[int]) -> Iterator[tuple[Any, np.ndarray]]:
    first, rows = block
    return (((point, first), rows) for point in starts)


def _nearest_of_pair(pair: Any, k: int, same: bool) -> tuple[int, neighbours.Neighbours]:
    (first, other_first), (blocks, other_blocks) = pair
    blocks, other_blocks = list(blocks), list(other_blocks)
    if len(blocks) != 1 or len(other_blocks) != 1:
        raise ValueError(
            f"blocks must each start at a row of their own, got several at {first} or {other_first}"
        )
    points, others = neighbours.matching(blocks[0], other_blocks[0])
    own = np.arange(len(points)) + (first - other_first) if same else None
    found = neighbours.nearest_of_block(points, others, k, own)
    return first, neighbours.Neighbours(found.distances, found.indices + other_first)


def _with_enough(
    item: tuple[int, neighbours.Neighbours], k: int, same: bool
) -> tuple[int, neighbours.Neighbours]:
    distances = item[1].distances
    if len(distances):
        # A point itself is infinitely far, so it shows only where rows are too few.
        neighbours.require_rows(k, int(np.isfinite(distances).sum(axis=1).min()), same)
    return item


def _run(
    folder: str,
    starts: Sequence[int],
    other_starts: Sequence[int],
    k: int,
    same: bool,
    runner: str,
    options: Any,
) -> None:
    beam = beam_extra.beam(_NEEDED_BY)
    try:
        with beam.Pipeline(runner=runner, options=options) as pipeline:
            points, others = (
                pipeline | f"List {name}" >> beam.Create(list(firsts))
                # Without it a runner may fuse all of them into the one item that created them.
                | f"Spread {name}" >> beam.Reshuffle()
                | f"Load {name}" >> beam.Map(_load_block, f"{folder}/{name}")
                for name, firsts in [("points", starts), ("others", other_starts)]
            )
            found = nearest(points, others, k, same=same)
            _ = found | "Save" >> beam.Map(_save_nearest, f"{folder}/nearest")
    except (ImportError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"runner={runner} failed: {lines[-1].strip()}; check the runner, its options and workers"
        ) from error


def _save_blocks(array: np.ndarray, block: int, prefix: str) -> list[int]:
    """Saves the blocks of an array, at least one; their first rows."""
    starts = list(range(0, max(1, len(array)), block))
    for first in starts:
        _save(f"{prefix}-{first}", rows=array[first : first + block])
    return starts


def _load_block(first: int, prefix: str) -> _Block:
    return first, _load(f"{prefix}-{first}")["rows"]


def _save_nearest(item: tuple[int, neighbours.Neighbours], prefix: str) -> None:
    first, found = item
    _save(f"{prefix}-{first}", distances=found.distances, indices=found.indices)


def _save(path: str, **arrays: np.ndarray) -> None:
    """Saves arrays at a path or an address, where they appear whole, however many workers do it at once."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    with beam_extra.file_systems().create(temporary) as file:
        file.write(content.getbuffer())
    beam_extra.file_systems().rename([temporary], [path])


def _load(path: str) -> dict[str, np.ndarray]:
    with beam_extra.file_systems().open(path) as file, np.load(io.BytesIO(file.read())) as arrays:
        return dict(arrays)
