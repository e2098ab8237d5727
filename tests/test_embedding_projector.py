# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard's projector reads: points, names and pictures of the same images in the same order."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins import projector

from tfartgen import embedding_projector, students
from tfartgen.generated_images import generated_images, tiled
from tfartgen.networks import Generator

NAMES = ("red fox", "owl\tor\nbat", "eel")
COUNT = 7


def make_generator(*image_shape):
    return Generator(image_shape, num_classes=3, latent_dim=4, width=2, seed=0)


def write(folder, generator, count=COUNT):
    """What the student learned from, and the images of which it gave the features."""
    seen = []

    def train(images, labels, *options):
        seen.append(images)
        np.testing.assert_array_equal(labels, np.arange(len(images)) % 3)
        return students.new_student(3, students.StudentConfig(architecture="feature_cnn"))

    def features(student, images):
        seen.append(images)
        return student.features(tf.cast(images, tf.float32)).numpy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(students, "train_student", train)
        patch.setattr(students, "features", features)
        embedding_projector.write_projector(folder, generator, NAMES, count)
    return seen


def sprite(folder):
    return tf.io.decode_png((folder / "projector" / "sprite.png").read_bytes()).numpy()


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 12, 3)])
def test_row_name_and_cell_of_an_image_have_the_same_place(tmp_path, shape):
    _, images = write(tmp_path, make_generator(*shape))
    names = (tmp_path / "projector" / "metadata.tsv").read_text().splitlines()
    assert names == ["red fox", "owl or bat", "eel"] * 2 + ["red fox"]
    vectors = np.loadtxt(tmp_path / "projector" / "vectors.tsv", delimiter="\t")
    assert vectors.shape == (COUNT, 64) and len(np.unique(vectors, axis=0)) == COUNT
    height, width, _ = shape
    picture = sprite(tmp_path)
    assert picture.shape == (3 * height, 3 * width, 3)
    for i, image in enumerate(images):
        top, left = i // 3 * height, i % 3 * width
        cell = picture[top : top + height, left : left + width]
        np.testing.assert_array_equal(cell, np.broadcast_to(image, cell.shape))
    assert not picture[2 * height :, width:].any()  # no image is left for these cells


def test_tensorboard_reads_the_configuration_and_finds_its_files(tmp_path):
    write(tmp_path, make_generator(9, 12, 1))
    text = (tmp_path / "projector_config.pbtxt").read_text()
    [shown] = text_format.Parse(text, projector.ProjectorConfig()).embeddings
    for path in (shown.tensor_path, shown.metadata_path, shown.sprite.image_path):
        assert (tmp_path / path).is_file()
    assert list(shown.sprite.single_image_dim) == [12, 9]  # width first


def test_the_student_learns_from_generated_images_that_are_not_shown(tmp_path):
    generator = make_generator(8, 8, 1)
    lessons, shown = write(tmp_path, generator)
    assert len(lessons) == 2 * COUNT and len(shown) == COUNT
    assert not {image.tobytes() for image in lessons} & {image.tobytes() for image in shown}


def test_a_sprite_stays_within_what_the_projector_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_projector, "_LARGEST_SPRITE", 20)
    write(tmp_path, make_generator(8, 8, 1))
    assert sprite(tmp_path).shape == (16, 16, 3)
    assert len((tmp_path / "projector" / "metadata.tsv").read_text().splitlines()) == 4


def test_images_of_a_seed_are_always_the_same_and_labels_may_be_many():
    generator = make_generator(8, 8, 1)
    labels = np.arange(300) % 3  # more than the generator is given at once
    images = generated_images(generator, labels, seed=1)
    assert images.shape == (300, 8, 8, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, generated_images(generator, labels, seed=1))
    assert np.any(images != generated_images(generator, labels, seed=2))


def test_tiles_stand_in_rows():
    images = np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1)
    np.testing.assert_array_equal(tiled(images, columns=2)[..., 0], [[1, 2], [3, 0]])


def test_the_real_student_separates_classes_that_differ(tmp_path):
    """Classes whose images differ end up apart, without a stand-in for the student."""

    class Stripes(tf.keras.Model):
        image_shape, num_classes, latent_dim = (8, 8, 1), 2, 4

        def call(self, inputs):
            latent, label = inputs
            bright = tf.cast(label[:, None, None, None], tf.float32) * tf.ones([1, 8, 8, 1])
            return bright - 0.5 + 0.05 * latent[:, :1, None, None]

    embedding_projector.write_projector(tmp_path, Stripes(), ("dark", "bright"), 40)
    vectors = np.loadtxt(tmp_path / "projector" / "vectors.tsv", delimiter="\t")
    centres = [vectors[i::2].mean(0) for i in (0, 1)]
    spread = max(vectors[i::2].std(0).max() for i in (0, 1))
    assert np.abs(centres[0] - centres[1]).max() > 3 * spread
