# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from data_samples import (
    ENOUGH,
    check_description,
    make_npz,
    picture,
    records,
    refused,
    save,
)

from tfartgen import data, record_digests

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


# Digests


def mixed(claimed=3, count=3):
    """Records of different sizes, streamed, and said to be so many."""

    def generate():
        yield from ((picture(i, 9 + i, 12), i) for i in range(count))

    spec = tf.TensorSpec([None, None, 1], tf.uint8), tf.TensorSpec([], tf.int32)
    return data.Split(
        claimed, lambda: tf.data.Dataset.from_generator(generate, output_signature=spec)
    )


def in_memory(claimed=3):
    split = data.Split.from_arrays(np.stack([picture(i) for i in range(3)]), np.zeros(3))
    return dataclasses.replace(split, num_examples=claimed)


def streamed(claimed=3):
    return data.Split(claimed, in_memory().stream)


def resized(claimed=3):
    return streamed(claimed).resized(16)


def mixed_and_resized(claimed=3):
    return mixed(claimed).resized(8)


@pytest.mark.parametrize("split", [in_memory, streamed, resized, mixed, mixed_and_resized])
def test_promise_19_digests_are_of_the_pixels_before_any_resizing(split):
    stored = [picture(i, 9 + i, 12) if "mixed" in split.__name__ else picture(i) for i in range(3)]
    np.testing.assert_array_equal(split().digests(), record_digests.digests(stored))


@pytest.mark.parametrize("split", [in_memory, streamed, resized, mixed, mixed_and_resized])
@pytest.mark.parametrize("claimed", [2, 4])
def test_promise_19_digests_refuse_a_wrong_number_of_records(split, claimed):
    with pytest.raises(ValueError, match=f"says it has {claimed} records, but 3 could be read"):
        split(claimed).digests()


def test_digests_are_read_once_and_those_that_are_known_not_at_all():
    opened = []

    def open_stream():
        opened.append(1)
        return in_memory().stream()

    split = data.Split(3, open_stream)
    assert split.digests() is split.digests() is split.resized(16).digests()
    assert len(opened) == 1
    known = np.zeros((3, 16), np.uint8)
    given = data.Split.from_arrays(*in_memory().arrays(), known)
    assert given.digests() is given.resized(16).digests() is known


# Digits


def test_digits():
    private = data.load()
    check_description(private)
    assert (private.name, private.image_shape) == ("digits", (8, 8, 1))
    assert private.class_names == tuple("0123456789")
    assert (private.train.num_examples, private.held_out.num_examples) == (1422, 375)
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


def narrow(seed, height, width):
    """A picture without extremes: what others bring shows in whatever is computed over all."""
    return picture(seed, height, width) // 2 + 60


def test_promise_11_a_record_gives_the_same_tensor_whatever_else_is_in_the_data(tmp_path):
    for folder in ("few", "many"):
        for i in range(ENOUGH):
            save(tmp_path / folder / ("cat", "dog")[i % 2] / f"{i}.png", narrow(i, 40, 70))
    for i in range(12):
        extreme = np.full((40, 70, 1), 255 * (i % 4 > 0), np.uint8)
        save(tmp_path / "many" / "dog" / f"extreme{i}.png", extreme)
    some, more = data.load(tmp_path / "few"), data.load(tmp_path / "many")
    assert some.image_shape == more.image_shape == (40, 40, 1)
    assert len(records(some.train) | records(some.held_out)) == ENOUGH
    assert records(some.train) <= records(more.train)
    assert records(some.held_out) <= records(more.held_out)


def test_promise_11_holds_for_arrays_and_for_scaling(tmp_path):
    few = np.stack([narrow(i, 70, 66) for i in range(ENOUGH)])
    extremes = np.full((8, 70, 66, 1), 255, np.uint8)
    extremes[0] = 0
    many = np.concatenate([few, extremes])
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
    assert len(some) == ENOUGH and some <= more


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
    counts = sum(
        np.bincount(s.arrays()[1], minlength=40) for s in (private.train, private.held_out)
    )
    np.testing.assert_array_equal(counts, [10] * 40)
    assert (private.train.num_examples, private.held_out.num_examples) == (330, 70)
    overlap = records(private.train) & records(private.held_out)
    assert not overlap
