"""From an object key to signal values inside one process: fetch, decode, batch, infer.

Lambda's nightly worker and Kappa's stream worker both run this class, so that their difference is the
architecture around it.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from signals.architecture import RunContext
from signals.catalog import Catalog, MediaConfig
from signals.declaration import FloatArray, SignalDeclaration
from signals.device_session import book_batch
from signals.errors import ImageError
from signals.image import RgbImage, decode_image, image_signature
from signals.inference import InferenceEngine, SignalValues, device_index, values_of_mixed_batch
from signals.ledger import Ledger, Stage
from signals.model import Model, ModelManifest
from signals.object_store import ObjectStore
from signals.preprocess import prepare
from signals.record import SignalRecord

MAX_HOST_THREADS = 8
_WARM_UP_PX = 400


@dataclass(frozen=True, slots=True)
class StageTimes:
    """When each stage of an image began or ended, Unix ns. 0: the image did not get that far."""

    fetch_start_ns: int
    fetch_end_ns: int = 0
    decode_start_ns: int = 0
    decode_end_ns: int = 0
    batch_start_ns: int = 0
    inference_end_ns: int = 0

    def ends(self) -> Iterator[tuple[Stage, int]]:
        """The stages that the image went through, each with its end; contiguous from ``fetch_start_ns`` on.
        What is decoded in its batch's turn has waited for the batch before."""
        yield Stage.FETCH, self.fetch_end_ns
        if self.decode_start_ns > self.fetch_end_ns:
            yield Stage.BATCH_WAIT, self.decode_start_ns
        later = (
            (Stage.DECODE, self.decode_end_ns),
            (Stage.BATCH_WAIT, self.batch_start_ns),
            (Stage.INFERENCE, self.inference_end_ns),
        )
        yield from ((stage, end_ns) for stage, end_ns in later if end_ns)


@dataclass(frozen=True, slots=True)
class ComputeFailure:
    """Why an image can't become a signal: what a dead letter says."""

    stage: str  # fetch, decode, inference
    reason: str  # ImageError.reason
    detail: str


@dataclass(frozen=True, slots=True)
class ComputeResult:
    """Either ``values`` or ``failure`` is set. ``input_hash``: with a failure, the signature of the bytes; ""
    where they were not fetched."""

    values: SignalValues | None
    failure: ComputeFailure | None
    input_hash: str
    times: StageTimes
    batch_size: int = 0


class ImageRef(NamedTuple):
    """An image to compute: where its bytes are, and whose it is."""

    object_key: str
    pipeline: str
    galaxy: str


@dataclass(frozen=True, slots=True)
class _Fetched:
    media: MediaConfig
    galaxy: str
    data: bytes
    times: StageTimes


@dataclass(frozen=True, slots=True)
class _Prepared:
    tensor: RgbImage
    galaxy: str
    data: bytes
    times: StageTimes


def host_threads(workers: int) -> int:
    """Images that each of ``workers`` processes fetches and decodes at a time: its share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MAX_HOST_THREADS, cores // workers))


class LocalCompute:
    """Computes signals on this process's device, on its callers' threads. Use as a context manager, or call
    :meth:`close`.

    Made for a few callers, each with a group of images: one has the device, the others fetch and decode
    meanwhile; with ``in_turn`` they fetch, and whoever has the device decodes as well. ``fetch`` returns the
    bytes of an object and raises ImageError where the image is at fault (missing, too large); it is called
    from ``threads`` threads more if that is above 1. ``pool`` names the device pool that each batch is booked
    on in the ledger.
    """

    def __init__(
        self,
        fetch: Callable[[str], bytes],
        engine: InferenceEngine,
        catalog: Catalog,
        *,
        ledger: Ledger,
        pool: str,
        threads: int = 1,
        in_turn: bool = False,
    ) -> None:
        self._fetch, self._engine, self._catalog = fetch, engine, catalog
        self._ledger, self._pool = ledger, pool
        self._threads = ThreadPoolExecutor(threads, "fetch") if threads > 1 else None
        self._device = threading.RLock()  # whoever decodes in its turn has it already when it infers
        self._in_turn = in_turn

    @classmethod
    def of_worker(
        cls,
        context: RunContext,
        index: int,
        model: Model,
        catalog: Catalog,
        store: ObjectStore,
        ledger: Ledger,
        *,
        pool: str,
        in_turn: bool = False,
    ) -> LocalCompute:
        """That of worker ``index`` of a pool: images from ``store``, a device of its own, its share of the
        cores. Raises what :class:`InferenceEngine` raises.

        ``in_turn``, for throughput: where that share is the one core that is the device, decoding beside an
        inference makes neither faster and costs both their caches. (At low load it uses the cores of others.)
        """
        threads = host_threads(context.workers)
        number = device_index(context.device, index)
        engine = InferenceEngine(model, device=context.device, threads=1, index=number)
        max_bytes = max(spec.media.max_bytes for spec in catalog.pipelines.values())
        return cls(
            lambda key: store.get(key, max_bytes),
            engine,
            catalog,
            ledger=ledger,
            pool=pool,
            threads=threads,
            in_turn=in_turn and threads == 1 and context.device == "cpu",
        )

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider in use."""
        return self._engine.provider

    @property
    def device(self) -> str:
        """As the ledger names it."""
        return self._engine.device

    def warm_up(self, max_batch: int) -> None:
        """Go the way of an image once, with one that is made here, so that no real one pays for what is
        loaded and allocated on the first; and run every batch size that will be used."""
        self._engine.warm_up(max_batch)
        stream = io.BytesIO()
        Image.new("RGB", (_WARM_UP_PX, _WARM_UP_PX)).save(stream, "JPEG")
        for spec in self._catalog.pipelines.values():
            with contextlib.suppress(ImageError):  # a pipeline may take no such image
                tensor = load_image(stream.getvalue(), spec.media, self._engine.model.manifest)
                values_of_mixed_batch(self._engine.run(tensor[None]), [spec.galaxy])

    def compute(self, images: Sequence[ImageRef]) -> list[ComputeResult | Exception]:
        """The signals that its galaxy keeps of each image, computed as one batch of the device.

        An image at fault gives a result with ``failure``. An exception stands for what may pass when tried
        again: a store that can't be reached. Raises what the device raises, and ConfigurationError for a
        pipeline that is not in the catalog.
        """
        each = self._threads.map if self._threads is not None and len(images) > 1 else map
        if not self._in_turn:
            return self._computed(list(each(lambda image: self._decoded(self._fetched(image)), images)))
        fetched = list(each(self._fetched, images))
        with self._device:
            return self._computed([self._decoded(item) for item in fetched])

    def close(self) -> None:
        """Stop the threads, once they have done what was asked of them."""
        if self._threads is not None:
            self._threads.shutdown()

    def __enter__(self) -> LocalCompute:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetched(self, image: ImageRef) -> _Fetched | ComputeResult | Exception:
        media = self._catalog.pipeline(image.pipeline).media
        start_ns = time.time_ns()
        try:
            data = self._fetch(image.object_key)
        except ImageError as error:
            return _failed("fetch", error, "", StageTimes(start_ns, time.time_ns()))
        except Exception as error:
            return error
        return _Fetched(media, image.galaxy, data, StageTimes(start_ns, time.time_ns()))

    def _decoded(self, item: _Fetched | ComputeResult | Exception) -> _Prepared | ComputeResult | Exception:
        if not isinstance(item, _Fetched):
            return item
        # Without turns the stage begins where the fetch has ended: there is nothing to wait for.
        start_ns = time.time_ns() if self._in_turn else item.times.fetch_end_ns
        try:
            tensor = load_image(item.data, item.media, self._engine.model.manifest)
        except ImageError as error:
            times = replace(item.times, decode_start_ns=start_ns, decode_end_ns=time.time_ns())
            return _failed("decode", error, image_signature(item.data), times)
        times = replace(item.times, decode_start_ns=start_ns, decode_end_ns=time.time_ns())
        return _Prepared(tensor, item.galaxy, item.data, times)

    def _computed(
        self, loaded: Sequence[_Prepared | ComputeResult | Exception]
    ) -> list[ComputeResult | Exception]:
        computed = iter(self._infer([item for item in loaded if isinstance(item, _Prepared)]))
        return [next(computed) if isinstance(item, _Prepared) else item for item in loaded]

    def _infer(self, batch: Sequence[_Prepared]) -> list[ComputeResult]:
        if not batch:
            return []
        images = np.stack([item.tensor for item in batch])
        with self._device:
            start_ns = time.time_ns()
            outputs = self._engine.run(images)
            end_ns = time.time_ns()
        book_batch(self._ledger, self._engine.device, start_ns, end_ns, len(batch), pool=self._pool)
        results: list[ComputeResult] = []
        found = values_of_mixed_batch(outputs, [item.galaxy for item in batch])
        for item, values in zip(batch, found, strict=True):
            times = replace(item.times, batch_start_ns=start_ns, inference_end_ns=end_ns)
            if isinstance(values, ImageError):
                results.append(_failed("inference", values, image_signature(item.data), times, len(batch)))
            else:
                results.append(ComputeResult(values, None, "", times, len(batch)))
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
