# SPDX-License-Identifier: Apache-2.0
"""Starting from what was learned from public data: the weights of a released generator, or of another run.

Whether that data is public is the owner's word, and the privacy statement says so.
"""

from __future__ import annotations

import os
import pathlib
from typing import Callable, Union

import tensorflow as tf

from tfartgen.gan import ArtGAN
from tfartgen.papers import sha256
from tfartgen.released_models import find_version


def describe(path: Union[str, os.PathLike[str]]) -> str:
    """A line for the privacy statement that names a public model, without its path, and the digest of its weights.

    Args:
      path: a version of a SavedModel, the folder of its versions (the newest counts), or the folder of a run.

    Raises:
      ValueError: there is no model; the message names `--init_from`.
    """
    folder, prefix, _ = _find(path)
    name = "/".join(folder.resolve().parts[-2:])
    return f"initial weights of {name} (sha256 {_digest(prefix)}), by the owner's word from public data alone"


def start_from(gan: ArtGAN, path: Union[str, os.PathLike[str]]) -> None:
    """Gives the networks of a GAN the weights of a public model.

    Args:
      gan: of the same shapes; its generator and moving average are set, and from a run its critic too.
      path: as in `describe`.

    Raises:
      ValueError: there is no model, or it is of another shape; the message names `--init_from`.
    """
    _, prefix, read = _find(path)
    try:
        read(gan, prefix)
    except (ValueError, KeyError, AssertionError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--init_from={path} does not fit this run ({reason}); give a model of the same image size, number of "
            "classes and widths, or repeat its --generator_width, --critic_width and --latent_dim"
        ) from None


def _find(
    path: Union[str, os.PathLike[str]],
) -> tuple[pathlib.Path, str, Callable[[ArtGAN, str], None]]:
    """Folder, prefix of the weights' files, and how to read them."""
    folder, read = pathlib.Path(path), _read_run
    if (folder / "checkpoints").is_dir():
        prefix = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    else:
        folder, read = find_version(folder, flag="--init_from"), _read_saved_model
        prefix = str(folder / "variables" / "variables")
    if prefix is None or not pathlib.Path(f"{prefix}.index").is_file():
        raise ValueError(
            f"--init_from={path} holds no model; give a version of a SavedModel or the folder of a run"
        )
    return folder, prefix, read


def _read_saved_model(gan: ArtGAN, prefix: str) -> None:
    reader = tf.train.load_checkpoint(prefix)
    weights = [
        reader.get_tensor(f"generator_weights/{number}/.ATTRIBUTES/VARIABLE_VALUE")
        for number in range(len(gan.average.weights))
    ]
    gan.generator.set_weights(weights)
    gan.average.set_weights(weights)


def _read_run(gan: ArtGAN, prefix: str) -> None:
    checkpoint = tf.train.Checkpoint(average=gan.average, critic=gan.critic)
    status = checkpoint.restore(prefix)
    status.expect_partial()
    status.assert_existing_objects_matched()
    gan.generator.set_weights(gan.average.get_weights())


def _digest(prefix: str) -> str:
    """SHA-256 of the weights' file, or of its parts in order of their names."""
    folder, name = os.path.split(prefix)
    return "+".join(map(sha256, sorted(pathlib.Path(folder).glob(f"{name}.data-*"))))
