"""Calls the inference service, and finds it again after it was restarted somewhere else."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lambda_pipeline.online import inference_idl as idl
from signals.declaration import for_galaxy
from signals.errors import ImageError, ServiceError
from signals.image import RgbImage
from signals.inference import SignalValues
from signals.rpc import RpcClient, RpcUnavailable

RETRY_SECONDS = 0.05
PROBE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Inferred:
    """The signals of one image. Times in Unix ns, by the service's clock."""

    values: SignalValues
    batch_start_ns: int
    inference_end_ns: int
    batch_size: int
    device: str


class InferenceClient:
    """Thread-safe. ``timeout_seconds`` bounds one call; ``absence_seconds`` how long a call waits for a
    service that is known to be away, before it is sent.

    A call that was under way when the service died is *not* repeated here: whoever owns the job decides,
    and counts the attempt.
    """

    def __init__(
        self, address_file: Path, token: str, *, timeout_seconds: float, absence_seconds: float
    ) -> None:
        self._address_file, self._token = address_file, token
        self._timeout_seconds, self._absence_seconds = timeout_seconds, absence_seconds
        self._lock = threading.Lock()
        self._rpc: RpcClient | None = None

    def infer(self, image: RgbImage, galaxy: str) -> Inferred:
        """uint8 (size, size, 3) -> the values of every signal that ``galaxy`` keeps.

        Raises ImageError where the image is at fault, and ServiceError for all that may pass.
        """
        rpc = self._connected()
        deadline_ns = time.time_ns() + round(self._timeout_seconds * 1e9)
        try:
            answer = rpc.call("infer", np.ascontiguousarray(image).tobytes(), galaxy, deadline_ns)
        except RpcUnavailable:
            self._forget(rpc)
            raise
        if answer.failure_reason:
            raise ImageError(answer.failure_reason, answer.failure_detail)
        return Inferred(
            values=_values(answer.signals, galaxy),
            batch_start_ns=answer.batch_start_ns,
            inference_end_ns=answer.inference_end_ns,
            batch_size=answer.batch_size,
            device=answer.device,
        )

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._rpc is not None:
                self._rpc.close()
                self._rpc = None

    def _connected(self) -> RpcClient:
        deadline = time.monotonic() + self._absence_seconds
        while True:
            with self._lock:
                if self._rpc is not None:
                    return self._rpc
                if (address := self._reachable_address()) is not None:
                    self._rpc = RpcClient(
                        *(idl.Inference, address["host"], address["port"], self._token),
                        timeout_seconds=self._timeout_seconds,
                    )
                    return self._rpc
            if time.monotonic() >= deadline:
                raise ServiceError(f"the inference service is away; its address file is {self._address_file}")
            time.sleep(RETRY_SECONDS)

    def _reachable_address(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            address: dict[str, Any] = orjson.loads(self._address_file.read_bytes())
            with socket.create_connection((address["host"], address["port"]), PROBE_SECONDS):
                return address
        return None

    def _forget(self, rpc: RpcClient) -> None:
        with self._lock:
            if self._rpc is rpc:
                self._rpc = None
        rpc.close()


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
