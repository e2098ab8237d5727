# SPDX-License-Identifier: Apache-2.0
"""A progress bar over stages that take as long as they take; quiet when standard error is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

import tqdm


@contextlib.contextmanager
def stages(total: int) -> Iterator[Callable[[str], None]]:
    """A bar of so many stages; yields what is told of each as it begins."""
    with tqdm.tqdm(total=total, disable=None, bar_format="{desc}: {n_fmt}/{total_fmt}") as bar:
        begun = False

        def begin(stage: str) -> None:
            nonlocal begun
            bar.update(begun)
            begun = True
            bar.set_description(stage.capitalize())

        yield begin
        bar.update(begun)
