# SPDX-License-Identifier: Apache-2.0
"""What a person reads at the end of a command."""

from __future__ import annotations

import pathlib

from tfartgen import summary

OUTPUT = pathlib.Path("evaluations/digits")


def paths(*names):
    return [OUTPUT / name for name in names]


def test_the_last_lines_of_private_results():
    lines = summary.of_results(paths("a.png", "b.json"), OUTPUT).splitlines()
    assert lines[0] == "Written:   evaluations/digits: a.png, b.json"
    assert lines[1].startswith("Privacy:   PRIVATE. ")
    assert lines[-1] == "Next:      look at evaluations/digits/a.png"
    names = [f"PRIVATE_most_exposed_{number}.png" for number in range(5)]
    assert max(map(len, summary.of_results(paths(*names), OUTPUT).splitlines())) <= 80
