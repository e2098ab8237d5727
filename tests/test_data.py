# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from data_samples import check_description, make_folder, make_npz, picture, records, refused, save

from tfartgen import data

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


# Scaling


def test_to_float_and_back_is_the_identity_on_every_pixel_value():
    pixels = np.arange(256, dtype=np.uint8)
    floats = data.to_float(tf.constant(pixels))
    assert floats.dtype == tf.float32
    np.testing.assert_allclose(floats.numpy()[[0, 255]], [-1, 1])
    np.testing.assert_array_equal(data.to_uint8(floats), pixels)


def test_to_uint8_clips_and_rounds():
    floats = tf.constant([-7.0, -1.0, 0.001, 1.0, 7.0])
    np.testing.assert_array_equal(data.to_uint8(floats), [0, 0, 128, 255, 255])


def test_scaling_works_inside_a_pipeline():
    stream = tf.data.Dataset.from_tensors(tf.constant([0, 128], tf.uint8))
    (back,) = stream.map(data.to_float).map(data.to_uint8).as_numpy_iterator()
    np.testing.assert_array_equal(back, [0, 128])


# Splits


def test_split_by_class_holds_out_a_fifth_of_every_class():
    labels = np.repeat([0, 1, 2], [10, 5, 2])
    train, held_out = data.split_by_class(labels, [str(i) for i in range(17)])
    assert sorted([*train, *held_out]) == list(range(17))
    np.testing.assert_array_equal(np.bincount(labels[held_out]), [2, 1, 1])


def test_split_by_class_follows_the_keys_and_not_the_order():
    keys = [f"k{i}" for i in range(20)]
    labels = np.arange(20) % 2
    turned = np.arange(20)[::-1]
    _, held_out = data.split_by_class(labels, keys)
    _, held_out_turned = data.split_by_class(labels[turned], [keys[i] for i in turned])
    assert [keys[i] for i in held_out] == [keys[turned[i]] for i in held_out_turned]


def test_arrays_are_read_once():
    opened = []

    def open_stream():
        opened.append(1)
        return tf.data.Dataset.from_tensor_slices(
            (np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3, np.int32))
        )

    split = data.Split(3, open_stream)
    assert split.arrays() is split.arrays()
    assert len(opened) == 1


@pytest.mark.parametrize("claimed", [2, 4])
def test_wrong_number_of_records_is_refused(claimed):
    split = data.Split.from_arrays(np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3))
    with pytest.raises(ValueError, match=f"says it has {claimed} records, but 3"):
        data.Split(claimed, split.stream).arrays()


# Digits


def test_digits():
    private = data.load()
    check_description(private)
    assert (private.name, private.image_shape) == ("digits", (8, 8, 1))
    assert private.class_names == tuple("0123456789")
    assert private.train.num_examples + private.held_out.num_examples == 1797
    assert 0.19 < private.held_out.num_examples / 1797 < 0.21
    images, _ = private.train.arrays()
    assert (images.min(), images.max()) == (0, 255)
    assert private.notes == ()


def test_digits_are_split_the_same_way_every_time():
    np.testing.assert_array_equal(
        data.load("digits").held_out.arrays()[0], data.load("digits").held_out.arrays()[0]
    )


def test_image_size_resizes_digits_and_says_so():
    private = data.load("digits", image_size=16)
    assert private.image_shape == (16, 16, 1)
    assert private.held_out.arrays()[0].shape[1:] == (16, 16, 1)
    assert private.held_out.stream().element_spec[0].shape == (16, 16, 1)
    assert "from 8 x 8 to 16 x 16" in private.notes[0]


# Names and paths


def test_unknown_name_lists_what_can_be_given():
    message = refused(
        "--dataset=nonesuch is neither a known data set nor an existing path", "nonesuch"
    )
    for form in (*data.KNOWN_NAMES, "sub-folder", ".npz"):
        assert form in message


@pytest.mark.parametrize("dataset", ["", "missing/path/to/images", "/missing", "./mnist"])
def test_missing_path_is_refused(dataset):
    refused("is neither a known data set nor an existing path", dataset)


def test_missing_npz_is_refused(tmp_path):
    refused("missing.npz does not exist", tmp_path / "missing.npz")


def test_other_file_is_refused(tmp_path):
    (tmp_path / "images.csv").write_text("x")
    refused("images.csv is a file, but no .npz", tmp_path / "images.csv")


# What a record becomes


def test_promise_11_a_record_gives_the_same_tensor_whatever_else_is_in_the_data(tmp_path):
    few = make_folder(tmp_path / "few", per_class=4, height=40, width=70)
    many = make_folder(tmp_path / "many", per_class=4, height=40, width=70)
    for i in range(12):
        extreme = np.full((40, 70, 1), 255 * (i % 2), np.uint8)
        save(many / "dog" / f"extreme{i}.png", extreme)
    some, more = data.load(few), data.load(many)
    assert some.image_shape == more.image_shape == (40, 40, 1)
    subset = records(some.train) | records(some.held_out)
    assert len(subset) == 8
    assert subset <= records(more.train) | records(more.held_out)


def test_promise_11_holds_for_arrays_and_for_scaling(tmp_path):
    few = np.stack([picture(i, 70, 66) for i in range(4)])
    many = np.concatenate([few, np.full((8, 70, 66, 1), 255, np.uint8)])
    loaded = [
        data.load(make_npz(tmp_path / f"{len(x)}.npz", images=x, labels=np.arange(len(x)) % 2))
        for x in (few, many)
    ]
    some, more = (
        {
            data.to_float(image).numpy().tobytes()
            for s in (p.train, p.held_out)
            for image in s.arrays()[0]
        }
        for p in loaded
    )
    assert len(some) == 4 and some <= more


# Real data


def test_real_mnist():
    folder = SHARED / "tensorflow_datasets"
    if not (folder / "mnist").is_dir():
        pytest.skip(f"MNIST is not in {folder}")
    private = data.load("mnist", data_dir=str(folder))
    assert (private.train.num_examples, private.held_out.num_examples) == (60000, 10000)
    images, labels = private.held_out.arrays()
    assert images.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(
        np.bincount(labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    first = next(iter(private.held_out.stream().batch(100)))
    np.testing.assert_array_equal(first[0], images[:100])


def test_real_faces():
    folder = SHARED / "orl_faces"
    if not folder.is_dir():
        pytest.skip(f"the ORL faces are not in {folder}")
    private = data.load(folder)
    assert (private.name, private.num_classes) == ("orl_faces", 40)
    for split, count in ((private.train, 8), (private.held_out, 2)):
        np.testing.assert_array_equal(np.bincount(split.arrays()[1]), [count] * 40)
    overlap = records(private.train) & records(private.held_out)
    assert not overlap
