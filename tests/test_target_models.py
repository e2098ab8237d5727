# SPDX-License-Identifier: Apache-2.0
"""Classifiers on file give the same logits whatever their format, pixels and outputs; what is none is refused."""

from __future__ import annotations

import gc
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import target_models

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPE = (6, 5, 1)
#: Layers before the model, which make its pixels [-1, 1] again.
RESCALING = {"-1..1": (1.0, 0.0), "0..1": (2.0, -1.0), "0..255": (1 / 127.5, -1.0)}


class Module(tf.Module):
    """A classifier behind a signature: for Keras no model, whether it holds one or only weights."""

    def __init__(self, model, weights_only):
        super().__init__()
        self._owned = [tf.Variable(weight) for weight in model.get_weights()]
        self._model = None if weights_only else model
        # The graph reads the variables of this module, or of the model.
        self._classify = self._linear if weights_only else model

    def _linear(self, pictures):
        kernel, bias = self._owned
        return tf.matmul(tf.reshape(pictures, [-1, kernel.shape[0]]), kernel) + bias

    def save(self, path):
        @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.float32, name="pictures")])
        def classify(pictures):
            return {"scores": self._classify(pictures)}

        tf.saved_model.save(self, path, signatures={"classify": classify})


@pytest.fixture(name="base", scope="module")
def _base():
    """A small classifier of images in [-1, 1] to the logits of three classes."""
    tf.keras.utils.set_random_seed(1)
    layers = [tf.keras.Input(SHAPE), tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)]
    return tf.keras.Sequential(layers)


def variant(base, scale="-1..1", probabilities=False):
    """The same classifier, of other pixels and to other outputs."""
    inputs = tf.keras.Input(SHAPE)
    outputs = base(tf.keras.layers.Rescaling(*RESCALING[scale])(inputs))
    return tf.keras.Model(inputs, tf.nn.softmax(outputs) if probabilities else outputs)


def saved(model, kind, folder):
    path = str(folder / {"keras": "m.keras", "h5": "m.h5"}.get(kind, "saved"))
    if kind == "exported":
        model.export(path)
    else:
        wraps = kind in ("module", "plain")
        (Module(model, kind == "plain") if wraps else model).save(path)
    return path


def images(count=7):
    return np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    "kind, scale, probabilities",
    [
        ("keras", "-1..1", False),
        ("keras", "0..1", True),
        ("keras", "0..255", False),
        ("h5", "-1..1", True),
        ("saved", "0..1", False),
        ("saved", "0..255", True),
        ("module", "-1..1", False),
        ("module", "0..255", True),
        ("plain", "-1..1", False),
        ("exported", "0..1", True),
    ],
)
def test_a_classifier_on_file_gives_the_logits_that_it_had(
    base, tmp_path, kind, scale, probabilities
):
    path = saved(variant(base, scale, probabilities), kind, tmp_path)
    target, digest = target_models.load(path, SHAPE, 3, scale)
    gc.collect()  # what is not held is gone
    expected, found = base(images()), target(tf.constant(images()), training=False)
    if probabilities:
        np.testing.assert_allclose(found, tf.nn.log_softmax(expected), atol=1e-5)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(digest) == 64


@pytest.mark.parametrize("kind", ["keras", "saved", "module"])
def test_gradients_reach_the_pixels(base, tmp_path, kind):
    path = saved(variant(base, "0..255", True), kind, tmp_path)
    target, _ = target_models.load(path, SHAPE, 3, "0..255")
    gc.collect()  # what is not held is gone
    pixels = tf.constant(images())
    found = []
    for model in (base, target):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            cost = tf.keras.losses.sparse_categorical_crossentropy([0] * 7, model(pixels), True)
        found.append(tape.gradient(cost, pixels).numpy())
    assert abs(found[0]).max() > 0.1
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_another_scale_is_another_classifier(base, tmp_path):
    path = saved(variant(base, "0..1"), "keras", tmp_path)
    right, wrong = (target_models.load(path, SHAPE, 3, scale)[0] for scale in ("0..1", "-1..1"))
    assert abs(right(images()) - wrong(images())).numpy().max() > 0.1


def test_the_digest_is_of_all_files(base, tmp_path):
    path = saved(base, "module", tmp_path)
    digests = [target_models.load(path, SHAPE, 3)[1] for _ in range(2)]
    (tmp_path / "saved" / "assets" / "note.txt").write_text("changed")
    digests.append(target_models.load(path, SHAPE, 3)[1])
    assert digests[0] == digests[1] != digests[2]


# Refusals


def refused(match, path, shape=SHAPE, classes=3):
    with pytest.raises(ValueError, match=match) as caught:
        target_models.load(str(path), shape, classes)
    message = str(caught.value)
    assert message.startswith(f"--target_model={path} ") and "\n" not in message


def test_a_path_that_is_not_there_is_refused(tmp_path):
    refused("does not exist; give a .keras or .h5 file, or a SavedModel", tmp_path / "none.keras")


@pytest.mark.parametrize("name", ["notes.txt", "model.keras", "model.h5"])
def test_a_file_of_text_is_refused(tmp_path, name):
    (tmp_path / name).write_text("no model\nat all\n")
    refused("is no model that can be read", tmp_path / name)


def test_a_folder_without_a_model_is_refused(tmp_path):
    refused("is no model that can be read", tmp_path)


@pytest.mark.parametrize("kind", ["keras", "saved", "module", "plain"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 5, 3)])
def test_a_classifier_of_other_images_is_refused(base, tmp_path, kind, shape):
    sides = " x ".join(map(str, shape))
    refused(f"does not take images of {sides}.*--image_size", saved(base, kind, tmp_path), shape)


@pytest.mark.parametrize("kind", ["keras", "module"])
def test_a_classifier_of_other_classes_is_refused(base, tmp_path, kind):
    path = saved(base, kind, tmp_path)
    refused("no classifier of the 10 classes.*gives 3 x 3 numbers, not 3 x 10", path, classes=10)


def test_a_model_of_several_outputs_is_refused(base, tmp_path):
    inputs = tf.keras.Input(SHAPE)
    model = tf.keras.Model(inputs, [base(inputs), base(inputs)])
    refused("it gives something else, not 3 x 3", saved(model, "keras", tmp_path))


def test_a_generator_is_refused():
    refused("is no classifier", ROOT / "saved_models" / "digits" / "1", (8, 8, 1), 10)
