# SPDX-License-Identifier: Apache-2.0
"""A release is read back whole, and what is no release, or a changed one, is refused."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tfartgen import artificial, generating, papers, released_data
from tfartgen.accounting import Stretch
from tfartgen.artificial import DrawPlan, LabelPolicy, ModelSpec
from tfartgen.statement import privacy_statement

# Priced, quickly, and of no use.
STRETCH = Stretch("poisson", 1.0, 2.0, 1.0, 100, 300, coordinates=356)
PRIVACY = privacy_statement([STRETCH], 1e-5, critic_steps=300)
CLASS_NAMES = ("cat", "dog", "eel")
COUNT = 30
FORMATS = ("tfds", "npz", "png")


class StandIn:
    """Draws noise that the seeds decide."""

    spec = ModelSpec("pets", (8, 9, 1), CLASS_NAMES, 5, PRIVACY)

    def draw(self, labels, seeds):
        words = seeds.view(np.uint64)[:, None] * np.arange(1, 73, dtype=np.uint64)
        return (words >> np.uint64(50)).astype(np.uint8).reshape(-1, 8, 9, 1)


def plan(seed=7):
    return DrawPlan(COUNT, seed, LabelPolicy.uniform(3))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder for each format; nothing may be changed in them."""
    top = tmp_path_factory.mktemp("written")
    for format in FORMATS:
        generating.generate(StandIn(), plan(), top / format, format)
    return top


@pytest.fixture
def copies(written, tmp_path):
    """Folders like `written`, to be damaged."""
    return pathlib.Path(shutil.copytree(written, tmp_path / "copies"))


def refused(folder, expected):
    """The message, of one line, of the ValueError that reading must raise."""
    start = re.escape(f"--artificial={folder}: ")
    end = "; give a folder that bin/generate wrote"
    with pytest.raises(ValueError, match=f"^{start}.*{expected}.*{end}$") as caught:
        released_data.read(folder)
    assert "\n" not in str(caught.value)


def state(folder, **changes):
    """Changes the statement, and gives it the digests of the files as they are now."""
    path = folder / "privacy.json"
    stated = {**json.loads(path.read_text()), "files": papers.digests(folder), **changes}
    path.write_text(json.dumps(stated))


def save_arrays(folder, **changes):
    """Puts other arrays into an npz data set, whose papers speak of them."""
    with np.load(folder / "data.npz") as arrays:
        contents = {**arrays, **changes}
    np.savez(folder / "data.npz", **contents)
    state(folder)


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_drawn_is_read_back(written, format):
    release = released_data.read(written / format)
    images, labels = artificial.draw_part(StandIn(), plan(), 0, COUNT)
    if format == "png":  # class by class, as its folders are
        order = np.argsort(labels, kind="stable")
        images, labels = images[order], labels[order]
    np.testing.assert_array_equal(release.images, images)
    np.testing.assert_array_equal(release.labels, labels)
    assert (release.images.dtype, release.labels.dtype) == (np.uint8, np.int32)
    assert (release.name, release.class_names) == ("pets", CLASS_NAMES)
    assert release.folder == str(written / format)
    assert release.statement == json.loads((written / format / "privacy.json").read_text())


@pytest.mark.parametrize("format", FORMATS)
def test_data_of_several_batches_is_read_whole(written, monkeypatch, format):
    whole = released_data.read(written / format)
    monkeypatch.setattr(released_data, "_BATCH_SIZE", 4)
    again = released_data.read(written / format)
    np.testing.assert_array_equal(again.images, whole.images)
    np.testing.assert_array_equal(again.labels, whole.labels)


def test_the_digest_identifies_the_release(written, tmp_path):
    content = (written / "npz" / "privacy.json").read_bytes()
    digest = released_data.read(written / "npz").digest
    assert digest == hashlib.sha256(content).hexdigest()
    generating.generate(StandIn(), plan(), tmp_path / "again", "npz")
    generating.generate(StandIn(), plan(seed=8), tmp_path / "other", "npz")
    assert released_data.read(tmp_path / "again").digest == digest
    assert released_data.read(tmp_path / "other").digest != digest


def test_the_home_of_the_user_is_found_and_the_folder_is_called_as_given(written, monkeypatch):
    monkeypatch.setenv("HOME", str(written))
    assert released_data.read("~/npz").folder == "~/npz"


def test_the_owner_may_fill_in_the_sheet(copies):
    (copies / "npz" / "DATASHEET.md").write_text("By Ada.")
    assert len(released_data.read(copies / "npz").labels) == COUNT


def test_what_is_no_folder_or_has_no_statement_is_refused(tmp_path, copies):
    (copies / "npz" / "privacy.json").unlink()
    for folder in (tmp_path / "absent", tmp_path, copies / "npz", copies / "npz" / "data.npz"):
        refused(folder, "it has no privacy.json")


@pytest.mark.parametrize(
    "content",
    [b"", b'{"headline": ', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "binary", "deep"],
)
def test_a_statement_that_is_no_json_is_refused(copies, content):
    (copies / "npz" / "privacy.json").write_bytes(content)
    refused(copies / "npz", "its privacy.json is no JSON")


def test_a_generator_is_refused(tmp_path):
    (tmp_path / "privacy.json").write_text(json.dumps(PRIVACY))
    refused(tmp_path, "not a data set's .it speaks of a generator; draw from it first")


@pytest.mark.parametrize(
    "content, expected",
    [
        ({"version": 3}, r"\$.version: 3 is not one of \[1, 2\]"),
        ({"version": 1}, r"\$: "),
        ({"epsilon": float("nan")}, r"\$: no JSON"),
        ({"files": {"../data.npz": "0" * 64}}, r"\$.files"),
        ({"data_set": None, "released": "data set"}, r"\$.data_set"),
        ({"data_set": {"format": "npz"}}, r"\$.data_set"),
    ],
)
def test_a_statement_off_the_schema_is_refused(copies, content, expected):
    state(copies / "npz", **content)
    refused(copies / "npz", f"not a data set's .{expected}")


def test_a_statement_of_another_kind_of_value_is_refused(copies):
    (copies / "npz" / "privacy.json").write_text("[]")
    refused(copies / "npz", "not a data set's")


@pytest.mark.parametrize(
    "name", ["npz/data.npz", "npz/preview.png", "png/dog/*.png", "tfds/*.tfrecord-*", "tfds/*.json"]
)
def test_a_file_that_is_missing_or_altered_is_refused(copies, name):
    path = sorted(path for path in copies.glob(name) if path.name != "privacy.json")[0]
    folder = copies / name.split("/")[0]
    its_name = re.escape(path.relative_to(folder).as_posix())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(folder, f"{its_name} was altered: its SHA-256 is not the one in its papers")
    path.unlink()
    refused(folder, f"{its_name} is missing")


@pytest.mark.parametrize(
    "format, name", [("npz", "data.npz"), ("png", "cat/*"), ("tfds", "*.tfrecord-*")]
)
def test_files_that_cannot_be_read_are_refused_though_their_digests_fit(copies, format, name):
    folder = copies / format
    sorted(folder.glob(name))[0].write_bytes(b"no such format\n" * 9)
    state(folder)
    refused(folder, "its data cannot be read")


def test_files_of_other_class_names_are_refused(copies):
    stated = json.loads((copies / "npz" / "privacy.json").read_text())["data_set"]
    state(copies / "npz", data_set={**stated, "class_names": ["cat", "dog", "owl"]})
    refused(copies / "npz", "its data cannot be read .class names")


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1])
def test_labels_out_of_range_are_refused(copies, label):
    labels = released_data.read(copies / "npz").labels.copy()
    labels[17] = label
    save_arrays(copies / "npz", labels=labels)
    refused(copies / "npz", "is not a number of 0 to 2")


def test_a_release_without_examples_is_refused(copies):
    images, labels = np.zeros((0, 8, 9, 1), np.uint8), np.zeros(0, np.int32)
    save_arrays(copies / "npz", images=images, labels=labels)
    refused(copies / "npz", "0 examples, its papers say")


def test_an_image_that_no_paper_speaks_of_is_refused(copies):
    shutil.copy(sorted((copies / "png" / "cat").iterdir())[0], copies / "png" / "cat" / "more.png")
    refused(copies / "png", "more.png")


def test_data_that_no_paper_speaks_of_is_refused(copies):
    state(copies / "npz", files={})
    refused(copies / "npz", "data.npz")


@pytest.mark.parametrize("label", [np.int64(2**32), np.float64(0.5)], ids=["wraps", "half"])
def test_labels_that_only_a_cast_makes_labels_are_refused(copies, label):
    labels = released_data.read(copies / "npz").labels.astype(label.dtype)
    labels[17] = label
    save_arrays(copies / "npz", labels=labels)
    refused(copies / "npz", "is not a number of 0 to 2")


def test_pixels_that_are_no_bytes_are_refused(copies):
    images = released_data.read(copies / "npz").images
    save_arrays(copies / "npz", images=images / np.float32(255))
    refused(copies / "npz", "uint8")


def test_classes_of_images_of_different_shapes_are_refused(copies):
    for path in (copies / "png" / "dog").iterdir():
        Image.new("L", (5, 5)).save(path)
    state(copies / "png")
    refused(copies / "png", "has uint8")
