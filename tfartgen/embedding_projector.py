# SPDX-License-Identifier: Apache-2.0
"""Generated images in TensorBoard's projector: each a point where a student puts it, shown as itself.

The student learns from generated images alone, others than those that are shown: it did not learn by heart where
they belong.

    projector_config.pbtxt    what the projector reads first, so it is written last
    projector/vectors.tsv     features, a row per image
    projector/metadata.tsv    name of the class of each
    projector/sprite.png      the images, row after row
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins import projector
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME

from tfartgen import students
from tfartgen.generated_images import generated_images, tiled
from tfartgen.networks import Generator
from tfartgen.whole_files import write_atomically

#: Pixels a side of the largest sprite that the projector takes.
_LARGEST_SPRITE = 8192

#: Images that the student learns from, for each one shown, and how often it sees them.
_LESSONS, _PASSES = 2, 10

#: Of latents; the grids in the log have 0.
_SHOWN_SEED, _LESSON_SEED = 1, 2


def write_projector(
    directory: pathlib.Path, generator: Generator, class_names: Sequence[str], count: int
) -> None:
    """Draws images, trains a student, and writes what the projector shows.

    Formal guarantee: this is post-processing. The images come from the generator, with latents that are constants; no
    private record is read, so that it costs no epsilon.

    Args:
      directory: of the event files of a run: the projector lists no other.
      generator: whose images are shown, as many of each class.
      class_names: name of each label.
      count: images, at least one; fewer are shown where a sprite has no room for them.

    Raises:
      OSError: no space, or no permission.
    """
    count = min(count, _room(*generator.image_shape[:2]))
    labels = _balanced(count, generator.num_classes)
    images = generated_images(generator, labels, _SHOWN_SEED)
    vectors = students.features(_student(generator, count), images)
    files = directory / "projector"
    files.mkdir(parents=True, exist_ok=True)
    write_atomically(files / "vectors.tsv", _rows(vectors))
    names = [" ".join(class_names[label].split()) for label in labels]  # a tab would end a column
    write_atomically(files / "metadata.tsv", "".join(f"{name}\n" for name in names))
    write_atomically(files / "sprite.png", _sprite(images))
    _write_config(directory, images.shape[1:3])


def _room(height: int, width: int) -> int:
    """Most images of a sprite, which has as many rows as columns."""
    return (_LARGEST_SPRITE // max(height, width)) ** 2


def _balanced(count: int, num_classes: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32) % num_classes


def _student(generator: Generator, count: int) -> tf.keras.Model:
    """A classifier of images of the generator, none of which is shown."""
    labels = _balanced(_LESSONS * count, generator.num_classes)
    images = generated_images(generator, labels, _LESSON_SEED)
    config = students.StudentConfig(architecture="feature_cnn")
    steps = math.ceil(_PASSES * len(images) / config.batch_size)  # fewer images, less time
    config = dataclasses.replace(config, steps=steps)
    return students.train_student(images, labels, generator.num_classes, config)


def _rows(vectors: np.ndarray) -> str:
    return "".join("\t".join(f"{value:.6g}" for value in vector) + "\n" for vector in vectors)


def _sprite(images: np.ndarray) -> bytes:
    """A PNG in colour of all images, in a square of cells."""
    picture = tiled(images, columns=math.ceil(math.sqrt(len(images))))
    colours = np.broadcast_to(picture, (*picture.shape[:2], 3))
    return tf.io.encode_png(colours).numpy()


def _write_config(directory: pathlib.Path, cell: tuple[int, int]) -> None:
    height, width = cell
    config = projector.ProjectorConfig()
    shown = config.embeddings.add()
    shown.tensor_name = "generated images"
    shown.tensor_path = "projector/vectors.tsv"
    shown.metadata_path = "projector/metadata.tsv"
    shown.sprite.image_path = "projector/sprite.png"
    shown.sprite.single_image_dim.extend([width, height])
    write_atomically(directory / PROJECTOR_FILENAME, text_format.MessageToString(config))
