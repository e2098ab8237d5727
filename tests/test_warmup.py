# SPDX-License-Identifier: Apache-2.0
"""The warm-up requests, against the server's own messages and replayed as the server does."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import release, warmup
from tfartgen.networks import Generator

EXTRA = "tensorflow-serving-api is not installed (extra [serving])"
SIGNATURES = {"serving_default", "seeded", "rest", "latent", "describe"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    generator = Generator((8, 8, 1), 2, latent_dim=3, width=2, seed=3)
    generator((tf.zeros([1, 3]), tf.zeros([1], tf.int32)))
    directory = tmp_path_factory.mktemp("models") / "shapes"
    return release.export_generator(
        generator, directory, {"version": 1}, class_names=("disc", "square"), name="shapes"
    )


@pytest.fixture(scope="module")
def records(folder) -> list[bytes]:
    file = folder / "assets.extra" / warmup.REQUESTS_FILE
    return [record.numpy() for record in tf.data.TFRecordDataset(str(file))]


def test_message_bytes_counted_by_hand():
    empty = tf.make_tensor_proto(0, tf.int32, [1])
    tensor = b"\x08\x03\x12\x04\x12\x02\x08\x01\x3a\x01\x00"  # int32, shape [1], int_val 0
    assert empty.SerializeToString() == tensor
    entry = b"\x0a\x05label\x12\x0b" + tensor
    request = b"\x0a\x0b\x0a\x01m\x1a\x06seeded\x12\x14" + entry
    assert warmup.prediction_log("m", "seeded", {"label": empty}) == (b"\x32\x25\x0a\x23" + request)


def test_message_is_the_servers_own():
    """Names and contents so long that a length takes two bytes, and three."""
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=EXTRA)
    for size in (1, 100, 5000):
        inputs = {
            "seed": tf.make_tensor_proto(np.arange(size), tf.int64),
            "latent": tf.make_tensor_proto(np.ones([size, 3]), tf.float32),
        }
        expected = log_pb2.PredictionLog()
        request = expected.predict_log.request
        request.model_spec.name = "m" * size
        request.model_spec.signature_name = "seeded"
        for key, tensor in inputs.items():
            request.inputs[key].CopyFrom(tensor)
        encoded = warmup.prediction_log("m" * size, "seeded", inputs)
        assert log_pb2.PredictionLog.FromString(encoded) == expected
        assert len(encoded) == expected.ByteSize()


def test_every_signature_is_asked_in_every_batch_size(records):
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=EXTRA)
    assert len(records) <= 1000  # the server's limit
    requests = [log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    asked = {
        (request.model_spec.signature_name, request.inputs["label"].tensor_shape.dim[0].size)
        for request in requests
    }
    assert asked == {(name, size) for name in SIGNATURES for size in warmup.BATCH_SIZES}
    assert {request.model_spec.name for request in requests} == {"shapes"}


def test_requests_are_small(folder):
    assert (folder / "assets.extra" / warmup.REQUESTS_FILE).stat().st_size < 4096


def test_replayed_as_the_server_does(folder, records):
    """Through the TF1 loader and a Session; an answer that fails would keep the server from loading."""
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=EXTRA)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        assert SIGNATURES <= set(graph.signature_def)
        for record in records:
            request = log_pb2.PredictionLog.FromString(record).predict_log.request
            signature = graph.signature_def[request.model_spec.signature_name]
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            assert set(inputs) == set(signature.inputs)
            feed = {signature.inputs[key].name: value for key, value in inputs.items()}
            fetch = {key: tensor.name for key, tensor in signature.outputs.items()}
            for value in session.run(fetch, feed).values():
                assert len(value) == len(inputs["label"])
