# SPDX-License-Identifier: Apache-2.0
"""Classifiers that somebody else trained, on file, as targets of an attack."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfartgen.image_size import sides

#: Pixels that a model may expect, and what makes them of pixels in [-1, 1].
SCALES = {
    "-1..1": lambda images: images,
    "0..1": lambda images: (images + 1.0) / 2.0,
    "0..255": lambda images: (images + 1.0) * 127.5,
}

#: By which the outputs of one image may miss a sum of one, to be taken for probabilities.
_ROUNDING = 1e-3


class GivenTarget(tf.keras.Model):
    """A model of images in [-1, 1] to logits, whatever pixels and outputs the model on file has."""

    def __init__(self, model: Any, scale: str, gives_probabilities: bool):
        """Wraps a model."""
        super().__init__(name="given")
        self._model, self._to_pixels = model, SCALES[scale]
        self._gives_probabilities = gives_probabilities

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[batch, height, width, channels]` in [-1, 1] to logits `[batch, num_classes]`."""
        del training  # always tested, never trained
        outputs = self._model(self._to_pixels(inputs))
        return tf.math.log(outputs + 1e-12) if self._gives_probabilities else outputs


def load(
    path: str, image_shape: Sequence[int], num_classes: int, scale: str = "-1..1"
) -> tuple[GivenTarget, str]:
    """Reads a Keras model, or a SavedModel with a signature of one input and one output.

    Args:
      path: a `.keras` or `.h5` file, or the folder of a SavedModel.
      image_shape: `(height, width, channels)` of the data.
      num_classes: of the data.
      scale: one of `SCALES`.

    Returns:
      The target, and a digest of its files.

    Raises:
      ValueError: there is no model, or no classifier of such images and so many classes.
    """
    where = f"--target_model={path}"
    function = _read(where, path)
    probe = (tf.random.stateless_uniform([3, *image_shape], [0, 0]) - 0.5) * 2
    try:
        outputs = function(SCALES[scale](probe))
    except (ValueError, TypeError, tf.errors.OpError):
        raise ValueError(
            f"{where} does not take images of {sides(image_shape)}, which --dataset has; give the data that it classifies, with "
            "its --image_size"
        ) from None
    if getattr(outputs, "shape", None) != (3, num_classes):
        raise ValueError(
            f"{where} is no classifier of the {num_classes} classes of --dataset: for 3 images it gives "
            f"{_described(outputs)}, not 3 x {num_classes} numbers"
        )
    sums = tf.reduce_sum(outputs, axis=1)
    adds_up = bool(tf.reduce_all(abs(sums - 1) < _ROUNDING) & tf.reduce_all(outputs >= 0))
    return GivenTarget(function, scale, adds_up), _digest(pathlib.Path(path))


def _read(where: str, path: str) -> Any:
    if not pathlib.Path(path).exists():
        raise ValueError(f"{where} does not exist; give a .keras or .h5 file, or a SavedModel")
    try:
        model = _loaded(path)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(
            f"{where} is no model that can be read ({reason}); give a .keras or .h5 file, or a SavedModel"
        ) from None
    if isinstance(model, tf.keras.Model):
        return lambda images: model(images, training=False)
    for key, signature in getattr(model, "signatures", {}).items():
        inputs = signature.structured_input_signature[1]
        if len(inputs) == 1 and len(signature.structured_outputs) == 1:
            return _called(model, key, *inputs)
    raise ValueError(
        f"{where} is no classifier: none of its signatures takes images alone and gives one output"
    )


def _loaded(path: str) -> Any:
    """A Keras model; what a SavedModel holds, where Keras did not write it."""
    try:
        return tf.keras.models.load_model(path, compile=False)
    except ValueError:
        if not tf.saved_model.contains_saved_model(path):
            raise
        return tf.saved_model.load(path)


def _called(model: Any, key: str, name: str) -> Any:
    """A signature as a function of images alone; it checks their shape, which a signature does not."""
    shape = model.signatures[key].structured_input_signature[1][name].shape

    def call(images: tf.Tensor) -> tf.Tensor:
        if not shape.is_compatible_with(images.shape):
            raise ValueError(f"{name} must be {shape}, got {images.shape}")
        # The variables live as long as the model, to which a signature holds no reference.
        (outputs,) = model.signatures[key](**{name: images}).values()
        return outputs

    return call


def _described(outputs: Any) -> str:
    shape = getattr(outputs, "shape", None)
    return "something else" if shape is None else f"{sides(shape)} numbers"


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
