"""From an object key to signal values inside one process: fetch, decode, batch, infer.

Lambda's nightly worker and Kappa's stream worker both run this class, so that their difference is the
architecture around it. A few threads fetch and decode ahead of the device, which one batcher feeds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from signals.batcher import Batch, BatcherClosed, DynamicBatcher
from signals.catalog import Catalog, MediaConfig
from signals.declaration import FloatArray, SignalDeclaration
from signals.device_session import book_batch
from signals.errors import ImageError
from signals.image import RgbImage, decode_image, image_signature
from signals.inference import InferenceEngine, SignalValues, values_of_mixed_batch
from signals.ledger import Ledger
from signals.model import ModelManifest
from signals.preprocess import prepare
from signals.record import SignalRecord


@dataclass(frozen=True, slots=True)
class StageTimes:
    """When each stage ended, Unix ns; contiguous. 0: the image did not get that far."""

    fetch_start_ns: int
    fetch_end_ns: int = 0
    decode_end_ns: int = 0
    batch_start_ns: int = 0
    inference_end_ns: int = 0


@dataclass(frozen=True, slots=True)
class ComputeFailure:
    """Why an image can't become a signal: what a dead letter says."""

    stage: str  # fetch, decode, inference
    reason: str  # ImageError.reason
    detail: str


@dataclass(frozen=True, slots=True)
class ComputeResult:
    """Either ``values`` or ``failure`` is set. ``input_hash``: signature of the bytes, "" if not fetched."""

    values: SignalValues | None
    failure: ComputeFailure | None
    input_hash: str
    times: StageTimes
    batch_size: int = 0


@dataclass(frozen=True, slots=True)
class _Prepared:
    tensor: RgbImage
    galaxy: str
    input_hash: str
    fetch_start_ns: int
    fetch_end_ns: int
    decode_end_ns: int


class LocalCompute:
    """Computes signals on this process's device. Use as a context manager, or call :meth:`close`.

    ``fetch`` returns the bytes of an object; it is called from ``fetch_threads`` threads at a time and
    raises ImageError where the image is at fault (missing, too large). ``pool`` names the device pool that
    each batch is booked on in the ledger.
    """

    def __init__(
        self,
        fetch: Callable[[str], bytes],
        engine: InferenceEngine,
        catalog: Catalog,
        *,
        max_batch: int,
        max_wait_seconds: float,
        ledger: Ledger,
        pool: str,
        fetch_threads: int = 2,
    ) -> None:
        self._fetch, self._engine, self._catalog = fetch, engine, catalog
        self._ledger, self._pool = ledger, pool
        # Fetch threads stop here when the device is the slower part, one full batch ahead of it.
        self._batcher: DynamicBatcher[_Prepared, ComputeResult] = DynamicBatcher(
            self._infer, max_batch, max_wait_seconds, capacity=max_batch
        )
        self._fetchers = ThreadPoolExecutor(fetch_threads, thread_name_prefix="fetch")
        self._closed = threading.Event()
        self._cancelled = threading.Event()

    def submit(self, object_key: str, pipeline: str, galaxy: str) -> Future[ComputeResult]:
        """Start computing the signals that ``galaxy`` keeps of one image. The queue has no bound: bound the
        calls in flight. Not to be called while another thread is in :meth:`close`.

        An image at fault gives a result with ``failure``. The future raises only for what may pass when
        tried again: a store that can't be reached, or BatcherClosed after :meth:`close`. Raises
        ConfigurationError for a pipeline that is not in the catalog.
        """
        media = self._catalog.pipeline(pipeline).media
        future: Future[ComputeResult] = Future()
        if self._closed.is_set():
            raise BatcherClosed("the computation is closed")
        self._fetchers.submit(self._fetch_and_decode, object_key, media, galaxy, future)
        return future

    def close(self, *, cancel_pending: bool = False) -> None:
        """Finish what was submitted (or fail it with BatcherClosed) and stop all threads."""
        self._closed.set()
        if cancel_pending:
            self._cancelled.set()
            self._batcher.close(cancel_pending=True)
        self._fetchers.shutdown(wait=True)
        self._batcher.close()

    def __enter__(self) -> LocalCompute:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetch_and_decode(
        self, object_key: str, media: MediaConfig, galaxy: str, future: Future[ComputeResult]
    ) -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()
            return
        try:
            if self._cancelled.is_set():
                raise BatcherClosed("closed before the image was fetched")
            prepared = self._prepare(object_key, media, galaxy)
            if isinstance(prepared, _Prepared):
                self._batcher.submit(prepared, block=True, future=future)
            elif future.set_running_or_notify_cancel():
                future.set_result(prepared)
        except Exception as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _prepare(self, object_key: str, media: MediaConfig, galaxy: str) -> _Prepared | ComputeResult:
        start_ns = time.time_ns()
        try:
            data = self._fetch(object_key)
        except ImageError as error:
            return _failed("fetch", error, "", StageTimes(start_ns, time.time_ns()))
        input_hash = image_signature(data)
        fetch_end_ns = time.time_ns()
        try:
            tensor = load_image(data, media, self._engine.model.manifest)
        except ImageError as error:
            return _failed("decode", error, input_hash, StageTimes(start_ns, fetch_end_ns, time.time_ns()))
        return _Prepared(tensor, galaxy, input_hash, start_ns, fetch_end_ns, time.time_ns())

    def _infer(self, batch: Batch[_Prepared]) -> list[ComputeResult | Exception]:
        outputs = self._engine.run(np.stack([item.tensor for item in batch]))
        end_ns = time.time_ns()
        book_batch(self._ledger, self._engine.device, batch.start_ns, end_ns, len(batch), pool=self._pool)
        found = values_of_mixed_batch(outputs, [item.galaxy for item in batch])
        results: list[ComputeResult | Exception] = []
        for item, values in zip(batch, found, strict=True):
            times = StageTimes(
                item.fetch_start_ns, item.fetch_end_ns, item.decode_end_ns, batch.start_ns, end_ns
            )
            if isinstance(values, ImageError):
                results.append(_failed("inference", values, item.input_hash, times, len(batch)))
            else:
                results.append(ComputeResult(values, None, item.input_hash, times, len(batch)))
        return results


def load_image(data: bytes, media: MediaConfig, manifest: ModelManifest) -> RgbImage:
    """Decode and prepare: image bytes -> uint8 (size, size, 3). Raises ImageError."""
    return prepare(decode_image(data, media), manifest.preprocess)


def records_of(
    values: Mapping[SignalDeclaration, FloatArray],
    *,
    image_signature: str,
    galaxy: str,
    pipeline: str,
    day: int,
    model_sha256: str,
) -> list[SignalRecord]:
    """The records of one image's values, one per signal, ordered by signal name and version."""
    return [
        SignalRecord.from_array(
            value,
            image_signature=image_signature,
            galaxy=galaxy,
            signal=declaration.name,
            version=declaration.version,
            day=day,
            pipeline=pipeline,
            model_sha256=model_sha256,
        )
        for declaration, value in sorted(values.items(), key=lambda item: (item[0].name, item[0].version))
    ]


def _failed(
    stage: str, error: ImageError, input_hash: str, times: StageTimes, batch_size: int = 0
) -> ComputeResult:
    return ComputeResult(
        None, ComputeFailure(stage, error.reason, error.detail), input_hash, times, batch_size
    )
