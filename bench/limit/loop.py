"""The bare loop over all its processes: kept warm, so that its windows can be interleaved with anything."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np
import psutil

from bench.limit.worker import Arrivals, Done, Layout, Material, Task, Work, serve
from bench.open_loop import Seconds, due_ns
from signals.errors import ServiceError

STOP_SECONDS = 10.0
_DIED = "a process of the bare loop died; is there enough memory?"


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement. ``core_ms_per_image`` counts the loop's processes, ``server_core_ms_per_image`` what
    the servers in ``watched`` (the object store) used meanwhile."""

    images: int
    seconds: float
    images_per_second: float
    core_ms_per_image: float
    server_core_ms_per_image: float

    @property
    def total_core_ms_per_image(self) -> float:
        """Of the loop and the servers."""
        return self.core_ms_per_image + self.server_core_ms_per_image


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Arrivals at given times. ``waited_seconds``: float64 (arrivals,), each from when it was due until its
    outputs were there. CPU times as in :class:`Window`."""

    waited_seconds: Seconds
    seconds: float
    core_ms_per_image: float
    server_core_ms_per_image: float


class BareLoop:
    """Warm processes of one layout. A context manager. ``watched``: process ids whose CPU time is booked too.

    Raises ServiceError when a process can't load the model or the images, or dies.
    """

    def __init__(self, material: Material, layout: Layout, watched: Sequence[int] = ()) -> None:
        self.layout = layout
        self._watched = [psutil.Process(pid) for pid in watched]
        spawn = multiprocessing.get_context("spawn")  # a fork would share this process's threads and clients
        self._processes = []
        self._connections: list[Connection] = []
        self._turn = spawn.Value(ctypes.c_int64)
        for index in range(layout.processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=serve, args=(theirs, layout, index, self._turn), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)
        try:
            # Not an argument: start() would wait without end where a process died before it had read them.
            for connection in self._connections:
                self._send(connection, material)
            for connection in self._connections:
                self._receive(connection)
        except BaseException:
            self.close()
            raise

    def window(self, work: Work, seconds: float, batch: int = 0) -> Window:
        """Let all processes work for about ``seconds``, to the end of the batch that is under way."""
        done, server_seconds = self._do(Task(work, seconds, batch))
        images = sum(item.images for item in done)
        return Window(
            images=images,
            seconds=max(item.seconds for item in done),
            # Each process is timed by itself: a window ends with a process's batch, not with the slowest's.
            images_per_second=sum(item.images / item.seconds for item in done),
            core_ms_per_image=1e3 * sum(item.cpu_seconds for item in done) / images,
            server_core_ms_per_image=1e3 * server_seconds / images,
        )

    def open_loop(self, due_seconds: Seconds) -> OpenLoop:
        """An arrival at each of ``due_seconds`` from now; whichever process is free takes the next."""
        self._turn.value = 0
        done, server_seconds = self._do(Arrivals(due_ns(due_seconds)))
        images = len(due_seconds)
        waited = {number: seconds for item in done for number, seconds in item.waited_seconds.items()}
        return OpenLoop(
            waited_seconds=np.array([waited[number] for number in range(images)]),
            seconds=max(item.seconds for item in done),
            core_ms_per_image=1e3 * sum(item.cpu_seconds for item in done) / images,
            server_core_ms_per_image=1e3 * server_seconds / images,
        )

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(STOP_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, task: Task | Arrivals) -> tuple[list[Done], float]:
        """What each process did, and the CPU seconds of the watched servers meanwhile."""
        before = self._watched_cpu_seconds()
        for connection in self._connections:
            self._send(connection, task)
        done = [self._receive(connection) for connection in self._connections]
        return done, self._watched_cpu_seconds() - before

    def _send(self, connection: Connection, what: Material | Task | Arrivals) -> None:
        try:
            connection.send(what)
        except OSError as error:
            raise ServiceError(_DIED) from error

    def _receive(self, connection: Connection) -> Done:
        try:
            answer = connection.recv()
        except (EOFError, OSError) as error:
            raise ServiceError(_DIED) from error
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # None once, when it is ready

    def _watched_cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._watched)
