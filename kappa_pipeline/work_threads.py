"""Threads that take what waits, in groups: the fixed cost of a call is shared when there is much to do, and
nothing waits for company when there is little."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkThreads(Generic[T]):
    """A thread for each of ``runs``, which calls it with one group after the other.

    A group is a share of what waits, so that the other threads, and what comes next, find something too;
    one item at least, ``largest`` at most. ``runs`` must not raise.
    """

    def __init__(self, runs: Sequence[Callable[[list[T]], None]], *, largest: int) -> None:
        self._largest, self._shares = largest, 2 * len(runs)
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._serve, args=(run,), name=f"work-{number}", daemon=True)
            for number, run in enumerate(runs)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, item: T) -> None:
        """Leave one item to the threads, unless they were stopped."""
        with self._changed:
            if self._stopped:
                return
            self._waiting.append(item)
            self._changed.notify()

    def stop(self) -> None:
        """Drop what waits, and take no more."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and return when no group is in work."""
        self.stop()
        for thread in self._threads:
            thread.join()

    def _serve(self, run: Callable[[list[T]], None]) -> None:
        while group := self._take():
            run(group)

    def _take(self) -> list[T]:
        """The next group; empty when stopped."""
        with self._changed:
            while not self._waiting and not self._stopped:
                self._changed.wait()
            size = max(1, min(self._largest, len(self._waiting) // self._shares))
            return [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
