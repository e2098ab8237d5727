# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours as a Beam pipeline on the DirectRunner: those of the local path, to the bit and the index."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from tfartgen import beam_neighbours, neighbours

EXTRA = "apache-beam is not installed (extra [beam])"
WORKERS = ["--direct_num_workers=2"]


def normal(seed, rows, dimensions=3):
    return np.random.RandomState(seed).randn(rows, dimensions)


#: Ties in plenty, within blocks and across them.
INTEGERS = np.random.RandomState(0).randint(0, 4, [110, 3])
NORMAL = normal(1, 90)
#: Inner products cannot tell the members of a cluster apart.
CLUSTERS = 1e6 * np.where(np.arange(100)[:, None] % 2, 1, -1) + 1e-3 * normal(2, 100)


@pytest.fixture
def beam(monkeypatch):
    module = pytest.importorskip("apache_beam", reason=EXTRA)
    # Workers that are processes of their own import what this one does.
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
    return module


def assert_same(found, expected):
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.indices.dtype == expected.indices.dtype == np.int64


@pytest.mark.parametrize("block", [37, 64, 1000])
@pytest.mark.parametrize(
    "points, others, same",
    [(INTEGERS, INTEGERS, True), (CLUSTERS, CLUSTERS, True), (NORMAL, INTEGERS, False)],
    ids=["integers", "clusters", "two arrays"],
)
def test_equal_to_the_local_path(beam, points, others, same, block):
    for k in [1, 60]:  # the latter is more than the rows of the smallest block
        found = beam_neighbours.nearest_arrays(points, others, k, same=same, block=block)
        assert_same(found, neighbours.nearest(points, others, k, same=same))


def test_all_rows_may_be_asked_for(beam):
    found = beam_neighbours.nearest_arrays(INTEGERS, INTEGERS, 109, same=True, block=40)
    assert_same(found, neighbours.nearest(INTEGERS, INTEGERS, 109, same=True))


def test_points_may_be_none(beam):
    found = beam_neighbours.nearest_arrays(np.empty([0, 3]), NORMAL, 2)
    assert found.distances.shape == found.indices.shape == (0, 2)


@pytest.mark.parametrize(
    "mode", ["multi_threading", pytest.param("multi_processing", marks=pytest.mark.slow)]
)
def test_several_workers(beam, mode):
    options = [f"--direct_running_mode={mode}", *WORKERS]
    found = beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5, block=40, options=options)
    assert_same(found, neighbours.nearest(NORMAL, INTEGERS, 5))


def blocks_of(rows, *starts):
    ends = [*starts[1:], len(rows)]
    return [(start, rows[start:end]) for start, end in zip(starts, ends)]


def run(beam, points, others, k, same=False):
    """The step in a pipeline of one's own, twice; a label must tell the two apart."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        with beam.Pipeline("DirectRunner") as pipeline:
            points = pipeline | "Points" >> beam.Create(points)
            others = points if others is None else pipeline | "Others" >> beam.Create(others)
            for label in ["One", "Two"]:
                found = beam_neighbours.nearest(points, others, k, same=same, label=label)
                saved = beam.Map(beam_neighbours._save_nearest, f"{folder}/{label}")
                _ = found | f"Save {label}" >> saved
        for name in os.listdir(folder):
            results[name] = beam_neighbours._load(f"{folder}/{name}")
    return results


def test_blocks_of_any_sizes_in_any_order(beam):
    points, others = blocks_of(INTEGERS, 0, 3, 71), blocks_of(INTEGERS, 0, 50, 51, 100)
    expected = neighbours.nearest(INTEGERS, INTEGERS, 8, same=True)
    for found in [run(beam, points[::-1], others, 8, True), run(beam, points, None, 8, True)]:
        assert sorted(found) == sorted(f"{name}-{i}" for name in ["One", "Two"] for i in [0, 3, 71])
        for name in ["One", "Two"]:
            part = neighbours.Neighbours(**found[f"{name}-3"])
            assert_same(
                part, neighbours.Neighbours(expected.distances[3:71], expected.indices[3:71])
            )


@pytest.mark.parametrize(
    "points, others, same, message",
    [
        ([(0, NORMAL)], [(0, NORMAL[:5])], False, "k must be at most 5, the rows of others, got 6"),
        ([(0, NORMAL[:6])], None, True, "k must be at most 5, the rows of others, a point itself"),
        ([(0, NORMAL)], [(0, NORMAL[:, :2])], False, "others must have the 3 dimensions of points"),
        ([(0, NORMAL), (0, NORMAL)], [(0, NORMAL)], False, "blocks must each start at a row of"),
        ([(0, NORMAL * np.nan)], [(0, NORMAL)], False, "points must be finite and at most"),
    ],
)
def test_blocks_that_workers_refuse(beam, points, others, same, message):
    with pytest.raises(ValueError, match=message):
        run(beam, points, others, 6, same)


def test_nothing_is_left_behind(beam, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5, block=40)
    with pytest.raises(ValueError):
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5, runner="Walker")
    assert not list(tmp_path.glob("tfartgen-*"))


def test_blocks_by_way_of_an_address(beam, tmp_path, monkeypatch):
    """For workers that share no file system with this process."""
    from apache_beam.io.localfilesystem import LocalFileSystem

    used = []

    def local(path):
        used.append(path)
        return str(tmp_path / path[len("far://") :]) if path.startswith("far://") else path

    class FarFileSystem(LocalFileSystem):
        @classmethod
        def scheme(cls):
            return "far"

        def create(self, path, *args, **kwargs):
            return super().create(local(path), *args, **kwargs)

        def open(self, path, *args, **kwargs):
            return super().open(local(path), *args, **kwargs)

        def exists(self, path):
            return super().exists(local(path))

        def rename(self, sources, targets):
            super().rename([local(path) for path in sources], [local(path) for path in targets])

        def delete(self, paths):
            super().delete([local(path) for path in paths])

    try:
        found = beam_neighbours.nearest_arrays(
            NORMAL, INTEGERS, 5, block=40, options=["--temp_location=far://bucket/scratch/"]
        )
    finally:
        # Subclasses are how Beam finds file systems; no address must lead to this one after the test.
        FarFileSystem.scheme = classmethod(lambda cls: "gone")
    assert_same(found, neighbours.nearest(NORMAL, INTEGERS, 5))
    assert any(path.endswith("/others-80") for path in used)
    assert not list((tmp_path / "bucket" / "scratch").iterdir())


def test_a_failure_is_one_line(beam, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(neighbours, "nearest_of_block", fail)
    with pytest.raises(ValueError) as caught:
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5)
    message = str(caught.value)
    assert message.startswith("runner=DirectRunner failed: ") and "\n" not in message
    assert "No space left on device" in message and message.endswith("its options and workers")


def test_unknown_runner(beam):
    with pytest.raises(ValueError, match="^runner=Walker failed: .*Walker"):
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5, runner="Walker")


def test_arguments_are_checked_before_anything_runs(beam, monkeypatch):
    monkeypatch.setattr(beam_neighbours, "_run", None)
    with pytest.raises(ValueError, match="^k must be at most 110, the rows of others, got 111"):
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 111)
    with pytest.raises(ValueError, match="^points must be others itself where same=True"):
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5, same=True)
    with pytest.raises(ValueError, match="^block must be a positive whole number, got 0"):
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5, block=0)
    with pytest.raises(ValueError, match="^k must be a positive whole number, got 0"):
        beam_neighbours.nearest(None, None, 0)


def test_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    message = r"^neighbours by Beam need the extra \[beam\].*pip install"
    with pytest.raises(ValueError, match=message):
        beam_neighbours.nearest_arrays(NORMAL, INTEGERS, 5)
    with pytest.raises(ValueError, match=message):
        beam_neighbours.nearest(None, None, 5)


def test_neither_module_imports_tensorflow_or_beam():
    code = (
        "import sys, tfartgen.beam_neighbours; "
        "print(sorted({'tensorflow', 'apache_beam'} & set(sys.modules)))"
    )
    root = pathlib.Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"
