# SPDX-License-Identifier: Apache-2.0
"""The files of docker/: what TensorFlow Serving and Docker would read, and that they fit each other."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tfartgen import serving, warmup

ROOT = pathlib.Path(__file__).parents[1]
DOCKER = ROOT / "docker"
SERVING = DOCKER / "serving"
FIELD = descriptor_pb2.FieldDescriptorProto

#: From tensorflow_serving 2.15.1; tensorflow-serving-api ships ModelServerConfig only.
#: servables/tensorflow/session_bundle_config.proto and config/monitoring_config.proto.
WRAPPED = {
    "max_batch_size": 1,
    "batch_timeout_micros": 2,
    "max_enqueued_batches": 3,
    "num_batch_threads": 4,
}


def server_messages() -> tuple[type, type]:
    """The server's `BatchingParameters` and `MonitoringConfig`."""
    file = descriptor_pb2.FileDescriptorProto(name="test_docker.proto", syntax="proto3")
    wrapper = file.message_type.add(name="Int64Value")
    wrapper.field.add(name="value", number=1, type=FIELD.TYPE_INT64, label=FIELD.LABEL_OPTIONAL)
    batching = file.message_type.add(name="BatchingParameters")
    for name, number in WRAPPED.items():
        field = batching.field.add(name=name, number=number, label=FIELD.LABEL_OPTIONAL)
        field.type, field.type_name = FIELD.TYPE_MESSAGE, ".Int64Value"
    batching.field.add(
        name="allowed_batch_sizes", number=6, type=FIELD.TYPE_INT64, label=FIELD.LABEL_REPEATED
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    for number, (name, kind) in enumerate(
        [("enable", FIELD.TYPE_BOOL), ("path", FIELD.TYPE_STRING)], 1
    ):
        prometheus.field.add(name=name, number=number, type=kind, label=FIELD.LABEL_OPTIONAL)
    monitoring = file.message_type.add(name="MonitoringConfig")
    field = monitoring.field.add(name="prometheus_config", number=1, label=FIELD.LABEL_OPTIONAL)
    field.type, field.type_name = FIELD.TYPE_MESSAGE, ".PrometheusConfig"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    get = getattr(message_factory, "GetMessageClass", None) or factory.GetPrototype
    return tuple(
        get(pool.FindMessageTypeByName(name)) for name in ("BatchingParameters", "MonitoringConfig")
    )


def read_text(name: str, message):
    return text_format.Parse((SERVING / name).read_text(), message)


def test_batches_are_those_that_are_warmed_up_and_asked():
    batching = read_text("batching.config", server_messages()[0]())
    allowed = list(batching.allowed_batch_sizes)
    # The server refuses sizes that do not ascend to its largest batch.
    assert allowed == sorted(set(allowed)) and allowed[-1] == batching.max_batch_size.value
    assert tuple(allowed) == warmup.BATCH_SIZES
    assert serving.BATCH_SIZE <= batching.max_batch_size.value
    assert batching.num_batch_threads.value >= 1 and batching.max_enqueued_batches.value >= 1


def test_monitoring_is_on():
    monitoring = read_text("monitoring.config", server_messages()[1]())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path in (DOCKER / "README.md").read_text()


def test_models_are_served_in_their_two_latest_versions():
    config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2",
        reason="tensorflow-serving-api is not installed (extra [serving])",
    )
    models = read_text("models.config", config_pb2.ModelServerConfig()).model_config_list.config
    assert {model.name for model in models} == {"digits", "mnist", "mnist_eps1", "mnist_eps10"}
    for model in models:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"
        assert model.model_version_policy.WhichOneof("policy_choice") == "latest"
        assert model.model_version_policy.latest.num_versions == 2


def compose_text() -> str:
    """Without comments."""
    return re.sub(r"(^|\s)#.*", "", (SERVING / "compose.yaml").read_text())


def test_compose_file_names_what_is_there():
    text = compose_text()
    mounts = re.findall(r"^ +- (\S+):(/\S+):ro$", text, re.MULTILINE)
    assert [inside for _, inside in mounts] == ["/models", "/config"]
    assert [(SERVING / outside).resolve() for outside, _ in mounts] == [
        ROOT / "saved_models",
        SERVING,
    ]
    options = dict(re.findall(r"^ +- --(\w+)=(\S+)$", text, re.MULTILINE))
    for option, value in options.items():
        if value.startswith("/config/"):
            assert option.endswith("_file") and (SERVING / value[len("/config/") :]).is_file()
    assert options["enable_batching"] == "true"
    # The server otherwise never looks for new models.
    assert int(options["model_config_file_poll_wait_seconds"]) > 0
    assert int(options["file_system_poll_wait_seconds"]) > 0
    # An open port of a server without users is for this machine only.
    assert re.findall(r'"(\S+):\d+:\d+"', text) == ["127.0.0.1", "127.0.0.1"]


def test_compose_file_is_yaml():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    (service,) = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"].values()
    assert service["image"] == "tensorflow/serving:2.15.1"
    assert all(isinstance(option, str) for option in service["command"] + service["ports"])


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_images_hold_the_program_and_nothing_private(name):
    text = (DOCKER / name).read_text().replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line and line[0] != "#"]
    copied = [source for words in lines if words[0] == "COPY" for source in words[1:-1]]
    assert {"setup.cfg", "setup.py", "tfartgen", "bin"} <= set(copied)
    assert not {".", "runs", "artificial", "saved_models", "data"} & set(copied)
    assert all((ROOT / source).exists() for source in copied)
    assert not any(words[0] == "ADD" for words in lines)
    assert ["USER", "tfartgen"] in lines
    extras = re.search(r"-e '?\.\[([\w,]+)\]", text).group(1).split(",")
    assert ("gpu" in extras) == name.endswith(".gpu")


def test_readme_names_what_is_there():
    text = (DOCKER / "README.md").read_text() + (ROOT / "docs" / "beam.md").read_text()
    for path in set(re.findall(r"docker/[\w./]*\w", text)):
        assert (ROOT / path).exists(), path
