# SPDX-License-Identifier: Apache-2.0
"""A released generator that runs elsewhere: the client of TensorFlow Serving's gRPC `PredictionService`.

Needs the extra `[serving]`. The server says everything that there is to know about its generator (signature
`describe`), and draws what the seeds say (signature `seeded`), so a draw through it is the draw that
`artificial.LocalModel` makes of the same version on the server's machine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import _validate
from tfartgen.artificial import ModelSpec

#: Rows of one request: the largest batch of docker/serving/batching.config.
BATCH_SIZE = 128

#: Seconds: bounds of the first pause between two tries, and of any.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class RemoteModel:
    """A generator on a server; a `GeneratorModel`.

    The version that answered first is asked for from then on: a data set never mixes two, and a draw fails
    rather than go on with the next when the server lets go of that version.
    """

    def __init__(
        self,
        address: str,
        name: str,
        version: Optional[int] = None,
        *,
        deadline_s: float = 30.0,
        retries: int = 6,
        sleep: Callable[[float], object] = time.sleep,
        rng: Optional[random.Random] = None,
    ):
        """Asks the server what it serves.

        Args:
          address: `host:port` of the server's gRPC endpoint.
          name: under which the server has the model.
          version: which one; the server's latest if None.
          deadline_s: for one try, in seconds.
          retries: further tries when the server is unavailable or misses the deadline.
          sleep: waits between tries.
          rng: of the jitter of the pauses.

        Raises:
          ValueError: a malformed address, no such model or version there, another program's model, or the
            extra is not installed.
          OSError: no answer.
        """
        self._grpc, self._messages, service = _protocol()
        self.address = _checked_address(address)
        self.name = name
        self.version = version
        self._deadline_s = _validate.positive("deadline_s", deadline_s)
        self._retries = _validate.non_negative("retries", retries)
        self._sleep = sleep
        self._rng = random.Random() if rng is None else rng
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_retries", 0),  # retried here
            (
                "grpc.max_reconnect_backoff_ms",
                1000,
            ),  # a channel refuses to try before its own pause ends
        ]
        self._channel = self._grpc.insecure_channel(address, options)
        self._stub = service.PredictionServiceStub(self._channel)
        self.spec = self._describe()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def draw(self, labels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """See `GeneratorModel.draw`.

        Raises:
          ValueError: a label out of range, or an answer that does not fit.
          OSError: no answer.
        """
        labels, seeds = np.asarray(labels, np.int32), np.asarray(seeds, np.int64)
        classes = self.spec.num_classes
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"labels must be 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
            )
        images = np.empty((len(labels), *self.spec.image_shape), np.uint8)
        for start in range(0, len(labels), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            answer = self._predict(
                "seeded", {"label": labels[rows], "seed": seeds[rows]}, ["image"]
            )
            images[rows] = self._checked_images(answer["image"], images[rows].shape)
        return images

    def _describe(self) -> ModelSpec:
        answer = self._predict("describe", {"label": np.zeros(1, np.int32)}, ["model", "privacy"])
        try:
            model, privacy = (json.loads(answer[key].item()) for key in ("model", "privacy"))
            return ModelSpec.from_json(model, privacy, self.version)
        except (TypeError, ValueError) as error:
            raise ValueError(self._foreign(f"its description cannot be read ({error})")) from None

    def _checked_images(self, images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        if images.dtype != np.uint8 or images.shape != tuple(shape):
            expected = " x ".join(map(str, shape))
            got = " x ".join(map(str, images.shape))
            raise ValueError(
                f"{self._where()} answered with images {images.dtype} {got} where it had described uint8 {expected}; "
                "serve a generator that bin/train wrote"
            )
        return images

    def _predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Asks one signature, again and again while that can help."""
        request = self._request(signature, inputs, outputs)
        for pause in (*pauses(self._retries, self._rng), None):
            try:
                response = self._stub.Predict(request, timeout=self._deadline_s)
                break
            except self._grpc.RpcError as error:
                code = self._grpc.StatusCode
                passing = error.code() in (code.UNAVAILABLE, code.DEADLINE_EXCEEDED)
                if pause is None or not passing:
                    raise self._explained(error) from None
                self._sleep(pause)
        self.version = response.model_spec.version.value or self.version
        return self._arrays(response, outputs)

    def _request(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> Any:
        import tensorflow as tf

        request = self._messages.PredictRequest(output_filter=outputs)
        request.model_spec.name = self.name
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        return request

    def _arrays(self, response: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        missing = [key for key in outputs if key not in response.outputs]
        if missing:
            raise ValueError(self._foreign(f"it answers without {missing[0]}"))
        try:
            return {key: tf.make_ndarray(response.outputs[key]) for key in outputs}
        except (TypeError, ValueError) as error:  # fewer values than its shape says
            raise ValueError(self._foreign(f"its answer is damaged ({error})")) from None

    def _explained(self, error: Any) -> Exception:
        code, details = self._grpc.StatusCode, " ".join((error.details() or "").split())
        tries = f"{self._retries + 1} tries"
        if error.code() == code.UNAVAILABLE:
            return ConnectionError(
                f"--server={self.address} does not answer, after {tries} ({details}); is TensorFlow Serving's gRPC port "
                "there, and up?"
            )
        if error.code() == code.DEADLINE_EXCEEDED:
            return TimeoutError(
                f"--server={self.address} takes longer than {self._deadline_s:g} s, in each of {tries}; try again when it "
                "is less busy"
            )
        if error.code() == code.NOT_FOUND:
            return ValueError(
                f"{self._where()} is not there ({details}); see the server's models.config"
            )
        unknown = 'signature key "' in details or "not found in signature" in details
        if unknown:
            return ValueError(self._foreign(details))
        return ValueError(f"{self._where()} refused: {error.code().name} {details}")

    def _where(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        return f"model {self.name}{version} of --server={self.address}"

    def _foreign(self, why: str) -> str:
        return f"{self._where()} is no generator of this program: {why}; serve one that bin/train wrote"


def pauses(retries: int, rng: random.Random) -> Iterator[float]:
    """Seconds to wait before each further try: exponential back-off with full jitter.

    The jitter keeps the clients of a server that comes back from asking all at once
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    for retry in range(retries):
        yield rng.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**retry))


def _protocol() -> tuple[Any, Any, Any]:
    """The modules `grpc`, `predict_pb2` and `prediction_service_pb2_grpc`."""
    try:
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError as error:
        raise ValueError(
            f"--server needs the extra [serving] ({error}): pip install 'tfartgen[serving]', or -e '.[serving]'"
        ) from None
    return grpc, predict_pb2, prediction_service_pb2_grpc


def _checked_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not (host and "/" not in host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"--server must be host:port, such as localhost:8500, got {address!r}")
    return address
