"""Faust's Kafka consumer, made cheaper where it hands a message on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faust.transport.drivers.aiokafka import Consumer
from mode.services import WaitResults


class DirectConsumer(Consumer):  # type: ignore[misc]
    """Hands messages to the stream without a task for each.

    Faust waits for "handed on" or "suspended, stopped or crashed meanwhile", whichever comes first, with four
    tasks for every message, which was a third of what the stream's loop had to do. Handing on does not wait
    when ``has_room`` says that the stream's buffer takes another message and messages flow; then there is
    nothing to wait for.
    """

    def __init__(self, *args: Any, has_room: Callable[[], bool], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_room = has_room

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:
        """As :meth:`mode.Service.wait_first`; the first of ``coros`` hands a message on."""
        if not self._has_room() or not self.app.flow_control.is_active() or self.suspend_flow.is_set():
            return await super().wait_first(*coros, timeout=timeout)
        hand_on, *others = coros
        for other in others:
            other.close()
        return WaitResults([hand_on], [await hand_on], stopped=False)
