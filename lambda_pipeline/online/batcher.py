"""Dynamic batching: many callers, one device.

A batch is sent when it is full, or when its oldest item has waited long enough. With a wait of 0 a free
device takes whatever is ready, at most a full batch: batches then grow with the load by themselves.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from signals.errors import ServiceError

T = TypeVar("T")
R = TypeVar("R")


class DeadlineExceeded(ServiceError):
    """The item's deadline passed before there was room for it, or before a batch took it: not computed."""


class BatcherClosed(ServiceError):
    """The batcher is closed and takes no more items."""


class Batch(list[T]):
    """The items of one batch, in the order of submission. ``start_ns``: when it was taken, Unix ns."""

    def __init__(self, items: Sequence[T], start_ns: int) -> None:
        super().__init__(items)
        self.start_ns = start_ns


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    item: T
    deadline_ns: int | None
    future: Future[R]
    since: float = field(default_factory=time.monotonic)


class DynamicBatcher(Generic[T, R]):
    """Collects single items into batches for ``run``, which returns one result per item, in order.

    A result that is an exception becomes that item's exception and leaves its neighbours alone; an
    exception raised by ``run`` becomes every item's. ``threads`` batches may be in ``run`` at a time.
    At most ``capacity`` items wait for a batch, and callers for their room. ``submit`` may be called from any
    thread.
    """

    def __init__(
        self,
        run: Callable[[Batch[T]], Sequence[R | Exception]],
        max_batch: int,
        max_wait_seconds: float,
        capacity: int,
        threads: int = 1,
    ) -> None:
        if max_batch < 1 or capacity < 1 or threads < 1 or max_wait_seconds < 0:
            raise ValueError("max_batch, capacity and threads must be 1 or more, max_wait_seconds 0 or more")
        self._run, self._max_batch, self._max_wait = run, max_batch, max_wait_seconds
        self._capacity = capacity
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._arrived, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._threads = [
            threading.Thread(target=self._serve, name=f"batcher-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, item: T, deadline_ns: int | None = None) -> Future[R]:
        """Queue one item, once there is room. ``deadline_ns``, Unix ns: when its result would be of no use.

        Raises DeadlineExceeded where there is no room until then, and BatcherClosed after :meth:`close`. The
        future raises DeadlineExceeded or what ``run`` raised.
        """
        with self._lock:
            while len(self._waiting) >= self._capacity and not self._closed:
                left = None if deadline_ns is None else (deadline_ns - time.time_ns()) / 1e9
                if left is not None and left <= 0:
                    raise DeadlineExceeded(f"{self._capacity} items were waiting for a batch all the time")
                self._room.wait(left)
            if self._closed:
                raise BatcherClosed("the batcher is closed")
            waiting: _Waiting[T, R] = _Waiting(item, deadline_ns, Future())
            self._waiting.append(waiting)
            self._arrived.notify()
        return waiting.future

    def close(self) -> None:
        """Take no more items, compute those that wait, and stop."""
        with self._lock:
            self._closed = True
            self._arrived.notify_all()
            self._room.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> DynamicBatcher[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while (taken := self._take()) is not None:
            start_ns = time.time_ns()
            current: list[_Waiting[T, R]] = []
            for waiting in taken:
                if not waiting.future.set_running_or_notify_cancel():
                    continue
                if waiting.deadline_ns is not None and waiting.deadline_ns <= start_ns:
                    waiting.future.set_exception(DeadlineExceeded("no batch took the item in time"))
                else:
                    current.append(waiting)
            if current:
                self._compute(current, start_ns)

    def _take(self) -> list[_Waiting[T, R]] | None:
        """The next batch; blocks until there is one. None when closed and empty."""
        with self._lock:
            while True:
                if not self._waiting:
                    if self._closed:
                        return None
                    self._arrived.wait()
                    continue
                left = self._waiting[0].since + self._max_wait - time.monotonic()
                if len(self._waiting) >= self._max_batch or left <= 0 or self._closed:
                    break
                self._arrived.wait(left)
            taken = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            self._room.notify(len(taken))
            if self._waiting:  # more than one batch was waiting: another thread may have slept through it
                self._arrived.notify()
            return taken

    def _compute(self, current: list[_Waiting[T, R]], start_ns: int) -> None:
        try:
            results = self._run(Batch([waiting.item for waiting in current], start_ns))
            if len(results) != len(current):
                raise RuntimeError(f"{len(results)} results for a batch of {len(current)}")
        except Exception as error:
            results = [error] * len(current)
        for waiting, result in zip(current, results, strict=True):
            if isinstance(result, Exception):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
