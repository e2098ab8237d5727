# SPDX-License-Identifier: Apache-2.0
"""Canaries: records planted among the private ones, each by a coin of its own, so that guesses of the coins can be counted.

NumPy only. Canaries of one style teach a critic the style, and those that were left out then pass as real too; so
there are three styles, and a critic that is to call a canary real has to know that canary.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any, Callable

import numpy as np

from tfartgen.whole_files import write_atomically

#: Returns fair coins, bool `[count]`.
CoinSource = Callable[[int], np.ndarray]

#: Cells of a pattern, on either side.
_CELLS = 8
#: Bright cells of a pattern of dots.
_DOTS = 6


def operating_system_coins(count: int) -> np.ndarray:
    """Fair coins from the operating system's entropy, untouched by any seed: bool `[count]`."""
    content = np.frombuffer(secrets.token_bytes((count + 7) // 8), np.uint8)
    return np.unpackbits(content)[:count].astype(bool)


@dataclasses.dataclass(frozen=True, eq=False)
class Canaries:
    """Candidates, and their coins.

    Attributes:
      images: uint8 `[candidates, height, width, channels]`.
      labels: int32 `[candidates]`.
      included: bool `[candidates]`, the coins: whether a candidate is in the training data.
    """

    images: np.ndarray
    labels: np.ndarray
    included: np.ndarray

    def planted(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Records, and after them the canaries that are included."""
        return (
            np.concatenate([images, self.images[self.included]]),
            np.concatenate([labels, self.labels[self.included]]).astype(np.int32),
        )


def make(
    images: np.ndarray, labels: np.ndarray, num_classes: int, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws candidates of three styles in turn.

    Held-out images under a wrong label; mosaics of random brightness; and dots on black. The labels of the last two
    are random. Which candidates there are is no secret: only their coins are.

    Args:
      images: held-out, uint8 `[n, height, width, channels]`, which training does not read.
      labels: theirs.
      num_classes: number of labels.
      count: candidates.
      seed: fixes them.

    Returns:
      Images and labels of the candidates.

    Raises:
      ValueError: there are too few held-out images, or fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(
            "canaries include images under a wrong label, which takes two classes at least, got 1"
        )
    rng = np.random.default_rng(seed)
    style = np.arange(count) % 3
    wrong = np.flatnonzero(style == 0)
    if len(labels) < len(wrong):
        raise ValueError(
            f"num_canaries={count} takes {len(wrong)} held-out images, and there are {len(labels)}; give fewer"
        )
    chosen = rng.choice(len(labels), len(wrong), replace=False)
    grid = np.where(
        (style == 1)[:, None],
        rng.integers(256, size=(count, _CELLS**2)),
        255 * (np.argsort(rng.random((count, _CELLS**2)), axis=1) < _DOTS),
    )
    made = _enlarged(grid.reshape(count, _CELLS, _CELLS).astype(np.uint8), images.shape[1:])
    made[wrong] = images[chosen]
    drawn = rng.integers(num_classes, size=count)
    shift = rng.integers(1, num_classes, size=len(wrong))
    drawn[wrong] = (labels[chosen] + shift) % num_classes
    return made, drawn.astype(np.int32)


def _enlarged(grid: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Grids `[count, cells, cells]` as images `[count, height, width, channels]`."""
    height, width, channels = image_shape
    rows, columns = (np.arange(side) * _CELLS // side for side in (height, width))
    return np.repeat(grid[:, rows][:, :, columns][..., None], channels, axis=-1)


def guess(scores: np.ndarray, guesses: int, share_out: float) -> np.ndarray:
    """Guesses of coins: the lowest scores are guessed out, the highest in, and the others left open.

    Args:
      scores: `[candidates]`, high for "in".
      guesses: in all.
      share_out: of them that are guesses of "out".

    Returns:
      int64 `[candidates]`: -1 out, 1 in, 0 open.

    Raises:
      ValueError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError(
            "a canary's score is not finite: the training diverged; give another config"
        )
    order = np.argsort(scores, kind="stable")
    out = round(guesses * share_out)
    guessed = np.zeros(len(scores), np.int64)
    guessed[order[:out]] = -1
    guessed[order[len(order) - (guesses - out) :]] = 1
    return guessed


def throw_once(
    path: pathlib.Path,
    images: np.ndarray,
    labels: np.ndarray,
    identity: Mapping[str, Any],
    coins: CoinSource,
) -> Canaries:
    """Throws the coins of candidates and puts them on file, or reads them where they have been thrown.

    Formal guarantee: a file that is there is never replaced, so that coins are thrown once, and what is in
    `identity` was fixed before.

    Args:
      path: of the file.
      images: of the candidates.
      labels: theirs.
      identity: what must be as it was when they were thrown, JSON-able.
      coins: where they come from.

    Returns:
      The candidates with their coins.

    Raises:
      ValueError: the file is damaged, or it was written for another audit; the message names the first field.
      OSError: it cannot be written.
    """
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    # As it comes back from the file: lists for tuples.
    identity = json.loads(json.dumps({**identity, "candidates_sha256": digest}))
    if not path.exists():
        content = io.BytesIO()
        included = coins(len(labels))
        np.savez_compressed(content, included=included, identity=np.array(json.dumps(identity)))
        _write_new(path, content.getvalue())
    included, stored = _read(path)
    for field in {**identity, **stored}:  # what a person sets comes first
        was, now = stored.get(field), identity.get(field)
        if was != now:
            raise ValueError(
                f"{path} holds the coins of an audit with {field}={was}, not {now}; repeat that setting to go on with it, "
                "or give another folder"
            )
    if included.dtype != bool or included.shape != labels.shape:
        raise ValueError(_damaged(path, "not one coin for each candidate"))
    return Canaries(images, labels, included)


def _write_new(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole, unless somebody else has written one meanwhile."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    write_atomically(aside, content)
    try:
        os.link(aside, path)
    except FileExistsError:
        pass  # another process threw first
    finally:
        aside.unlink(missing_ok=True)


def _read(path: pathlib.Path) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["included"], dict(json.loads(str(arrays["identity"])))
    except Exception as error:  # zipfile and NumPy raise a dozen kinds
        raise ValueError(_damaged(path, str(error) or type(error).__name__)) from None


def _damaged(path: pathlib.Path, why: str) -> str:
    return (
        f"{path} is damaged ({' '.join(why.split())}), and coins are thrown once; restore it, or start a new audit in "
        "another folder"
    )
