# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import numpy as np
import pytest
from data_samples import ENOUGH, check_description, make_folder, picture, records, refused, save
from PIL import Image

from tfartgen import data


def test_class_folder(tmp_path):
    private = data.load(make_folder(tmp_path / "my pets!"))
    check_description(private)
    assert private.name == "my_pets"
    assert private.class_names == ("cat", "dog")
    assert private.train.num_examples + private.held_out.num_examples == ENOUGH
    assert 20 <= private.held_out.num_examples < 40
    everything = records(private.train) | records(private.held_out)
    half = range(ENOUGH // 2)
    assert everything == {(picture(1000 * c + i).tobytes(), c) for c in (0, 1) for i in half}


def test_class_folder_with_its_own_split(tmp_path):
    make_folder(tmp_path / "train", per_class=3)
    make_folder(tmp_path / "test", per_class=1)
    private = data.load(str(tmp_path))
    assert (private.train.num_examples, private.held_out.num_examples) == (6, 2)
    assert private.class_names == ("cat", "dog")


def test_classes_named_train_and_test_are_classes(tmp_path):
    private = data.load(make_folder(tmp_path, classes=("train", "test")))
    assert private.class_names == ("test", "train")


def test_own_split_with_different_classes_is_refused(tmp_path):
    make_folder(tmp_path / "train", per_class=2)
    make_folder(tmp_path / "test", per_class=2, classes=("cat", "cow"))
    refused("class cow is in only one of train and test", tmp_path)


def test_hidden_files_are_skipped_and_others_noted(tmp_path):
    make_folder(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "cat" / ".DS_Store").write_text("x")
    assert data.load(tmp_path).notes == ()
    (tmp_path / "dog" / "notes.txt").write_text("x")
    private = data.load(tmp_path)
    assert private.num_classes == 2
    assert "1 file" in private.notes[0] and "notes.txt" in private.notes[0]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "jpg", "JPEG"])
def test_colour_files_of_every_format(tmp_path, suffix):
    lossless = {"lossless": True} if suffix == "webp" else {}
    pixels = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    for name in ("train/a/1", "train/b/1", "test/a/1", "test/b/1"):
        save(tmp_path / f"{name}.{suffix}", pixels, **lossless)
    private = data.load(tmp_path)
    assert private.image_shape == (8, 8, 3)
    assert np.abs(private.train.arrays()[0].astype(int) - pixels).max() <= 3


def test_sixteen_bits_transparency_and_black_and_white_are_greyscale(tmp_path):
    make_folder(tmp_path)
    wide = np.full((8, 8), 51 * 257, np.uint16)
    Image.fromarray(wide).save(tmp_path / "cat" / "wide.png")
    Image.fromarray(np.full((8, 8, 2), 52, np.uint8), "LA").save(tmp_path / "cat" / "alpha.png")
    Image.new("1", (8, 8), 1).save(tmp_path / "cat" / "bits.png")
    private = data.load(tmp_path)
    assert private.image_shape == (8, 8, 1)
    everything = records(private.train) | records(private.held_out)
    assert {(bytes([value] * 64), 0) for value in (51, 52, 255)} <= everything
    assert private.notes == ("transparency ignored",)


def test_large_images_are_cropped_resized_and_noted(tmp_path):
    private = data.load(make_folder(tmp_path, height=112, width=92))
    check_description(private)
    assert private.image_shape == (64, 64, 1)
    assert "92 x 112 to 64 x 64" in private.notes[0]


def test_small_rectangles_stay_as_they_are(tmp_path):
    private = data.load(make_folder(tmp_path, height=9, width=12))
    assert private.image_shape == (9, 12, 1)


def test_mixed_sizes_need_image_size(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "dog" / "wide.png", picture(0, 10, 20))
    message = refused("mixed sizes.*--image_size", tmp_path)
    assert "wide.png is 20 x 10" in message and "8 x 8" in message
    private = data.load(tmp_path, image_size=8)
    assert private.image_shape == (8, 8, 1)
    assert "mixed sizes" in private.notes[0]


def test_photographs_are_turned_upright(tmp_path):
    make_folder(tmp_path, height=12, width=10)
    image = Image.fromarray(picture(5, 10, 12)[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "cat" / "turned.png", exif=exif)
    private = data.load(tmp_path)
    assert private.image_shape == (12, 10, 1)
    turned = np.rot90(picture(5, 10, 12), -1)
    assert (turned.tobytes(), 0) in records(private.train) | records(private.held_out)


def test_too_small_images_are_refused(tmp_path):
    folder = make_folder(tmp_path, per_class=2, height=7)
    refused("images of 8 x 7 pixels are too small", folder)


def test_grey_and_colour_together_are_refused(tmp_path):
    make_folder(tmp_path, per_class=5)
    save(tmp_path / "dog" / "colour.png", picture(0, channels=3))
    refused(r"mixes greyscale \(.*/[0-4].png\) and colour \(.*colour.png\)", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_image_is_named(tmp_path, content):
    make_folder(tmp_path, per_class=5)
    broken = tmp_path / "dog" / "3.png"
    if content is None:
        save(broken, picture(0, 8, 8))
        content = broken.read_bytes()[:-40]  # the header is whole, the pixels are not
    broken.write_bytes(content)
    refused(re.escape(str(broken)) + " cannot be read as an image", tmp_path)


def test_empty_folder_is_refused(tmp_path):
    refused("has nothing in it; the folder must have one sub-folder", tmp_path)


def test_folder_without_sub_folders_is_refused(tmp_path):
    save(tmp_path / "1.png", picture(0))
    refused("has no sub-folders in it; the folder must have one sub-folder", tmp_path)


def test_one_class_only_is_refused(tmp_path):
    refused(r"has one class only \(cat\)", make_folder(tmp_path, per_class=2, classes=("cat",)))


def test_empty_class_is_refused(tmp_path):
    make_folder(tmp_path, per_class=2)
    (tmp_path / "emu").mkdir()
    refused("emu has no image in it", tmp_path)
