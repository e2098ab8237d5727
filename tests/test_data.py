# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pathlib
import re
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfartgen import data, tfds_images
from tfartgen.image_size import crop_and_resize

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
SIDE = 8


def picture(seed: int, height: int = SIDE, width: int = SIDE, channels: int = 1) -> np.ndarray:
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, channels))
    return pixels.astype(np.uint8)


def save(path: pathlib.Path, pixels: np.ndarray, **options) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **options)
    return path


def make_folder(root: pathlib.Path, per_class: int = 5, classes=("cat", "dog"), **size):
    for label, name in enumerate(classes):
        for i in range(per_class):
            save(root / name / f"{i}.png", picture(100 * label + i, **size))
    return root


def make_npz(path: pathlib.Path, **changes) -> pathlib.Path:
    arrays = {
        "images": np.stack([picture(i) for i in range(10)]),
        "labels": np.arange(10) % 2,
        **changes,
    }
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def refused(match: str, dataset, **options) -> str:
    """The message, one line, of the ValueError that loading must raise."""
    with pytest.raises(ValueError, match=match) as caught:
        data.load(dataset, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_description(private: data.PrivateData) -> None:
    """What holds for every source: arrays and stream agree with the description, and with each other."""
    for split in (private.train, private.held_out):
        images, labels = split.arrays()
        assert images.shape == (split.num_examples, *private.image_shape)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert labels.shape == (split.num_examples,)
        assert set(labels) <= set(range(private.num_classes))
        assert split.stream().element_spec == (
            tf.TensorSpec(private.image_shape, tf.uint8),
            tf.TensorSpec([], tf.int32),
        )
        streamed = list(split.stream().as_numpy_iterator())
        np.testing.assert_array_equal(np.stack([image for image, _ in streamed]), images)
        np.testing.assert_array_equal([label for _, label in streamed], labels)


def records(split: data.Split) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(*split.arrays())}


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


@pytest.mark.parametrize("image_size", [7, 65, 0, -8, 8.5, float("nan"), True, "16"])
def test_image_size_out_of_range_is_refused(image_size):
    refused(f"--image_size must be .* 8 to 64, got {image_size!r}", "digits", image_size=image_size)


# Resizing


def test_crop_takes_the_centre():
    image = np.zeros((8, 12, 1), np.uint8)
    image[:, 2:10] = 200
    np.testing.assert_array_equal(crop_and_resize(image, 8), np.full((8, 8, 1), 200))


def test_resize_averages_instead_of_skipping():
    chequered = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., np.newaxis]
    centre = crop_and_resize(chequered, 8).numpy()[1:-1, 1:-1].astype(int)
    assert np.abs(centre - 127.5).max() < 3


def test_resize_to_the_same_size_changes_nothing():
    image = picture(0, 16, 16, 3)
    np.testing.assert_array_equal(crop_and_resize(image, 16), image)


# Class folders


def test_class_folder(tmp_path):
    private = data.load(make_folder(tmp_path / "my pets!"))
    check_description(private)
    assert private.name == "my_pets"
    assert private.class_names == ("cat", "dog")
    assert (private.train.num_examples, private.held_out.num_examples) == (8, 2)
    everything = records(private.train) | records(private.held_out)
    assert everything == {(picture(100 * c + i).tobytes(), c) for c in (0, 1) for i in range(5)}


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
    make_folder(tmp_path / "train")
    make_folder(tmp_path / "test", classes=("cat", "cow"))
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
    for name in ("a/1", "a/2", "b/1", "b/2"):
        save(tmp_path / f"{name}.{suffix}", pixels, **lossless)
    private = data.load(tmp_path)
    assert private.image_shape == (8, 8, 3)
    assert np.abs(private.train.arrays()[0].astype(int) - pixels).max() <= 3


def test_sixteen_bits_transparency_and_black_and_white_are_greyscale(tmp_path):
    make_folder(tmp_path, per_class=2)
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
    private = data.load(make_folder(tmp_path, per_class=2, height=112, width=92))
    check_description(private)
    assert private.image_shape == (64, 64, 1)
    assert "92 x 112 to 64 x 64" in private.notes[0]


def test_small_rectangles_stay_as_they_are(tmp_path):
    private = data.load(make_folder(tmp_path, per_class=2, height=9, width=12))
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
    make_folder(tmp_path, per_class=2, height=12, width=10)
    image = Image.fromarray(picture(5, 10, 12)[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "cat" / "turned.png", exif=exif)
    private = data.load(tmp_path)
    assert private.image_shape == (12, 10, 1)
    turned = np.rot90(picture(5, 10, 12), -1)
    assert (turned.tobytes(), 0) in records(private.train) | records(private.held_out)


def test_too_small_images_are_refused(tmp_path):
    refused("images of 8 x 7 pixels are too small", make_folder(tmp_path, height=7))


def test_grey_and_colour_together_are_refused(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "dog" / "colour.png", picture(0, channels=3))
    refused(r"mixes greyscale \(.*[0-4].png\) and colour \(.*colour.png\)", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_image_is_named(tmp_path, content):
    make_folder(tmp_path)
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
    refused(r"has one class only \(cat\)", make_folder(tmp_path, classes=("cat",)))


def test_empty_class_is_refused(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "emu").mkdir()
    refused("emu has no image in it", tmp_path)


def test_class_with_one_image_is_refused(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "emu" / "1.png", picture(0))
    refused("class emu has one record only", tmp_path)


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


# npz


def test_npz(tmp_path):
    private = data.load(str(make_npz(tmp_path / "mine.npz")))
    check_description(private)
    assert (private.name, private.image_shape) == ("mine", (8, 8, 1))
    assert private.class_names == ("0", "1")
    assert (private.train.num_examples, private.held_out.num_examples) == (8, 2)


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
        ({"labels": np.arange(10) // 9}, "class 1 has one record only"),
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


# TFDS


@pytest.fixture
def mocked(tmp_path):
    """Loads a TFDS data set whose splits say that they have six records, which are random."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def load(name, splits=("train", "test"), **options):
        folder = pathlib.Path(tfds.builder(name, data_dir=str(tmp_path)).data_path)
        folder.mkdir(parents=True)
        info = {
            "name": name,
            "version": folder.name,
            "fileFormat": "tfrecord",
            "splits": [{"name": s, "shardLengths": ["6"], "numBytes": "1"} for s in splits],
        }
        (folder / "dataset_info.json").write_text(json.dumps(info))
        with tfds.testing.mock_data(num_examples=6, data_dir=str(tmp_path)):
            private = data.load(name, data_dir=str(tmp_path), **options)
            check_description(private)
            return private

    return load


def test_mnist_schema(mocked):
    private = mocked("mnist")
    assert (private.image_shape, private.num_classes) == ((28, 28, 1), 10)


def test_svhn_schema(mocked):
    private = mocked("svhn_cropped", splits=("train", "test", "extra"))
    assert (private.name, private.image_shape) == ("svhn_cropped", (32, 32, 3))
    assert private.class_names == tuple("0123456789")
    assert (private.train.num_examples, private.held_out.num_examples) == (6, 6)
    assert private.notes == ()


def test_celeb_a_schema(mocked):
    private = mocked("celeb_a", splits=("train", "validation", "test"), attribute="Eyeglasses")
    assert private.image_shape == (64, 64, 3)
    assert private.class_names == ("not_Eyeglasses", "Eyeglasses")
    assert "178 x 218 to 64 x 64" in private.notes[0]


def test_celeb_a_smiles_by_default(mocked):
    private = mocked("celeb_a", splits=("train", "test"), image_size=32)
    assert private.image_shape == (32, 32, 3)
    assert private.class_names == ("not_Smiling", "Smiling")


def test_unknown_attribute_is_refused():
    message = refused(
        "--attribute=Grinning is no attribute of celeb_a", "celeb_a", attribute="Grinning"
    )
    assert "Smiling" in message


def test_validation_split_stands_in_for_test(mocked):
    assert mocked("mnist", splits=("train", "validation")).held_out.num_examples == 6


def test_data_set_without_test_split_is_refused(mocked):
    with pytest.raises(ValueError, match="has the splits train; train and test are needed"):
        mocked("mnist", splits=("train",))


def test_data_set_of_other_things_is_refused():
    refused("--dataset=imdb_reviews has no features `image` and `label`", "imdb_reviews")


def test_unknown_configuration_is_refused():
    refused("--dataset=emnist/nix: TFDS cannot open it", "emnist/nix")


def test_no_network_names_data_dir(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_images, "_is_offline", lambda: True)
    message = refused(
        r"cannot be downloaded \(no network\)", "fashion_mnist", data_dir=str(tmp_path)
    )
    assert "--data_dir" in message and str(tmp_path) in message


def test_failed_download_names_data_dir(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def fail(self):
        raise ConnectionError("quota\nexceeded")

    monkeypatch.setattr(tfds_images, "_is_offline", lambda: False)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    refused(r"downloaded \(quota\); give --data_dir", "fashion_mnist", data_dir=str(tmp_path))


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
