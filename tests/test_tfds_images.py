# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib

import numpy as np
import pytest
from data_samples import check_description, refused

from tfartgen import data, record_digests, tfds_images


@pytest.fixture(name="mock")
def _mock(tmp_path):
    """Within it TFDS finds a data set whose splits say that they have `claimed` records; they have six, which are random."""
    tfds = pytest.importorskip("tensorflow_datasets")
    tfds_samples = pytest.importorskip("tfds_samples")  # imports TFDS

    @contextlib.contextmanager
    def mock(name, splits=("train", "test"), claimed=6):
        tfds_samples.describe(name, tmp_path, dict.fromkeys(splits, claimed))
        with tfds.testing.mock_data(num_examples=6, data_dir=str(tmp_path)):
            yield str(tmp_path)

    return mock


@pytest.fixture
def mocked(mock):
    """Loads such a data set and checks its description."""

    def load(name, splits=("train", "test"), **options):
        with mock(name, splits) as data_dir:
            private = data.load(name, data_dir=data_dir, **options)
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


@pytest.mark.parametrize("name, image_size", [("mnist", None), ("mnist", 16), ("cats_vs_dogs", 16)])
def test_promise_19_digests_are_of_the_images_as_stored(mock, name, image_size):
    """Whatever size is asked for, and where the images are of mixed sizes, too."""
    with mock(name) as data_dir:
        private = data.load(name, data_dir=data_dir, image_size=image_size)
        source = tfds_images.prepare(name, data_dir, "", "")
        for split, (_, open_stream) in (
            (private.train, source.train),
            (private.held_out, source.held_out),
        ):
            stored = [image for image, _ in open_stream().as_numpy_iterator()]
            assert len(stored) == 6
            np.testing.assert_array_equal(split.digests(), record_digests.digests(stored))


@pytest.mark.parametrize("name, image_size", [("mnist", None), ("mnist", 16), ("cats_vs_dogs", 16)])
@pytest.mark.parametrize("claimed", [5, 7])
def test_promise_19_digests_refuse_a_wrong_number_of_records(mock, name, image_size, claimed):
    with mock(name, claimed=claimed) as data_dir:
        private = data.load(name, data_dir=data_dir, image_size=image_size)
        with pytest.raises(ValueError, match=f"says it has {claimed} records, but 6 could be read"):
            private.train.digests()
