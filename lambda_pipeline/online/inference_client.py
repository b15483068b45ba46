"""Calls the inference service of the arm, and finds it again where it was restarted; or an external one."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from lambda_pipeline.online import inference_idl as idl
from lambda_pipeline.online.ready_files import inference_address_file
from signals.architecture import RpcEndpoint, RunContext
from signals.declaration import for_galaxy
from signals.errors import ImageError, ServiceError
from signals.image import RgbImage
from signals.inference import SignalValues
from signals.rpc import RpcClient, RpcUnavailable, check_endpoint
from signals.rpc_channel import TokenRejected

RETRY_SECONDS = 0.05
PROBE_SECONDS = 1.0  # for each answer of the handshake


@dataclass(frozen=True, slots=True)
class Inferred:
    """The signals of one image, or why it has none. Times in Unix ns, by the service's clock."""

    values: SignalValues
    failure: ImageError | None
    batch_start_ns: int
    inference_end_ns: int
    batch_size: int
    batch_position: int
    device: str


@dataclass(frozen=True, slots=True)
class Description:
    """A service: its model, its devices by name, the titles of the signals that it computes."""

    model_sha256: str
    devices: tuple[str, ...]
    signals: frozenset[str]


class InferenceClient:
    """Thread-safe. ``timeout_seconds`` bounds one call; ``absence_seconds`` how long a call waits for a
    service that is known to be away, before it is sent.

    A call that was under way when the service died is *not* repeated here: whoever owns the job decides,
    and counts the attempt.
    """

    def __init__(self, context: RunContext, *, timeout_seconds: float, absence_seconds: float) -> None:
        self._endpoint = context.inference
        self._address_file = inference_address_file(context.arm_dir)
        self._timeout_seconds, self._absence_seconds = timeout_seconds, absence_seconds
        self._lock = threading.Lock()
        self._rpc: RpcClient | None = None

    def infer(self, images: Sequence[RgbImage], galaxies: Sequence[str]) -> list[Inferred]:
        """uint8 (size, size, 3) each -> the values of every signal that the image's galaxy keeps, or why it
        has none; in order, any number of images. Raises ServiceError for all that may pass.
        """
        found: list[Inferred] = []
        while len(found) < len(images):
            part = slice(len(found), len(found) + _images_per_call(images[0]))
            found += self._infer(images[part], galaxies[part])
        return found

    def _infer(self, images: Sequence[RgbImage], galaxies: Sequence[str]) -> list[Inferred]:
        rpc = self._connected()
        packed = b"".join(np.ascontiguousarray(image).data for image in images)
        deadline_ns = time.time_ns() + round(self._timeout_seconds * 1e9)
        answers = self._call(rpc, "infer", packed, list(galaxies), deadline_ns)
        if len(answers) != len(images):
            raise ServiceError(f"the inference service gave {len(answers)} answers for {len(images)} images")
        return [_inferred(answer, galaxy) for answer, galaxy in zip(answers, galaxies, strict=True)]

    def describe(self) -> Description:
        """What the service computes, and on what. Raises ServiceError."""
        answer = self._call(self._connected(), "describe")
        return Description(answer.model_sha256, tuple(answer.devices), frozenset(answer.signals))

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._rpc is not None:
                self._rpc.close()
                self._rpc = None

    def _call(self, rpc: RpcClient, method: str, *args: object) -> Any:
        try:
            return rpc.call(method, *args)
        except (RpcUnavailable, TokenRejected):  # the service may be elsewhere now
            self._forget(rpc)
            raise

    def _connected(self) -> RpcClient:
        deadline = time.monotonic() + self._absence_seconds
        while True:
            with self._lock:
                if self._rpc is not None:
                    return self._rpc
                try:
                    endpoint = self._reachable()
                except (OSError, ValueError, KeyError, ServiceError) as error:
                    problem = error
                else:
                    self._rpc = RpcClient(
                        *(idl.Inference, endpoint.host, endpoint.port, endpoint.token),
                        timeout_seconds=self._timeout_seconds,
                    )
                    return self._rpc
            if time.monotonic() >= deadline:
                at = self._endpoint.address if self._endpoint.is_up else self._address_file
                raise ServiceError(f"the inference service is away: {at}: {problem}") from problem
            time.sleep(RETRY_SECONDS)

    def _reachable(self) -> RpcEndpoint:
        # Raises OSError, ValueError or KeyError where it has not said where it is, ServiceError where another
        # is there, or nobody.
        endpoint = self._endpoint
        if not endpoint.is_up:  # the arm's own: it may come back elsewhere
            written = orjson.loads(self._address_file.read_bytes())
            endpoint = dataclasses.replace(endpoint, host=written["host"], port=written["port"])
        check_endpoint(endpoint, PROBE_SECONDS)
        return endpoint

    def _forget(self, rpc: RpcClient) -> None:
        with self._lock:
            if self._rpc is rpc:
                self._rpc = None
        rpc.close()


def _inferred(answer: Any, galaxy: str) -> Inferred:
    reason = answer.failure_reason
    return Inferred(
        values={} if reason else _values(answer.signals, galaxy),
        failure=ImageError(reason, answer.failure_detail) if reason else None,
        batch_start_ns=answer.batch_start_ns,
        inference_end_ns=answer.inference_end_ns,
        batch_size=answer.batch_size,
        device=answer.device,
        batch_position=answer.batch_position,
    )


def _values(signals: list[Any], galaxy: str) -> SignalValues:
    sent = {(signal.name, signal.version): signal for signal in signals}
    values: SignalValues = {}
    for declaration in for_galaxy(galaxy):
        signal = sent.get((declaration.name, declaration.version))
        if signal is None or len(signal.values) != 4 * math.prod(signal.shape):
            raise ServiceError(f"the inference service gave no {declaration.name} v{declaration.version}")
        packed = np.frombuffer(signal.values, "<f4").astype(np.float32, copy=False)
        values[declaration] = packed.reshape(signal.shape)
    return values


def _images_per_call(image: RgbImage) -> int:
    """How many like ``image`` fit into one call; at least 1. All have the size that the model takes."""
    return max(1, min(idl.IMAGES_PER_CALL, idl.BYTES_PER_CALL // image.nbytes))
