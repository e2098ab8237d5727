# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zipfile

import numpy as np
import pytest
from data_samples import ENOUGH, check_description, make_npz, picture, refused

from tfartgen import data


def test_npz(tmp_path):
    private = data.load(str(make_npz(tmp_path / "mine.npz", ENOUGH)))
    check_description(private)
    assert (private.name, private.image_shape) == ("mine", (8, 8, 1))
    assert private.class_names == ("0", "1")
    assert private.train.num_examples + private.held_out.num_examples == ENOUGH
    assert 20 <= private.held_out.num_examples < 40


def test_npz_without_channels_with_names_and_test_records(tmp_path):
    path = make_npz(
        tmp_path / "mine.npz",
        images=picture(0, 10, 8)[np.newaxis, ..., 0].repeat(4, axis=0),
        labels=np.array([0, 1, 1, 0], np.uint64),
        class_names=np.array(["no", "yes"]),
        test_images=picture(1, 10, 8)[np.newaxis],
        test_labels=np.array([1]),
    )
    private = data.load(path)
    check_description(private)
    assert private.image_shape == (10, 8, 1)
    assert private.class_names == ("no", "yes")
    assert (private.train.num_examples, private.held_out.num_examples) == (4, 1)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"images": None}, "has the arrays labels; images and labels are needed"),
        ({"images": np.zeros((10, 8, 8))}, "images has type float64; scale it to 0 to 255"),
        ({"images": np.full((10, 8, 8), np.nan)}, "images contains NaN"),
        ({"images": np.zeros((10, 64), np.uint8)}, r"images has shape \(10, 64\)"),
        ({"images": np.zeros((10, 8, 8, 2), np.uint8)}, r"images has shape \(10, 8, 8, 2\)"),
        ({"images": np.zeros((10, 8, 0), np.uint8)}, "images have no pixels"),
        ({"images": np.zeros((10, 8, 7), np.uint8)}, "images of 7 x 8 pixels are too small"),
        ({"images": np.zeros((0, 8, 8), np.uint8), "labels": np.zeros(0, int)}, "no records"),
        ({"images": np.array([{}] * 10)}, "images holds pickled Python objects.*never unpickled"),
        ({"labels": np.array(["a"] * 10, object)}, "labels holds pickled Python objects"),
        ({"labels": np.zeros(10)}, "labels must be integers"),
        ({"labels": np.full(10, np.nan)}, "labels must be integers"),
        ({"labels": np.zeros(9, int)}, "images has 10 records and labels has 9"),
        ({"labels": np.zeros(10, int)}, "one class only"),
        ({"labels": np.arange(10) % 2 - 1}, r"labels\[0\] is -1; labels must be 0 to 1"),
        ({"labels": np.arange(10) % 2 * 10**9}, "labels go up to 1000000000 but 1 has no record"),
        ({}, "of 10 records are held out, and fewer than 20 test nothing; add records, or give"),
        (
            {"labels": np.arange(10) % 3, "class_names": np.array(["a", "b"])},
            r"labels\[2\] is 2; labels must be 0 to 1",
        ),
        ({"class_names": np.array(["a", "a"])}, "class_names must be different strings"),
        ({"class_names": np.array([1, 2])}, "class_names must be different strings"),
        ({"test_images": np.zeros((1, 8, 8), np.uint8)}, "only one of test_images and test_labels"),
        (
            {"test_images": np.zeros((1, 9, 9), np.uint8), "test_labels": np.array([0])},
            r"images have shape \(8, 8, 1\) and test_images \(9, 9, 1\)",
        ),
        (
            {"test_images": np.zeros((1, 8, 8), np.uint8), "test_labels": np.array([2])},
            r"test_labels\[0\] is 2",
        ),
    ],
)
def test_bad_npz_is_refused(tmp_path, changes, match):
    path = make_npz(tmp_path / "bad.npz", **changes)
    assert "bad.npz" in refused(match, path) or "too small" in match


def test_file_that_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "bad.npz"
    np.save(tmp_path / "bad.npy", np.zeros(3))
    (tmp_path / "bad.npy").rename(path)
    refused("bad.npz is no .npz", path)


def test_damaged_npz_is_refused(tmp_path):
    path = make_npz(tmp_path / "bad.npz")
    content = bytearray(path.read_bytes())
    content[300:310] = bytes(10 * [content[300] ^ 255])
    path.write_bytes(content)
    refused("bad.npz: images cannot be read", path)


def test_npz_of_other_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("readme.txt", "x")
    refused("has the arrays none", tmp_path / "bad.npz")


def test_a_small_file_of_which_all_is_used_needs_no_split(tmp_path):
    path = make_npz(tmp_path / "few.npz", count=10)
    refused("fewer than 20 test nothing", path)
    private = data.load(path, whole=True)
    assert private.train.num_examples + private.held_out.num_examples == 10
