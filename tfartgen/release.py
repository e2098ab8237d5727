# SPDX-License-Identifier: Apache-2.0
"""What leaves the private side: the generator's SavedModel, with the statement of what it cost.

This is the wall of the design: nothing but a generator's weights, what a person needs to use them, and a
privacy statement made from the ledger goes through.
"""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Sequence
from typing import Any, Callable

import tensorflow as tf

from tfartgen import published_names, warmup
from tfartgen.data import to_uint8

#: Batches are padded to a multiple of this: TensorFlow's CPU kernels give a row the same bits in all of them.
_BLOCK_ROWS = 8


def export_generator(
    generator: tf.keras.Model,
    directory: pathlib.Path,
    privacy: dict[str, Any],
    *,
    class_names: Sequence[str],
    name: str,
) -> pathlib.Path:
    """Writes the next version of a generator, as TensorFlow Serving reads it.

    Signatures, with `batch` free and 0 allowed; `image` is uint8 `[batch, height, width, channels]` and
    `png` string `[batch]` unless said otherwise:
      serving_default: `label` int32 `[batch]` -> `image`, `png`, from the server's own randomness.
      seeded: `label`, `seed` int64 `[batch]` -> `image`, `png`; row i depends on row i of the request only, so
        that on one machine's CPU a row gives the same bits alone and in any batch.
      rest: as `seeded` -> `png_bytes` string `[batch]`, for JSON: TensorFlow Serving's REST answers carry a
        string as base64 only if its name ends in `_bytes`, and are broken by any other that is no text.
      latent: `latent` float32 `[batch, latent_dim]`, `label` -> `image` float32 in [-1, 1].
      describe: `label` of any value -> `model`, `privacy` string `[batch]`: in every row the JSON of
        `assets.extra/model.json` and `privacy.json`, for clients that see the server only.
    Beside them are warm-up requests for all of them, see `warmup`.

    Formal guarantee: post-processing of the generator's weights. What is written is those weights, the
    functions, `class_names`, `name` and `privacy`: no critic, no optimizer, no Python source or path. `bin/generate --verify`
    lists every text of it (`published_texts`).

    Args:
      generator: a built Keras model with `get_config`, `image_shape`, `num_classes` and `latent_dim`.
      directory: parent of the versions; made if absent.
      privacy: the statement, see `statement.privacy_statement`.
      class_names: name of every label.
      name: of the model, for people.

    Returns:
      `directory / version`, complete: it is written beside and renamed.

    Raises:
      ValueError: `class_names` does not fit the generator, the generator carries weights that are not its own, or a name or
        text must not be published (`published_names`).
      OSError: no space, or no permission; nothing is left behind.
    """
    if len(class_names) != generator.num_classes:
        raise ValueError(
            f"class_names must have {generator.num_classes} names, one per class of the generator, "
            f"got {len(class_names)}"
        )
    model = {
        "name": name,
        "image_shape": [int(n) for n in generator.image_shape],
        "class_names": [str(class_name) for class_name in class_names],
        "latent_dim": int(generator.latent_dim),
    }
    published_names.check_names(name, class_names)
    published_names.check_texts("privacy", privacy)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".tmp-{secrets.token_hex(4)}"
    try:
        temporary.mkdir()
        texts = {"model": _json(model), "privacy": _json(privacy)}
        _save(_plain_copy(generator), texts, temporary)
        extra = temporary / "assets.extra"
        extra.mkdir()
        for key, text in texts.items():
            (extra / f"{key}.json").write_text(text, encoding="utf-8")
        warmup.write_requests(temporary, name=name, latent_dim=int(generator.latent_dim))
        return _rename_to_next_version(temporary, directory)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise OSError(
            f"cannot write the generator in {directory}: {reason}; make room or give another --model_dir"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _rename_to_next_version(temporary: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    while True:
        versions = [int(path.name) for path in directory.iterdir() if path.name.isdecimal()]
        target = directory / str(max(versions, default=0) + 1)
        try:
            os.rename(temporary, target)
            return target
        except OSError:
            if not target.exists():  # otherwise another export took the number in between
                raise


def _plain_copy(generator: tf.keras.Model) -> tf.keras.Model:
    """The same network with single-device variables of its own, whatever strategy trained it."""
    copy = type(generator).from_config(generator.get_config())
    copy((tf.zeros([1, generator.latent_dim]), tf.zeros([1], tf.int32)))
    own, given = ([tuple(w.shape) for w in network.weights] for network in (copy, generator))
    if own != given:
        raise ValueError(
            f"generator must have the {len(own)} weights that its configuration makes, got {len(given)}: another "
            "network or variable hangs on it"
        )
    copy.set_weights(generator.get_weights())
    return copy


def _save(generator: tf.keras.Model, texts: dict[str, str], directory: pathlib.Path) -> None:
    # A bare module of variables: a Keras model would bring its class's name and need it to load.
    module = tf.Module(name="generator")
    module.generator_weights = list(generator.weights)
    options = tf.saved_model.SaveOptions(save_debug_info=False)
    signatures = _signatures(generator, texts)
    tf.saved_model.save(module, str(directory), signatures=signatures, options=options)


def _signatures(
    generator: tf.keras.Model, texts: dict[str, str]
) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
    latent_dim = int(generator.latent_dim)
    label_spec = tf.TensorSpec([None], tf.int32, name="label")
    seed_spec = tf.TensorSpec([None], tf.int64, name="seed")
    latent_spec = tf.TensorSpec([None, latent_dim], tf.float32, name="latent")

    @tf.function(input_signature=[label_spec], autograph=False)
    def serving_default(label: tf.Tensor) -> dict[str, tf.Tensor]:
        key = tf.raw_ops.NonDeterministicInts(shape=tf.constant([2], tf.int64), dtype=tf.int64)
        latent = tf.random.stateless_normal([tf.shape(label)[0], latent_dim], key)
        return _encoded(_draw(generator, latent, label, block_rows=1))

    @tf.function(input_signature=[label_spec, seed_spec], autograph=False)
    def seeded(label: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return _encoded(_draw(generator, seeded_latents(seed, latent_dim), label))

    @tf.function(input_signature=[label_spec, seed_spec], autograph=False)
    def rest(label: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        images = _draw(generator, seeded_latents(seed, latent_dim), label)
        return {"png_bytes": tf.io.encode_png(to_uint8(images))}

    @tf.function(input_signature=[latent_spec, label_spec], autograph=False)
    def latent(latent: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"image": _draw(generator, latent, label)}

    # A server's batching wants one row out for each row in, so the texts are repeated.
    @tf.function(input_signature=[label_spec], autograph=False)
    def describe(label: tf.Tensor) -> dict[str, tf.Tensor]:
        return {key: tf.fill(tf.shape(label), text) for key, text in texts.items()}

    functions = (serving_default, seeded, rest, latent, describe)
    return {function.__name__: function for function in functions}


def _draw(
    generator: tf.keras.Model,
    latent: tf.Tensor,
    label: tf.Tensor,
    block_rows: int = _BLOCK_ROWS,
) -> tf.Tensor:
    """Images `[batch, height, width, channels]` in [-1, 1], computed in a batch of whole, at least one, blocks."""
    last, rows = generator.num_classes - 1, tf.shape(label)[0]
    in_range = tf.reduce_all((label >= 0) & (label <= last))
    checks = [
        tf.debugging.Assert(in_range, [f"label must be 0 to {last}, got", label], summarize=10),
        tf.debugging.Assert(
            tf.equal(tf.shape(latent)[0], rows),
            ["there must be as many seeds or latents as labels"],
        ),
    ]
    with tf.control_dependencies(checks):
        padding = tf.maximum(1, -(-rows // block_rows)) * block_rows - rows
    images = generator((tf.pad(latent, [[0, padding], [0, 0]]), tf.pad(label, [[0, padding]])))
    return tf.ensure_shape(images[:rows], [None, *generator.image_shape])


def _encoded(images: tf.Tensor) -> dict[str, tf.Tensor]:
    pixels = to_uint8(images)
    return {"image": pixels, "png": tf.io.encode_png(pixels)}


def seeded_latents(seed: tf.Tensor, latent_dim: int) -> tf.Tensor:
    """Standard normal latents, row i a function of all 64 bits of `seed[i]` alone.

    SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16)
    started at a scrambled seed, its upper 23 bits through the normal distribution's inverse. TensorFlow's own
    stateless draws take one seed a call; mapped over rows they cost as much as a small generator.

    Args:
      seed: int64 `[batch]`.
      latent_dim: length of the latent.

    Returns:
      float32 `[batch, latent_dim]`.
    """
    steps = tf.range(1, latent_dim + 1, dtype=tf.int64)
    golden = tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    start = _scramble(tf.bitcast(seed, tf.uint64) + golden)
    words = _scramble(start[:, tf.newaxis] + tf.bitcast(steps, tf.uint64) * golden)
    # 23 bits and a half fit float32 exactly, so that the uniform is never 0 or 1.
    upper = tf.cast(tf.bitwise.right_shift(words, tf.constant(41, tf.uint64)), tf.float32)
    return tf.math.ndtri((upper + 0.5) * 2.0**-23)


def _scramble(words: tf.Tensor) -> tf.Tensor:
    """SplitMix64's finaliser, a bijection of uint64, elementwise."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        shifted = tf.bitwise.right_shift(words, tf.constant(shift, tf.uint64))
        words = tf.bitwise.bitwise_xor(words, shifted) * tf.constant(factor, tf.uint64)
    return words
