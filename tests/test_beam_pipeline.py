# SPDX-License-Identifier: Apache-2.0
"""The draw as a Beam pipeline on the DirectRunner: the parts of the local draw, whatever the workers."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import artificial, beam_pipeline, dataset_formats, release
from tfartgen.networks import Generator

EXTRA = "apache-beam is not installed (extra [beam])"
PLAN = artificial.DrawPlan(50, 7, artificial.LabelPolicy.uniform(3), part_size=8)
PARTS = [f"part-{index:05d}.npz" for index in range(7)]
WORKERS = ["--direct_num_workers=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    generator = Generator((9, 13, 3), 3, latent_dim=5, width=2, seed=3)
    generator((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    return release.export_generator(
        generator,
        tmp_path_factory.mktemp("models") / "pets",
        {"version": 1},
        class_names=("cat", "dog", "eel"),
        name="pets",
    )


@pytest.fixture(scope="module")
def expected(folder) -> list[dataset_formats.Part]:
    model = artificial.LocalModel(folder)
    return [artificial.draw_part(model, PLAN, *part) for part in PLAN.parts()]


@pytest.fixture
def beam(monkeypatch):
    module = pytest.importorskip("apache_beam", reason=EXTRA)
    # Workers that are processes of their own import what this one does.
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
    return module


def assert_drawn(parts_folder: pathlib.Path, expected) -> None:
    assert sorted(os.listdir(parts_folder)) == PARTS
    for index, (images, labels) in enumerate(expected):
        part = dataset_formats.read_part(dataset_formats.part_path(parts_folder, index))
        np.testing.assert_array_equal(part[0], images)
        np.testing.assert_array_equal(part[1], labels)


@pytest.mark.parametrize(
    "mode",
    ["in_memory", "multi_threading", pytest.param("multi_processing", marks=pytest.mark.slow)],
)
def test_parts_are_those_of_the_local_draw(beam, folder, expected, tmp_path, mode):
    options = [f"--direct_running_mode={mode}", *(WORKERS if mode != "in_memory" else [])]
    beam_pipeline.draw_parts(folder, PLAN, tmp_path, "DirectRunner", options)
    assert_drawn(tmp_path, expected)


def test_parts_that_are_there_are_left_alone(beam, folder, expected, tmp_path):
    """Resuming, and a work item that runs again after another worker has done it."""
    beam_pipeline.draw_parts(folder, PLAN, tmp_path)
    path = dataset_formats.part_path(tmp_path, 4)
    path.unlink()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in os.listdir(tmp_path)}
    beam_pipeline.draw_parts(folder, PLAN, tmp_path)
    assert_drawn(tmp_path, expected)
    beam_pipeline._draw(str(folder), PLAN, str(tmp_path), 3)
    beam_pipeline.draw_parts("no such model", PLAN, tmp_path)
    after = {name: (tmp_path / name).stat().st_mtime_ns for name in os.listdir(tmp_path)}
    assert {name for name in after if before.get(name) != after[name]} == {path.name}


def test_model_is_loaded_once_in_a_worker(beam, folder, tmp_path, monkeypatch):
    loads = []
    original = artificial.LocalModel
    monkeypatch.setattr(
        artificial, "LocalModel", lambda *args: loads.append(args) or original(*args)
    )
    beam_pipeline._load.cache_clear()
    options = ["--direct_running_mode=multi_threading", *WORKERS]
    beam_pipeline.draw_parts(folder, PLAN, tmp_path, "DirectRunner", options)
    assert len(loads) == 1


@pytest.fixture
def remote_address(beam, tmp_path, monkeypatch):
    """`mem://...`, an address that is no path: kept in a folder by a file system of Beam's registry."""
    from apache_beam.io.localfilesystem import LocalFileSystem

    base = tmp_path / "remote"

    def local(path):
        return str(base / path[len("mem://") :]) if path.startswith("mem://") else path

    class MemoryFileSystem(LocalFileSystem):
        @classmethod
        def scheme(cls):
            return "mem"

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

    yield base
    # Subclasses are how Beam finds file systems; this one must not outlive the test.
    MemoryFileSystem.scheme = classmethod(lambda cls: None)


def test_parts_by_way_of_an_address(remote_address, folder, expected, tmp_path, monkeypatch):
    """For workers that share no file system with this process."""
    options = ["--temp_location=mem://bucket/scratch/"]
    target = tmp_path / "parts"
    target.mkdir()
    (remote_address / "bucket" / "scratch").mkdir(parents=True)
    monkeypatch.setattr(beam_pipeline, "_fetch", failing_after(3, beam_pipeline._fetch))
    with pytest.raises(OSError, match="connection lost"):
        beam_pipeline.draw_parts(folder, PLAN, target, "DirectRunner", options)
    monkeypatch.undo()
    (staging,) = (remote_address / "bucket" / "scratch").iterdir()
    assert sorted(os.listdir(staging)) == ["model.zip", *PARTS]
    drawn = (staging / PARTS[5]).stat().st_mtime_ns
    monkeypatch.setattr(artificial, "draw_part", None)  # nothing needs to be drawn again
    beam_pipeline.draw_parts(folder, PLAN, target, "DirectRunner", options)
    assert_drawn(target, expected)
    assert drawn and not staging.exists()


def failing_after(count: int, function):
    calls = []

    def call(*args):
        calls.append(args)
        if len(calls) > count:
            raise OSError("connection lost")
        return function(*args)

    return call


def test_address_depends_on_the_model_and_the_plan(folder, tmp_path):
    other = tmp_path / "1"
    shutil.copytree(folder, other)
    same = beam_pipeline._digest(folder, PLAN)
    assert beam_pipeline._digest(other, PLAN) == same
    longer = artificial.DrawPlan(51, 7, PLAN.policy, part_size=8)
    assert beam_pipeline._digest(folder, longer) != same
    (other / "saved_model.pb").write_bytes(b"other")
    assert beam_pipeline._digest(other, PLAN) != same


def test_worker_that_fails_is_one_line(beam, folder, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_formats, "write_part", fail)
    with pytest.raises(ValueError) as caught:
        beam_pipeline.draw_parts(folder, PLAN, tmp_path)
    message = str(caught.value)
    assert message.startswith("--beam_runner=DirectRunner failed: ") and "\n" not in message
    assert "No space left on device" in message and "the same command goes on" in message
    assert os.listdir(tmp_path) == []


def test_unknown_runner(beam, folder, tmp_path):
    with pytest.raises(ValueError, match="--beam_runner=Walker failed: .*Walker"):
        beam_pipeline.draw_parts(folder, PLAN, tmp_path, "Walker")


def test_extra_that_is_missing_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"--beam_runner needs the extra \[beam\].*pip install"):
        beam_pipeline.draw_parts(folder, PLAN, tmp_path)
