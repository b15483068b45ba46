"""Faust's Kafka consumer, made cheaper where it fetches messages and where it hands them on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from mode.services import WaitResults
from mode.utils.futures import maybe_async


class _NoThread:
    """Stands where Faust starts a thread: serves on the loop that runs already."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def start(self) -> None:
        """Serve until the service is stopped."""
        self._serving = self._service.thread_loop.create_task(self._service._serve())
        self._serving.add_done_callback(self._ended)

    def stop(self) -> None:
        """Nothing to join."""

    def _ended(self, serving: asyncio.Task[None]) -> None:
        self._service.set_shutdown()  # who stops it waits for this, also where closing the client has failed
        if not serving.cancelled():
            serving.exception()  # the service has told of it


class _ClientOnLoop(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's Kafka client without a thread and a loop of its own.

    It has them so that heartbeats go on while a stream computes. Here other processes do that, and all that
    is left of the thread are two hand-overs for each fetch.
    """

    Worker = _NoThread

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, instead of leaving it to the thread."""
        return await maybe_async(fun(*args, **kwargs))

    async def _gather_remaining_tasks(self) -> None:
        """The tasks of this loop are not the client's alone."""


class DirectConsumer(Consumer):  # type: ignore[misc]
    """Hands messages to the stream without a task for each, and fetches when more are wanted.

    Faust waits for "handed on" or "suspended, stopped or crashed meanwhile", whichever comes first, with four
    tasks for every message, which was a third of what the stream's loop had to do. Handing on does not wait
    when ``has_room`` says that the stream's buffer takes another message and messages flow; then there is
    nothing to wait for.

    ``until_wanted`` returns when more messages are wanted. Until then what arrives gathers at the broker, and
    comes with one fetch; Faust would make a fetch of nearly each message. aiokafka has one fetch under way
    before it is asked, and no other until that has been taken (``prefetch_backoff``: for 0.1 s).
    """

    def __init__(
        self,
        *args: Any,
        has_room: Callable[[], bool],
        until_wanted: Callable[[], Awaitable[None]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._has_room, self._until_wanted = has_room, until_wanted

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ClientOnLoop(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    async def sleep(self, n: float) -> None:
        """As :meth:`mode.Service.sleep`, which makes and cancels a task to let the loop turn once."""
        if n > 0:
            await super().sleep(n)
        else:
            await asyncio.sleep(0)

    async def _wait_next_records(self, timeout: float) -> Any:
        await self._until_wanted()
        return await super()._wait_next_records(timeout)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:
        """As :meth:`mode.Service.wait_first`; the first of ``coros`` hands a message on."""
        if not self._has_room() or not self.app.flow_control.is_active() or self.suspend_flow.is_set():
            return await super().wait_first(*coros, timeout=timeout)
        hand_on, *others = coros
        for other in others:
            other.close()
        return WaitResults([hand_on], [await hand_on], stopped=False)
