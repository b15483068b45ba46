"""The online path's model inference service: always on, dynamic batching, a pool of devices of its own.

``python -m lambda_pipeline.online.inference_service --context FILE`` serves until SIGTERM and writes its
address to the context's address file once every device is warm.
"""

from __future__ import annotations

import functools
import math
import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lambda_pipeline.child import log, run_process
from lambda_pipeline.online import inference_idl as idl
from lambda_pipeline.online.batcher import Batch, DynamicBatcher
from lambda_pipeline.online.ready_files import inference_address_file
from signals.architecture import RunContext
from signals.declaration import FloatArray, SignalDeclaration, declared_signals
from signals.device_session import DeviceSession, book_batch
from signals.errors import ConfigurationError, ImageError, ServiceError
from signals.image import RgbImage
from signals.inference import InferenceEngine, SignalValues, device_index, values_of_mixed_batch
from signals.ledger import Ledger
from signals.model import Model
from signals.process import StopSignal, write_ready_file
from signals.rpc import RpcServer

POOL = "online"
BATCHES_WAITING = 8  # per device, before callers wait for room; a worker brings two at a time


@dataclass(frozen=True, slots=True)
class _Request:
    image: RgbImage
    galaxy: str


@dataclass(frozen=True, slots=True)
class _Computed:
    values: SignalValues | ImageError
    batch_start_ns: int
    inference_end_ns: int
    batch_size: int
    batch_position: int
    device: str


BatchDone = Callable[[str, int, int, int], None]  # device, start and end in Unix ns, images


class InferenceHandler:
    """Answers the RPC: packs requests of many callers into batches for a pool of engines."""

    def __init__(
        self,
        engines: Sequence[InferenceEngine],
        *,
        max_batch: int,
        max_batch_wait_seconds: float,
        on_batch: BatchDone = lambda *_: None,
    ) -> None:
        self._engines, self._on_batch = engines, on_batch
        size = engines[0].model.manifest.input_size
        self._shape = (size, size, 3)
        self._idle: queue.SimpleQueue[InferenceEngine] = queue.SimpleQueue()
        for engine in engines:
            self._idle.put(engine)
        self._batcher: DynamicBatcher[_Request, _Computed] = DynamicBatcher(
            self._run,
            max_batch,
            max_batch_wait_seconds,
            capacity=BATCHES_WAITING * max_batch * len(engines),
            threads=len(engines),
        )

    def infer(self, images: bytes, galaxies: list[str], deadline_ns: int) -> list[object]:
        """See inference.thrift. What it raises reaches the caller as a ServiceError, for all its images."""
        if not 1 <= len(galaxies) <= idl.IMAGES_PER_CALL:
            raise ConfigurationError(f"a call takes 1 to {idl.IMAGES_PER_CALL} images, not {len(galaxies)}")
        if len(images) != len(galaxies) * math.prod(self._shape):
            raise ConfigurationError(
                f"the model takes uint8 {self._shape}, not {len(images)} bytes for {len(galaxies)} images"
            )
        tensors = np.frombuffer(images, np.uint8).reshape(-1, *self._shape)
        futures: list[Future[_Computed]] = []
        try:
            for tensor, galaxy in zip(tensors, galaxies, strict=True):
                futures.append(self._batcher.submit(_Request(tensor, galaxy), deadline_ns))
            return [
                _answer(future.result(timeout=max(0.0, (deadline_ns - time.time_ns()) / 1e9)))
                for future in futures
            ]
        except FutureTimeoutError as error:
            raise ServiceError("the deadline passed before the images were computed") from error
        finally:
            for future in futures:
                future.cancel()  # where the call failed, no batch need take what still waits

    def describe(self) -> object:
        """See inference.thrift."""
        return idl.Description(
            model_sha256=self._engines[0].model.manifest.sha256,
            devices=[engine.device for engine in self._engines],
            signals=[signal.title for signal in declared_signals()],
        )

    def close(self) -> None:
        """Compute what waits, then stop."""
        self._batcher.close()

    def _run(self, batch: Batch[_Request]) -> list[_Computed]:
        engine = self._idle.get()  # there are as many batches at a time as engines
        try:
            outputs = engine.run(np.stack([request.image for request in batch]))
        finally:
            self._idle.put(engine)
        end_ns = time.time_ns()
        self._on_batch(engine.device, batch.start_ns, end_ns, len(batch))
        found = values_of_mixed_batch(outputs, [request.galaxy for request in batch])
        return [
            _Computed(values, batch.start_ns, end_ns, len(batch), position, engine.device)
            for position, values in enumerate(found)
        ]


def _answer(done: _Computed) -> object:
    failure = done.values if isinstance(done.values, ImageError) else None
    return idl.Answer(
        signals=[] if isinstance(done.values, ImageError) else _packed(done.values),
        failure_reason=failure.reason if failure else "",
        failure_detail=failure.detail if failure else "",
        batch_start_ns=done.batch_start_ns,
        inference_end_ns=done.inference_end_ns,
        batch_size=done.batch_size,
        device=done.device,
        batch_position=done.batch_position,
    )


def _packed(values: SignalValues) -> list[object]:
    return [_packed_signal(declaration, value) for declaration, value in values.items()]


def _packed_signal(declaration: SignalDeclaration, value: FloatArray) -> object:
    return idl.Signal(
        name=declaration.name,
        version=declaration.version,
        shape=list(value.shape),
        values=np.ascontiguousarray(value, dtype="<f4").tobytes(),
    )


def load_engines(
    model_dir: Path, *, device: Literal["cpu", "cuda"], workers: int, max_batch: int, first: int = 0
) -> list[InferenceEngine]:
    """Warm engines: one single-threaded session for each worker on a CPU, one for each of their GPUs.

    ``first`` is the number of the first worker, where several services share the work.
    """
    model = Model.load(model_dir)
    # Workers may share a GPU: more sessions on it would not make it more than one device.
    numbers = dict.fromkeys(device_index(device, number) for number in range(first, first + workers))
    engines = [InferenceEngine(model, device=device, threads=1, index=number) for number in numbers]
    for engine in engines:
        engine.warm_up(max_batch)
    return engines


def serve(context: RunContext, _index: int, stop: StopSignal) -> None:
    """Run the service until ``stop``."""
    with Ledger.from_context(context, "inference_service") as ledger:
        engines = load_engines(
            context.model_dir,
            device=context.device,
            workers=context.workers,
            max_batch=context.max_batch,
        )
        handler = InferenceHandler(
            engines,
            max_batch=context.max_batch,
            max_batch_wait_seconds=context.max_batch_wait_seconds,
            on_batch=functools.partial(book_batch, ledger, pool=POOL, path=POOL),
        )
        with (
            DeviceSession(ledger, path=POOL, pool=POOL, devices=[engine.device for engine in engines]),
            RpcServer(idl.Inference, handler, context.inference.token) as server,
        ):
            address = {"host": server.host, "port": server.port, "pid": os.getpid()}
            write_ready_file(inference_address_file(context.arm_dir), address)
            log(f"serving on port {server.port}, {engines[0].provider}, {len(engines)} device(s)")
            stop.wait()
        handler.close()


if __name__ == "__main__":
    run_process(__doc__, serve)
