# SPDX-License-Identifier: Apache-2.0
"""Starting from what was learned from public data: the weights of a released generator, or of another run.

Whether that data is public is the owner's word, and the privacy statement says so.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any, Optional, Union

import tensorflow as tf

from tfartgen.gan import ArtGAN
from tfartgen.ledger import Ledger
from tfartgen.papers import sha256
from tfartgen.released_models import find_version


@dataclasses.dataclass(frozen=True)
class Source:
    """A model to start from.

    Attributes:
      path: as it was given.
      folder: of the version or the run.
      digest: SHA-256 of its weights.
      run_dir: the folder, if it is a run's.
    """

    path: str
    folder: pathlib.Path
    digest: str
    run_dir: Optional[pathlib.Path]
    _prefix: str

    @property
    def described(self) -> str:
        """A line for the privacy statement: the digest, and nothing of where the model lies or what its folder is called."""
        return f"initial weights of a model (sha256 {self.digest}), by the owner's word from public data alone"

    @property
    def dataset(self) -> Optional[str]:
        """Name of the data set that it says it was trained on."""
        if self.run_dir is not None:
            return _read_json(self.run_dir / "config.json").get("dataset")
        return _read_json(self.folder / "assets.extra" / "model.json").get("name")

    def spent(self) -> tuple[dict[str, Any], ...]:
        """What its training has spent on whatever records, each `version` and `mechanism` as in statements."""
        if self.run_dir is not None:
            path = self.run_dir / "ledger.jsonl"
            ledger = Ledger.read(path) if path.exists() else Ledger()
            steps = [stretch.as_json() for stretch in ledger.stretches]
            return ({"version": ledger.version, "mechanism": steps},) if steps else ()
        stated = _read_json(self.folder / "assets.extra" / "privacy.json")
        if not stated:
            return ()
        earlier = stated.get("earlier_releases", {}).get("releases", [])
        return tuple(
            {"version": each["version"], "mechanism": each["mechanism"]}
            for each in (stated, *earlier)
        )

    def start(self, gan: ArtGAN) -> None:
        """Gives the networks of a GAN its weights.

        Args:
          gan: of the same shapes; its generator and moving average are set, and from a run its critic too.

        Raises:
          ValueError: the model is of another shape; the message names `--init_from`.
        """
        read = _read_saved_model if self.run_dir is None else _read_run
        try:
            read(gan, self._prefix)
        except (ValueError, KeyError, AssertionError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"--init_from={self.path} does not fit this run ({reason}); give a model of the same image size, number of "
                "classes and widths, or repeat its --generator_width, --critic_width and --latent_dim"
            ) from None


def find(path: Union[str, os.PathLike[str]]) -> Source:
    """A model to start from.

    Args:
      path: a version of a SavedModel, the folder of its versions (the newest counts), or the folder of a run.

    Raises:
      ValueError: there is no model; the message names `--init_from`.
    """
    folder, run_dir = pathlib.Path(path), None
    if (folder / "checkpoints").is_dir():
        prefix, run_dir = tf.train.latest_checkpoint(str(folder / "checkpoints")), folder
    else:
        folder = find_version(folder, flag="--init_from")
        prefix = _variables_of(folder)
    if prefix is None or not pathlib.Path(f"{prefix}.index").is_file():
        raise ValueError(
            f"--init_from={path} holds no model; give a version of a SavedModel or the folder of a run"
        )
    return Source(os.fspath(path), folder, _digest(prefix), run_dir, prefix)


def digest_of(version: pathlib.Path) -> str:
    """SHA-256 of the weights of an exported version, as in `Source.digest`."""
    return _digest(_variables_of(version))


def _variables_of(version: pathlib.Path) -> str:
    return str(version / "variables" / "variables")


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    """A model's or a run's own description; nothing where there is none.

    Raises:
      ValueError: it is damaged.
    """
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"--init_from: {path} is damaged ({error}); restore it") from None


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
