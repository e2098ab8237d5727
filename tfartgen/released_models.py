# SPDX-License-Identifier: Apache-2.0
"""Released generators, and what they say about themselves."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Optional, Protocol, Union

import numpy as np


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a released generator says about itself.

    Attributes:
      name: of the model.
      image_shape: `(height, width, channels)`.
      class_names: name of each label, in the order of the labels.
      latent_dim: length of the latent.
      privacy: the privacy statement that was released with it.
      version: the released version, where it is known.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    latent_dim: int
    privacy: dict[str, Any] = dataclasses.field(hash=False)
    version: Optional[int] = None

    @classmethod
    def from_json(
        cls, model: Mapping[str, Any], privacy: Mapping[str, Any], version: Optional[int] = None
    ) -> ModelSpec:
        """From the contents of `model.json` and `privacy.json`.

        Raises:
          ValueError: they are not what `release.export_generator` writes.
        """
        try:
            height, width, channels = (int(n) for n in model["image_shape"])
            names = tuple(str(name) for name in model["class_names"])
            return cls(
                name=str(model["name"]),
                image_shape=(height, width, channels),
                class_names=names,
                latent_dim=int(model["latent_dim"]),
                privacy=dict(privacy),
                version=version,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the generator's description is damaged ({error!r})") from None

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 to one less."""
        return len(self.class_names)


class GeneratorModel(Protocol):
    """A released generator, wherever it runs."""

    spec: ModelSpec

    def draw(self, labels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Draws images; row i depends on `labels[i]` and `seeds[i]` only.

        Args:
          labels: int32 `[n]`.
          seeds: int64 `[n]`.

        Returns:
          uint8 `[n, height, width, channels]`.
        """


class LocalModel:
    """A generator from a SavedModel on this machine; a `GeneratorModel`."""

    def __init__(self, path: Union[str, os.PathLike[str]], version: Optional[int] = None):
        """Loads the SavedModel.

        Args:
          path: a folder of versions, or one version.
          version: which one of a folder of versions; the latest if None.

        Raises:
          ValueError: there is no such version, no SavedModel, or one that `bin/train` did not write.
        """
        self.path = find_version(path, version)
        self.spec = _read_spec(self.path)
        self._loaded = _load(self.path)
        self._draw_images = _images_only(self._loaded.signatures["seeded"])

    def draw(self, labels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """See `GeneratorModel.draw`."""
        import tensorflow as tf

        label, seed = tf.constant(labels, tf.int32), tf.constant(seeds, tf.int64)
        return self._draw_images(label, seed).numpy()


def find_version(
    path: Union[str, os.PathLike[str]], version: Optional[int] = None, flag: str = "--model"
) -> pathlib.Path:
    """The folder of one version of a generator.

    Args:
      path: a folder of versions, or one version.
      version: which one; the latest if None.
      flag: that gave the path, for messages.

    Raises:
      ValueError: there is none, or not that one.
    """
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{flag}={path} is no folder; give a generator that bin/train wrote")
    if (folder / "saved_model.pb").is_file():
        if version is not None and folder.resolve().name != str(version):
            raise ValueError(
                f"--version={version} is not the version that {flag}={path} names; give the folder of versions"
            )
        return folder
    versions = sorted(
        int(entry.name)
        for entry in folder.iterdir()
        if entry.name.isdecimal() and (entry / "saved_model.pb").is_file()
    )
    if not versions:
        raise ValueError(
            f"{flag}={path} holds no SavedModel; give a generator that bin/train wrote, such as saved_models/digits"
        )
    if version is not None and version not in versions:
        there = ", ".join(map(str, versions))
        raise ValueError(
            f"--version={version} is not in {path}, which has {there}; give one of them"
        )
    return folder / str(versions[-1] if version is None else version)


def _read_spec(folder: pathlib.Path) -> ModelSpec:
    version = folder.resolve().name
    try:
        model, privacy = (
            json.loads((folder / "assets.extra" / name).read_text(encoding="utf-8"))
            for name in ("model.json", "privacy.json")
        )
        return ModelSpec.from_json(model, privacy, int(version) if version.isdecimal() else None)
    except FileNotFoundError as error:
        raise ValueError(
            _foreign(folder, f"it has no {os.path.basename(error.filename)}")
        ) from None
    except ValueError as error:
        raise ValueError(_foreign(folder, str(error))) from None


def _load(folder: pathlib.Path) -> Any:
    """The loaded SavedModel, without which its signatures lose their weights."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # protobuf, checkpoint and graph errors, whatever the damage is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--model={folder} cannot be loaded ({reason}); restore it") from error
    if "seeded" not in loaded.signatures:
        raise ValueError(_foreign(folder, "it has no signature seeded"))
    return loaded


def _images_only(seeded: Any) -> Any:
    """The signature `seeded` without its PNGs, which cost a tenth of a small generator."""
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)],
        autograph=False,
    )
    def draw(label: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return seeded(label=label, seed=seed)["image"]

    return draw


def _foreign(folder: pathlib.Path, why: str) -> str:
    return f"--model={folder} is no SavedModel of this program: {why}; give a generator that bin/train wrote"
