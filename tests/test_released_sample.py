# SPDX-License-Identifier: Apache-2.0
"""Examples to be measured are those of the release: as published, or drawn as bin/generate draws them."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import scripts
from scripts import ROOT

from tfartgen import artificial, released_sample

#: The committed version: whoever ran bin/train has others beside it.
MODEL = ROOT / "saved_models" / "digits" / "1"
COUNT, SEED = 300, 5


@pytest.fixture(name="published", scope="module")
def _published(tmp_path_factory):
    """What bin/generate writes."""
    folder = tmp_path_factory.mktemp("sample") / "digits"
    with scripts.main_of("generate") as main:
        arguments = f"--num_examples={COUNT}", f"--seed={SEED}", "--format=npz"
        assert not main(f"--model={MODEL}", *arguments, f"--output={folder}")
    return folder


@pytest.fixture(name="data_set", scope="module")
def _data_set(published):
    return released_sample.of_data_set(str(published))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_data_set_is_read_as_it_was_published(data_set, published):
    with np.load(published / "data.npz") as arrays:
        assert np.array_equal(data_set.images, arrays["images"])
        assert np.array_equal(data_set.labels, arrays["labels"])
        assert data_set.class_names == tuple(arrays["class_names"])
    assert data_set.images.shape == (COUNT, 8, 8, 1) and data_set.images.dtype == np.uint8
    assert data_set.statement == json.loads((published / "privacy.json").read_text())
    assert (data_set.folder, data_set.digest) == (
        str(published),
        sha256(published / "privacy.json"),
    )


def test_a_generator_draws_what_bin_generate_does(data_set):
    drawn = released_sample.of_generator(str(MODEL), COUNT, SEED)
    assert np.array_equal(drawn.images, data_set.images)
    assert np.array_equal(drawn.labels, data_set.labels)
    assert drawn.class_names == data_set.class_names
    other = released_sample.of_generator(str(MODEL), COUNT, SEED + 1)
    assert not np.array_equal(drawn.images, other.images)


def test_a_draw_does_not_depend_on_its_parts(data_set, monkeypatch):
    plan, counts = artificial.DrawPlan, []
    monkeypatch.setattr(artificial, "DrawPlan", lambda *fields: plan(*fields, part_size=128))
    drawn = released_sample.of_generator(str(MODEL), COUNT, SEED, progress=counts.append)
    assert counts == [128, 128, 44]
    assert np.array_equal(drawn.images, data_set.images)
    assert np.array_equal(drawn.labels, data_set.labels)


def test_the_digest_of_a_generator_is_that_of_its_statement():
    drawn = released_sample.of_generator(str(MODEL), 2, 0)
    statement = MODEL / "assets.extra" / "privacy.json"
    assert (drawn.folder, drawn.digest) == (str(MODEL), sha256(statement))
    assert drawn.statement == json.loads(statement.read_text())
    version = released_sample.of_generator(str(MODEL), 2, 0, 1)
    assert version.digest == drawn.digest and np.array_equal(version.images, drawn.images)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("nowhere", 10, 0), "--model=nowhere is no folder; give a generator that bin/train"),
        ((str(ROOT / "docs"), 10, 0), "docs holds no SavedModel; give a generator"),
        ((str(MODEL), 10, 0, 9), "--version=9 is not the version that --model=.*1 names"),
        ((str(MODEL), 0, 0), "num_examples must be a positive whole number, got 0"),
        ((str(MODEL), 10, 0.5), "seed must be a whole number, got 0.5"),
        ((str(MODEL), 10, 2**64), "seed must fit in 64 bits"),
    ],
)
def test_a_generator_that_cannot_be_drawn_from(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        released_sample.of_generator(*arguments)
    assert "\n" not in str(caught.value)


def test_a_generator_without_its_statement_is_refused(tmp_path):
    shutil.copytree(MODEL, tmp_path / "digits" / "1")
    (tmp_path / "digits" / "1" / "assets.extra" / "privacy.json").unlink()
    with pytest.raises(ValueError, match="is no SavedModel of this program: it has no privacy"):
        released_sample.of_generator(str(tmp_path / "digits"), 2, 0)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: (folder / "privacy.json").unlink(), "it has no privacy.json; give a"),
        (lambda folder: (folder / "data.npz").unlink(), "data.npz is missing; give a folder"),
        (lambda folder: (folder / "data.npz").write_bytes(b"x"), "data.npz was altered: its SHA"),
    ],
)
def test_a_damaged_data_set_is_refused(published, tmp_path, damage, message):
    folder = tmp_path / "digits"
    shutil.copytree(published, folder)
    damage(folder)
    with pytest.raises(ValueError, match=f"--artificial={folder}: {message}") as caught:
        released_sample.of_data_set(str(folder))
    assert "\n" not in str(caught.value)
