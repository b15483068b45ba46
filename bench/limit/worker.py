"""One process of the bare loop: what any path must do for an image, without queue, store or ledger."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Literal

import numpy as np

from bench.open_loop import sleep_until_due
from signals.architecture import S3Endpoint
from signals.catalog import Catalog, MediaConfig
from signals.compute import load_image
from signals.image import RgbImage
from signals.inference import InferenceEngine, device_index
from signals.model import Model
from signals.object_store import ObjectStore

BATCHES_AHEAD = 2  # prepared while one is computed


class Work(StrEnum):
    """What the loop does for each image."""

    DECODE = "decode"  # bytes in memory -> the model's input
    INFERENCE = "inference"  # inputs in memory -> outputs
    MEMORY = "decode_inference"  # bytes in memory -> outputs
    S3 = "s3_decode_inference"  # object key -> outputs


@dataclass(frozen=True, slots=True)
class Layout:
    """How the loop uses the machine. ``fetch_threads`` 0: one thread does everything in turn."""

    processes: int
    session_threads: int
    fetch_threads: int
    batch: int

    def __str__(self) -> str:
        return (
            f"{self.processes} process(es), session of {self.session_threads} thread(s), "
            f"{self.fetch_threads} fetch thread(s), batch {self.batch}"
        )


@dataclass(frozen=True, slots=True)
class Material:
    """What all processes of a loop work on. ``keys[i]`` is the object key of ``paths[i]``, if there is S3."""

    model_dir: Path
    device: Literal["cpu", "cuda"]
    paths: tuple[Path, ...]
    pipeline: str  # whose limits the images are decoded under
    catalog_path: str = ""
    s3: S3Endpoint | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """Work for a time, to the end of the batch that is under way. ``batch`` 0: that of the layout."""

    work: Work
    seconds: float
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Images one by one, each when it is due (Unix ns, in order), from the store where there is one. All
    processes have one queue: whoever is free takes the next."""

    due_ns: list[int]


@dataclass(frozen=True, slots=True)
class Done:
    """What one process did: ``cpu_seconds`` over all its threads. ``waited_seconds``: of its arrivals by
    their numbers, from when each was due until its outputs were there."""

    images: int
    seconds: float
    cpu_seconds: float
    waited_seconds: Mapping[int, float] = field(default_factory=dict)


class _Worker:
    def __init__(self, material: Material, layout: Layout, index: int) -> None:
        self._layout = layout
        self._engine = InferenceEngine(
            Model.load(material.model_dir),
            device=material.device,
            threads=layout.session_threads,
            index=device_index(material.device, index),
            whole_batches=True,  # what a batch costs is what is to be found out
        )
        self._media: MediaConfig = Catalog.load(material.catalog_path).pipeline(material.pipeline).media
        mine = range(index, len(material.paths), layout.processes)
        self._bytes = [material.paths[i].read_bytes() for i in mine]
        self._keys = [material.keys[i] for i in mine] if material.keys else []
        self._store = ObjectStore(material.s3) if material.s3 else None
        self._tensors = [self._decode(data) for data in self._bytes[: max(layout.batch, 32)]]
        self._position = 0
        self._engine.warm_up(layout.batch)

    def run(self, task: Task) -> Done:
        batch = task.batch or self._layout.batch
        started, cpu = time.monotonic(), time.process_time()
        images = 0
        for count in self._batches(task.work, batch):
            images += count
            if time.monotonic() >= started + task.seconds:
                break
        return Done(images, time.monotonic() - started, time.process_time() - cpu)

    def serve(self, arrivals: Arrivals, turn: Synchronized[int]) -> Done:
        started, cpu = time.monotonic(), time.process_time()
        source = self._from_memory if self._store is None else self._from_store
        waited_seconds: dict[int, float] = {}
        while True:
            with turn.get_lock():
                number = turn.value
                turn.value = number + 1
            if number >= len(arrivals.due_ns):
                break
            sleep_until_due(arrivals.due_ns[number])
            self._engine.run(source(number)[None])
            waited_seconds[number] = (time.time_ns() - arrivals.due_ns[number]) / 1e9
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        return Done(len(waited_seconds), seconds, cpu_seconds, waited_seconds)

    def _batches(self, work: Work, size: int) -> Iterator[int]:
        """Numbers of images done, without end."""
        if work is Work.INFERENCE:
            tensors = list(itertools.islice(itertools.cycle(self._tensors), size))
            while True:
                self._engine.run(np.stack(tensors))
                yield size
        source = self._from_store if work is Work.S3 else self._from_memory
        for tensors in self._prepared(source, size):
            if work is not Work.DECODE:
                self._engine.run(np.stack(tensors))
            yield len(tensors)

    def _prepared(self, source: Callable[[int], RgbImage], size: int) -> Iterator[list[RgbImage]]:
        numbers = itertools.count(self._position)
        if self._layout.fetch_threads == 0:
            while True:
                self._position += size
                yield [source(number) for number in itertools.islice(numbers, size)]
        with ThreadPoolExecutor(self._layout.fetch_threads) as pool:
            ahead: deque[Future[RgbImage]] = deque()
            try:
                while True:
                    while len(ahead) < BATCHES_AHEAD * size:
                        ahead.append(pool.submit(source, next(numbers)))
                    self._position += size
                    yield [ahead.popleft().result() for _ in range(size)]
            finally:
                for future in ahead:
                    future.cancel()

    def _from_memory(self, number: int) -> RgbImage:
        return self._decode(self._bytes[number % len(self._bytes)])

    def _from_store(self, number: int) -> RgbImage:
        assert self._store is not None
        return self._decode(self._store.get(self._keys[number % len(self._keys)], self._media.max_bytes))

    def _decode(self, data: bytes) -> RgbImage:
        return load_image(data, self._media, self._engine.model.manifest)


def serve(connection: Connection, layout: Layout, index: int, turn: Synchronized[int]) -> None:
    """The process: is sent its material, then does tasks until the other end of ``connection`` is closed, so
    it outlives no parent. All processes share ``turn``, the number of the next arrival."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        material: Material = connection.recv()
        worker = _Worker(material, layout, index)
        connection.send(None)
        while True:
            task: Task | Arrivals = connection.recv()
            connection.send(worker.run(task) if isinstance(task, Task) else worker.serve(task, turn))
    except EOFError:
        return
    except Exception as error:
        # The parent raises it, unless it has left already with the error of another process.
        with contextlib.suppress(OSError):
            connection.send(error)
