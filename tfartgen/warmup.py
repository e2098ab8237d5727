# SPDX-License-Identifier: Apache-2.0
"""Warm-up requests: what TensorFlow Serving asks a generator when it loads, so that no user waits for that.

The server replays `assets.extra/tf_serving_warmup_requests`, a TFRecord file of `PredictionLog` messages,
before it lets a version answer
(https://github.com/tensorflow/serving/blob/2.15.1/tensorflow_serving/g3doc/saved_model_warmup.md).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf import message

REQUESTS_FILE = "tf_serving_warmup_requests"

#: Sizes of the batches that the server computes: `allowed_batch_sizes` of docker/serving/batching.config. None
#: may exceed a server's `max_batch_size`, or the server refuses the model.
BATCH_SIZES = (1, 8, 32, 128)

# Field numbers of tensorflow_serving/apis/prediction_log.proto, predict.proto and model.proto.
_LOG_PREDICT, _PREDICT_REQUEST = 6, 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_NAME, _MODEL_SIGNATURE = 1, 3
_MAP_KEY, _MAP_VALUE = 1, 2


def write_requests(version_folder: pathlib.Path, *, name: str, latent_dim: int) -> pathlib.Path:
    """Writes requests for every signature at every size of `BATCH_SIZES`.

    They hold zeros only: nothing about any data.

    Args:
      version_folder: of the SavedModel, with its `assets.extra`.
      name: of the model.
      latent_dim: length of the generator's latent.

    Returns:
      The file.
    """
    path = version_folder / "assets.extra" / REQUESTS_FILE
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests(name=name, latent_dim=latent_dim):
            writer.write(request)
    return path


def requests(*, name: str, latent_dim: int) -> Iterator[bytes]:
    """The requests, serialised, in the order of the file; arguments as in `write_requests`."""
    for size in BATCH_SIZES:
        for signature, inputs in _inputs(size, latent_dim).items():
            yield prediction_log(name, signature, inputs)


def _inputs(size: int, latent_dim: int) -> dict[str, dict[str, message.Message]]:
    """Inputs of each signature of `release.export_generator`, for a batch of `size`."""
    label = tf.make_tensor_proto(0, tf.int32, [size])
    seed = tf.make_tensor_proto(0, tf.int64, [size])
    latent = tf.make_tensor_proto(0.0, tf.float32, [size, latent_dim])
    return {
        "serving_default": {"label": label},
        "seeded": {"label": label, "seed": seed},
        "rest": {"label": label, "seed": seed},
        "latent": {"label": label, "latent": latent},
        "describe": {"label": label},
    }


def prediction_log(name: str, signature: str, inputs: dict[str, message.Message]) -> bytes:
    """A serialised `tensorflow.serving.PredictionLog` of one request.

    Encoded here, because an export should need no `tensorflow-serving-api`: all that lies between the log and
    its tensors are fields with a length, which is one rule of the protocol buffers' encoding
    (https://protobuf.dev/programming-guides/encoding/#length-types).

    Args:
      name: of the model.
      signature: that is asked.
      inputs: its tensors by name.
    """
    model = _field(_MODEL_NAME, name.encode()) + _field(_MODEL_SIGNATURE, signature.encode())
    request = _field(_REQUEST_MODEL, model)
    for key, tensor in sorted(inputs.items()):
        entry = _field(_MAP_KEY, key.encode()) + _field(_MAP_VALUE, tensor.SerializeToString())
        request += _field(_REQUEST_INPUTS, entry)
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """A field with a length: its tag, the length as a varint, the content."""
    length, varint = len(content), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return bytes([number << 3 | 2]) + bytes(varint) + content
