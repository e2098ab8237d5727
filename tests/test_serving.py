# SPDX-License-Identifier: Apache-2.0
"""The generator behind a server: what the server's loader sees, and the client against a real channel."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import artificial, release, serving
from tfartgen.networks import Generator

EXTRA = "tensorflow-serving-api is not installed (extra [serving])"
CLASS_NAMES = ("cat", "dog", "eel")
PRIVACY = {"version": 1, "headline": "a test, naïvely"}
LABELS = np.arange(300, dtype=np.int32) % 3
SEEDS = np.arange(-150, 150, dtype=np.int64) * 2**55


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    generator = Generator((9, 13, 3), 3, latent_dim=5, width=2, seed=3)
    generator((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    generator.set_weights([2.0 * weight + 0.05 for weight in generator.get_weights()])
    directory = tmp_path_factory.mktemp("models") / "pets"
    (directory / "6").mkdir(parents=True)
    return release.export_generator(
        generator, directory, PRIVACY, class_names=CLASS_NAMES, name="pets"
    )


@pytest.fixture(scope="module")
def local(folder) -> artificial.LocalModel:
    return artificial.LocalModel(folder)


class Host:
    """What TensorFlow Serving does with a Predict request, around the TF1 loader and a Session."""

    def __init__(self, folder: pathlib.Path):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            loader = tf.compat.v1.saved_model.loader
            self.graph = loader.load(self.session, ["serve"], str(folder))
        self.version = int(folder.name)
        self.requests: list = []
        self.failures: list = []  # status codes of the next answers
        self.delay = 0.0
        self.change = lambda response: None

    def Predict(self, request, context):
        import grpc
        from tensorflow_serving.apis import predict_pb2

        self.requests.append(request)
        time.sleep(self.delay)
        spec = request.model_spec
        if self.failures:
            context.abort(self.failures.pop(0), "no luck")
        if spec.name != "pets" or spec.version.value not in (0, self.version):
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        if spec.signature_name not in self.graph.signature_def:
            details = f'Serving signature key "{spec.signature_name}" not found.'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, details)
        signature = self.graph.signature_def[spec.signature_name]
        feed = {
            signature.inputs[key].name: tf.make_ndarray(value)
            for key, value in request.inputs.items()
        }
        wanted = list(request.output_filter) or list(signature.outputs)
        try:
            values = self.session.run({key: signature.outputs[key].name for key in wanted}, feed)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message.splitlines()[0])
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(spec)
        response.model_spec.version.value = self.version
        for key, value in values.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        self.change(response)
        return response


@pytest.fixture(scope="module")
def hosted(folder) -> Iterator[tuple[str, Host]]:
    grpc = pytest.importorskip("grpc", reason=EXTRA)
    service = pytest.importorskip(
        "tensorflow_serving.apis.prediction_service_pb2_grpc", reason=EXTRA
    )
    host = type("Servicer", (Host, service.PredictionServiceServicer), {})(folder)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    service.add_PredictionServiceServicer_to_server(host, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}", host
    server.stop(None).wait()
    host.session.close()


@pytest.fixture
def served(hosted) -> tuple[str, Host]:
    """The server, well again whatever the last test did to it."""
    address, host = hosted
    host.requests, host.failures, host.delay = [], [], 0.0
    host.change = lambda response: None
    return address, host


class Naps(list):
    """Sleeps that only write down how long they would have been."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def test_description_is_all_the_client_needs(served, local):
    remote = serving.RemoteModel(served[0], "pets")
    assert remote.spec == local.spec
    assert remote.spec.version == 7 and remote.spec.privacy == PRIVACY


def test_remote_draw_has_the_bytes_of_a_local_one(served, local):
    address, host = served
    remote = serving.RemoteModel(address, "pets")
    images = remote.draw(LABELS, SEEDS)
    np.testing.assert_array_equal(images, local.draw(LABELS, SEEDS))
    assert images.dtype == np.uint8 and images.std() > 20
    seeded = [request for request in host.requests if request.model_spec.signature_name == "seeded"]
    assert [len(tf.make_ndarray(request.inputs["seed"])) for request in seeded] == [128, 128, 44]
    assert {request.model_spec.version.value for request in seeded} == {7}
    assert remote.draw(LABELS[:0], SEEDS[:0]).shape == (0, 9, 13, 3)
    remote.close()


def test_plan_drawn_from_the_server(served, local):
    plan = artificial.DrawPlan(70, 5, artificial.LabelPolicy.uniform(3))
    remote = serving.RemoteModel(served[0], "pets", version=7)
    parts = [artificial.draw_part(model, plan, 10, 70) for model in (remote, local)]
    for ours, theirs in zip(*parts):
        np.testing.assert_array_equal(ours, theirs)


def test_passing_failures_are_retried_after_growing_pauses(served, local):
    grpc = pytest.importorskip("grpc", reason=EXTRA)
    code = grpc.StatusCode
    address, host = served
    naps = Naps()
    remote = serving.RemoteModel(address, "pets", sleep=naps)
    host.failures = [code.UNAVAILABLE, code.DEADLINE_EXCEEDED, code.UNAVAILABLE]
    images = remote.draw(LABELS[:5], SEEDS[:5])
    np.testing.assert_array_equal(images, local.draw(LABELS[:5], SEEDS[:5]))
    assert len(naps) == 3
    assert all(0 <= pause <= most for pause, most in zip(naps, (0.2, 0.4, 0.8)))


def test_pauses_grow_to_a_bound_and_differ_between_clients():
    class Highest(random.Random):
        def uniform(self, a, b):
            return b

    assert list(serving.pauses(7, Highest())) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    first, second = (list(serving.pauses(4, random.Random(seed))) for seed in (1, 2))
    assert first != second and all(pause >= 0 for pause in first)


@pytest.mark.parametrize("name", ["INVALID_ARGUMENT", "INTERNAL", "PERMISSION_DENIED"])
def test_lasting_failures_are_not_retried(served, name):
    grpc = pytest.importorskip("grpc", reason=EXTRA)
    address, host = served
    naps = Naps()
    remote = serving.RemoteModel(address, "pets", sleep=naps)
    host.requests, host.failures = [], [getattr(grpc.StatusCode, name)]
    with pytest.raises(ValueError, match=f"model pets version 7 of --server=.* refused: {name} no"):
        remote.draw(LABELS[:2], SEEDS[:2])
    assert len(host.requests) == 1 and naps == []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def test_server_that_is_down():
    pytest.importorskip("tensorflow_serving", reason=EXTRA)
    naps, address = Naps(), f"localhost:{free_port()}"
    with pytest.raises(ConnectionError) as caught:
        serving.RemoteModel(address, "pets", retries=2, sleep=naps)
    assert re.match(f"--server={address} does not answer, after 3 tries", str(caught.value))
    assert "\n" not in str(caught.value) and len(naps) == 2


def test_server_that_is_slow(served):
    address, host = served
    remote = serving.RemoteModel(address, "pets", deadline_s=0.1, retries=1, sleep=Naps())
    host.delay = 0.3
    with pytest.raises(TimeoutError, match="takes longer than 0.1 s, in each of 2 tries"):
        remote.draw(LABELS[:2], SEEDS[:2])


def test_server_that_starts_late_is_waited_for(hosted, local):
    """Nothing listens at first: the client's channel must look again."""
    grpc = pytest.importorskip("grpc", reason=EXTRA)
    service = pytest.importorskip(
        "tensorflow_serving.apis.prediction_service_pb2_grpc", reason=EXTRA
    )
    port = free_port()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(hosted[1], server)
    server.add_insecure_port(f"localhost:{port}")
    timer = threading.Timer(0.5, server.start)
    timer.start()
    try:
        rng = random.Random(1)
        remote = serving.RemoteModel(f"localhost:{port}", "pets", retries=12, rng=rng)
        assert remote.spec == local.spec
    finally:
        timer.join()
        server.stop(None).wait()


def replace_image(value: np.ndarray):
    def change(response):
        if "image" in response.outputs:
            response.outputs["image"].CopyFrom(tf.make_tensor_proto(value))

    return change


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.zeros([2, 8, 8, 1], np.uint8), "uint8 2 x 8 x 8 x 1"),
        (np.zeros([1, 9, 13, 3], np.uint8), "uint8 1 x 9 x 13 x 3"),
        (np.zeros([2, 9, 13, 3], np.float32), "float32 2 x 9 x 13 x 3"),
    ],
)
def test_answer_of_another_shape(served, value, got):
    address, host = served
    remote = serving.RemoteModel(address, "pets")
    host.change = replace_image(value)
    with pytest.raises(ValueError) as caught:
        remote.draw(LABELS[:2], SEEDS[:2])
    assert f"images {got} where it had described uint8 2 x 9 x 13 x 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_answer_that_is_damaged_or_missing(served):
    address, host = served
    remote = serving.RemoteModel(address, "pets")

    def truncate(response):
        image = response.outputs["image"]
        image.tensor_content = image.tensor_content[:-1]

    host.change = truncate
    with pytest.raises(ValueError, match="no generator of this program: its answer is damaged"):
        remote.draw(LABELS[:2], SEEDS[:2])
    host.change = lambda response: response.outputs.clear()
    with pytest.raises(ValueError, match="it answers without image"):
        remote.draw(LABELS[:2], SEEDS[:2])


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"name": "x"}', b"\xff"])
def test_description_that_cannot_be_read(served, text):
    address, host = served

    def change(response):
        response.outputs["model"].CopyFrom(tf.make_tensor_proto([text]))

    host.change = change
    with pytest.raises(ValueError, match="no generator of this program: its description cannot"):
        serving.RemoteModel(address, "pets")


def test_another_programs_model(served):
    address, host = served
    signatures = {key: host.graph.signature_def[key] for key in ("serving_default",)}
    graph, host.graph = host.graph, type("Graph", (), {"signature_def": signatures})
    try:
        with pytest.raises(ValueError, match="model pets of --server=.* is no generator of this"):
            serving.RemoteModel(address, "pets")
    finally:
        host.graph = graph


@pytest.mark.parametrize(("name", "version"), [("poets", None), ("pets", 3)])
def test_model_or_version_that_is_not_there(served, name, version):
    with pytest.raises(ValueError, match=f"model {name}.* is not there .*models.config"):
        serving.RemoteModel(served[0], name, version)


def test_new_version_in_the_middle_of_a_draw_is_not_mixed_in(served):
    address, host = served
    remote = serving.RemoteModel(address, "pets")
    host.version = 8
    try:
        with pytest.raises(ValueError, match="model pets version 7 .* is not there"):
            remote.draw(LABELS[:2], SEEDS[:2])
    finally:
        host.version = 7


def test_labels_out_of_range_are_not_sent(served):
    """A server with batching would fail every request of the batch."""
    address, host = served
    remote = serving.RemoteModel(address, "pets")
    host.requests = []
    for label in (-1, 3):
        with pytest.raises(ValueError, match="labels must be 0 to 2, got"):
            remote.draw(np.array([0, label]), SEEDS[:2])
    assert host.requests == []


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":8500", "h:0", "http://h:1"])
def test_malformed_address(address):
    pytest.importorskip("tensorflow_serving", reason=EXTRA)
    with pytest.raises(ValueError, match="--server must be host:port"):
        serving.RemoteModel(address, "pets")


def test_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ValueError, match=r"--server needs the extra \[serving\].*pip install"):
        serving.RemoteModel("localhost:8500", "pets")


def test_batches_of_a_server_give_the_rows_of_single_requests(served):
    """A server with batching concatenates requests, pads to an allowed size and takes the answer apart."""
    _, host = served
    run = host.session.run
    signature = host.graph.signature_def["seeded"]

    def seeded(labels, seeds):
        feed = {signature.inputs["label"].name: labels, signature.inputs["seed"].name: seeds}
        return run(signature.outputs["image"].name, feed)

    single = [seeded(LABELS[i : i + 1], SEEDS[i : i + 1])[0] for i in range(11)]
    for size in (11, 32, 128):
        rows = np.minimum(np.arange(size), 10)
        np.testing.assert_array_equal(seeded(LABELS[rows], SEEDS[rows])[:11], single)


def test_description_in_every_row(served):
    _, host = served
    signature = host.graph.signature_def["describe"]
    fetch = {key: tensor.name for key, tensor in signature.outputs.items()}
    for size in (0, 1, 3):
        answer = host.session.run(fetch, {signature.inputs["label"].name: [9] * size})
        assert answer["model"].shape == answer["privacy"].shape == (size,)
        assert {json.loads(text)["name"] for text in answer["model"]} <= {"pets"}


def test_the_signature_for_rest_names_its_bytes_for_json(folder):
    """Without the suffix, or with another string beside it, the server's JSON would be broken."""
    outputs = tf.saved_model.load(str(folder)).signatures["rest"].structured_outputs
    assert set(outputs) == {"png_bytes"} and outputs["png_bytes"].dtype == tf.string


def saved_model_cli(*arguments: str) -> str:
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=120, env=environment
    ).stdout


def test_saved_model_cli_shows_and_runs_it(folder, local, tmp_path):
    shown = saved_model_cli("show", "--dir", str(folder), "--all")
    for name in ("serving_default", "seeded", "rest", "latent", "describe"):
        assert f"signature_def['{name}']" in shown
    for line in ("inputs['seed'] tensor_info:", "outputs['png'] tensor_info:", "DT_UINT8"):
        assert line in shown
    arguments = ["--dir", str(folder), "--tag_set", "serve", "--signature_def", "seeded"]
    inputs = "label=[0, 2];seed=[5, -6]"
    saved_model_cli("run", *arguments, "--input_exprs", inputs, "--outdir", str(tmp_path))
    expected = local.draw(np.array([0, 2], np.int32), np.array([5, -6], np.int64))
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), expected)


SERVER = shutil.which("tensorflow_model_server")


@pytest.fixture(scope="module")
def real_server(folder, tmp_path_factory) -> Iterator[tuple[int, int]]:
    """Ports, gRPC and REST, of the real server with the repository's batching and monitoring."""
    configs = pathlib.Path(__file__).parents[1] / "docker" / "serving"
    ports = free_port(), free_port()
    command = [
        SERVER,
        f"--port={ports[0]}",
        f"--rest_api_port={ports[1]}",
        "--model_name=pets",
        f"--model_base_path={folder.parent}",
        "--enable_batching=true",
        f"--batching_parameters_file={configs / 'batching.config'}",
        f"--monitoring_config_file={configs / 'monitoring.config'}",
    ]
    log = tmp_path_factory.mktemp("log") / "server.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        yield ports
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(SERVER is None, reason="tensorflow_model_server is not on the PATH")
def test_real_server(real_server, local):
    grpc_port, rest_port = real_server
    remote = serving.RemoteModel(f"localhost:{grpc_port}", "pets", retries=20)
    assert remote.spec == local.spec
    images = remote.draw(LABELS, SEEDS).astype(int)
    # Another build of the kernels may round the last bit the other way.
    np.testing.assert_allclose(images, local.draw(LABELS, SEEDS), atol=1)
    instances = [{"label": label, "seed": 5} for label in (0, 1, 2)]
    body = json.dumps({"signature_name": "rest", "instances": instances}).encode()
    url = f"http://localhost:{rest_port}/v1/models/pets:predict"
    with urllib.request.urlopen(url, body, timeout=30) as answer:
        predictions = json.load(answer)["predictions"]
    assert len(predictions) == 3 and set(predictions[0]) == {"b64"}
    url = f"http://localhost:{rest_port}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert b"warmup" in answer.read()


def test_readme_asks_as_it_says(served, local):
    """The Python of docker/README.md, run against the loopback server."""
    readme = pathlib.Path(__file__).parents[1] / "docker" / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block, seeds in zip(blocks, ([0, 1, 2], [5, 6, 7])):
        names: dict = {}
        code = block.replace("localhost:8500", served[0]).replace('"digits"', '"pets"')
        exec(code.replace("arange(10)", "arange(3)"), names)
        expected = local.draw(np.arange(3), np.array(seeds))
        np.testing.assert_array_equal(names["images"], expected)
