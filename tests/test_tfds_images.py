# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from data_samples import check_description, refused

from tfartgen import data, tfds_images


@pytest.fixture
def mocked(tmp_path):
    """Loads a TFDS data set whose splits say that they have six records, which are random."""
    tfds = pytest.importorskip("tensorflow_datasets")
    tfds_samples = pytest.importorskip("tfds_samples")  # imports TFDS

    def load(name, splits=("train", "test"), **options):
        tfds_samples.describe(name, tmp_path, dict.fromkeys(splits, 6))
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


def test_images_of_mixed_sizes_need_image_size(mocked):
    with pytest.raises(ValueError, match="--dataset=cats_vs_dogs has images of mixed sizes; give"):
        mocked("cats_vs_dogs", splits=("train", "test"))


def test_images_of_mixed_sizes_are_resized_alike(mocked):
    private = mocked("cats_vs_dogs", splits=("train", "test"), image_size=16)
    assert (private.image_shape, private.class_names) == ((16, 16, 3), ("cat", "dog"))
    assert "from mixed sizes to 16 x 16" in private.notes[0]
