"""Calls that many coroutines ask for, made together: one call, one hand-over to a thread and one back.

What is asked for while a call is under way, or in the same turn of the loop, goes into the next call. So the
fixed cost of a call is shared under load, and nobody waits for others when there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class CallGroups(Generic[T, R]):
    """Groups the items of one kind of call, for coroutines of one loop.

    ``run`` is called on a thread of its own, with at most ``largest`` items at a time, and returns a result
    or an exception for each, in order; an exception that it raises is every item's. A group of ``enough``
    items waits for no more.
    """

    def __init__(
        self, run: Callable[[Sequence[T]], Sequence[R | Exception]], *, enough: int, largest: int, name: str
    ) -> None:
        self._run, self._enough, self._largest = run, enough, largest
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._is_running = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")  # when the oldest patience ends, in the loop's time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def call(self, item: T, patience_seconds: float = 0.0) -> R:
        """The result for ``item``, whose call may wait that long for others to join it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        self._due = min(self._due, loop.time() + patience_seconds)
        self._schedule(loop)
        return await future

    def close(self) -> None:
        """Finish the call that is under way; what waits is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_running or not self._waiting:
            return
        # At the earliest when this turn of the loop is over: what is asked for in the same one joins.
        due = 0.0 if len(self._waiting) >= self._enough else self._due
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._is_running = None, True
        group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
        self._due = 0.0 if self._waiting else float("inf")
        self._thread.submit(self._call, [item for item, _ in group]).add_done_callback(
            lambda done: self._hand_back(loop, group, done)
        )

    def _call(self, items: Sequence[T]) -> Sequence[R | Exception]:
        results = self._run(items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for a group of {len(items)}")
        return results

    def _hand_back(
        self,
        loop: asyncio.AbstractEventLoop,
        group: Sequence[tuple[T, asyncio.Future[R]]],
        done: Future[Sequence[R | Exception]],
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._finish, loop, group, done)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        group: Sequence[tuple[T, asyncio.Future[R]]],
        done: Future[Sequence[R | Exception]],
    ) -> None:
        self._is_running = False
        self._schedule(loop)
        error = done.exception()
        results = done.result() if error is None else [error] * len(group)
        for (_, future), result in zip(group, results, strict=True):
            if future.done():  # cancelled
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
