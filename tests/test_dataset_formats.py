# SPDX-License-Identifier: Apache-2.0
"""Every format read back by the libraries that it is written for, and parts on disk."""

from __future__ import annotations

import errno
import io
import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import data, dataset_formats
from tfartgen.artificial import ModelSpec

NUM_EXAMPLES = 40
NAMES = ("cat", "dog", "eel")

#: Cuts of so many examples that some can be held out when they are trained on.
MANY = (0, 170, 300)


def make_spec(channels=3, names=NAMES, name="pets-2"):
    return ModelSpec(name, (9, 13, channels), names, 5, {})


def make_examples(channels=3, count=NUM_EXAMPLES):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 9, 13, channels), np.uint8)
    return images, (np.arange(count) * 7 % 3).astype(np.int32)


def write(format, folder, cuts=(0, 17, 40), spec=None, channels=3):
    """Writes the examples cut at the given positions."""
    images, labels = make_examples(channels, cuts[-1])
    parts = ((images[a:b], labels[a:b]) for a, b in zip(cuts, cuts[1:]))
    folder.mkdir()
    dataset_formats.write(format, parts, len(labels), spec or make_spec(channels), folder)
    return images, labels


@pytest.mark.parametrize("channels", [1, 3])
def test_tfds_reads_its_own_format(tmp_path, channels):
    tfds = pytest.importorskip("tensorflow_datasets")
    images, labels = write("tfds", tmp_path / "out", channels=channels)
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.features["label"].names == list(NAMES)
    assert builder.info.features["image"].shape == (9, 13, channels)
    assert builder.info.splits["train"].num_examples == NUM_EXAMPLES
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    assert set(examples[0]) == {"image", "label"}
    np.testing.assert_array_equal([example["image"] for example in examples], images)
    pairs = builder.as_dataset(split="train", as_supervised=True).as_numpy_iterator()
    np.testing.assert_array_equal([label for _, label in pairs], labels)


def test_tfds_writes_several_shards(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(dataset_formats, "_SHARD_BYTES", 7 * (9 * 13 * 3 + 256))
    images, _ = write("tfds", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.tfrecord*"))) == 6
    builder = tfds.builder_from_directory(tmp_path / "out")
    stream = builder.as_dataset(split="train").as_numpy_iterator()
    np.testing.assert_array_equal([example["image"] for example in stream], images)


@pytest.mark.parametrize("name", ["7up", "größe", "a b"])
def test_any_model_name_makes_a_tfds_name(tmp_path, name):
    tfds = pytest.importorskip("tensorflow_datasets")
    write("tfds", tmp_path / "out", spec=make_spec(name=name))
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.splits["train"].num_examples == NUM_EXAMPLES


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_is_read_by_numpy_and_by_training(tmp_path, channels):
    images, labels = write("npz", tmp_path / "out", MANY, channels=channels)
    assert os.listdir(tmp_path / "out") == ["data.npz"]
    with np.load(tmp_path / "out" / "data.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["images"], images)
        np.testing.assert_array_equal(arrays["labels"], labels)
        assert arrays["labels"].dtype == np.int32
        assert arrays["class_names"].tolist() == list(NAMES)
    read = data.load(tmp_path / "out" / "data.npz")
    assert read.class_names == NAMES and read.image_shape == (9, 13, channels)
    assert read.train.num_examples + read.held_out.num_examples == MANY[-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_folders_are_read_by_keras_and_by_training(tmp_path, channels):
    images, labels = write("png", tmp_path / "out", MANY, channels=channels)
    keras = tf.keras.utils.image_dataset_from_directory(
        tmp_path / "out",
        image_size=(9, 13),
        color_mode="grayscale" if channels == 1 else "rgb",
        shuffle=False,
        batch_size=None,
    )
    assert keras.class_names == list(NAMES)
    order = np.argsort(labels, kind="stable")
    read, read_labels = zip(*keras.as_numpy_iterator())
    np.testing.assert_array_equal(read, images[order])
    np.testing.assert_array_equal(read_labels, labels[order])
    ours = data.load(tmp_path / "out")
    assert ours.class_names == NAMES and ours.image_shape == (9, 13, channels)


@pytest.mark.parametrize("format", dataset_formats.FORMATS)
def test_bytes_do_not_depend_on_parts(tmp_path, format):
    cuts = [(0, 40), (0, 17, 40), (0, 1, 2, 3, 39, 40)]
    contents = []
    for index, cut in enumerate(cuts):
        folder = tmp_path / str(index)
        write(format, folder, cut)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        contents.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(
    "names", [("a", "b/c"), ("a", ".hidden"), ("Cat", "cat"), ("a", "名" * 99)]
)
def test_promise_22_classes_that_are_no_folders_are_refused_as_png(names):
    with pytest.raises(
        ValueError, match="--format=png makes a folder of each class, and .*tfds or npz"
    ):
        dataset_formats.check("png", make_spec(names=names))
    dataset_formats.check("npz", make_spec(names=names))


@pytest.mark.parametrize("format", dataset_formats.FORMATS)
@pytest.mark.parametrize("bad", [{"names": ("a", "/home/ada/b")}, {"name": "a\nb"}])
def test_promise_22_odd_names_are_written_in_no_format(tmp_path, format, bad):
    with pytest.raises(ValueError, match="and it is published; rename"):
        write(format, tmp_path / "out", spec=make_spec(**bad))
    assert not os.listdir(tmp_path / "out")


@pytest.mark.parametrize("name", ["mnist", "celeb_a"])
def test_promise_22_nothing_of_the_real_data_set_is_in_the_artificial_one(tmp_path, name):
    """TFDS knows a data set of that name: its home page, citation, authors and versions must not come along."""
    tfds = pytest.importorskip("tensorflow_datasets")
    write("tfds", tmp_path / "out", spec=make_spec(name=name))
    real = tfds.builder(name, data_dir=str(tmp_path / "none")).info
    info = tfds.builder_from_directory(tmp_path / "out").info
    assert real.homepage.startswith("http") and real.citation  # or there is nothing to be seen
    assert (info.homepage, info.citation, info.download_size) == ("DATASHEET.md", "", 0)
    assert info.description.startswith("Artificial images") and info.module_name == "tfartgen"
    assert not info.config_name and not info.release_notes and not info.redistribution_info.license
    assert info.name == f"artificial_{name}" and info.name not in tfds.list_builders()
    said = str(info) + "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))
    for text in (real.homepage, real.citation, "tensorflow.org", "://", str(real.version)):
        assert text not in said


def test_unknown_format_is_refused():
    with pytest.raises(ValueError, match="format must be one of tfds, npz, png, got 'csv'"):
        dataset_formats.check("csv", make_spec())


def test_npz_is_one_zip_of_plain_arrays(tmp_path):
    write("npz", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "data.npz") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["images.npy", "labels.npy", "class_names.npy"]


def test_errors_of_tensorflow_become_one_line(tmp_path, monkeypatch):
    def fail(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nmore")

    monkeypatch.setitem(dataset_formats._WRITERS, "tfds", fail)
    with pytest.raises(
        OSError, match="^cannot write the data set: No space left on device; make room"
    ):
        write("tfds", tmp_path / "out")


def test_parts_are_read_as_they_were_written(tmp_path):
    images, labels = make_examples()
    path = dataset_formats.part_path(tmp_path, 3)
    dataset_formats.write_part(path, images, labels)
    assert os.listdir(tmp_path) == ["part-00003.npz"]
    read, read_labels = dataset_formats.read_part(path)
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(read_labels, labels)


def test_missing_and_damaged_parts_are_none(tmp_path):
    path = dataset_formats.part_path(tmp_path, 0)
    assert dataset_formats.read_part(path) is None
    dataset_formats.write_part(path, *make_examples())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        assert dataset_formats.read_part(path) is None


def test_part_that_does_not_fit_leaves_nothing(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dataset_formats.np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        dataset_formats.write_part(dataset_formats.part_path(tmp_path, 0), *make_examples())
    assert os.listdir(tmp_path) == []


def test_memory_of_npz_stays_below_its_images(tmp_path):
    """Streams: a part at a time, whatever the number of parts."""
    tracemalloc = pytest.importorskip("tracemalloc")
    part = np.zeros((1000, 9, 13, 3), np.uint8), np.zeros(1000, np.int32)
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    parts = (part for _ in range(100))
    dataset_formats.write("npz", parts, 100_000, make_spec(), tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * part[0].nbytes
    with np.load(io.BytesIO((tmp_path / "out" / "data.npz").read_bytes())) as arrays:
        assert arrays["labels"].shape == (100_000,)
