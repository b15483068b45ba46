from __future__ import annotations

import asyncio
from typing import Any

import faust
import pytest
from faust.types import TP

from kappa_pipeline.faust_consumer import DirectConsumer


class Fetching(DirectConsumer):  # type: ignore[misc]
    """Counts what it asks its client for, which has nothing."""

    fetches = 0

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        self.fetches += 1
        return {}


def consumer_of(app: Any, wanted: asyncio.Event) -> Fetching:
    async def until_wanted() -> None:
        await wanted.wait()

    async def told(*_: Any) -> None: ...

    made = Fetching(
        *(app.transport, told, told, told),
        has_room=lambda: True,
        until_wanted=until_wanted,
    )
    made._set_active_tps({TP("media", 0)})
    return made


async def drain(messages: Any) -> list[Any]:
    return [message async for message in messages]


def test_fetches_when_more_messages_are_wanted_and_not_before() -> None:
    async def play() -> None:
        wanted = asyncio.Event()
        consumer = consumer_of(faust.App("test", broker="kafka://127.0.0.1:1"), wanted)
        fetch = asyncio.ensure_future(drain(consumer.getmany(timeout=0)))
        await asyncio.sleep(0.05)
        assert consumer.fetches == 0
        wanted.set()
        assert await fetch == []
        assert consumer.fetches == 1

    asyncio.run(play())


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_sleeps_as_long_as_it_is_told(seconds: float) -> None:
    async def play() -> None:
        consumer = consumer_of(faust.App("test", broker="kafka://127.0.0.1:1"), asyncio.Event())
        loop = asyncio.get_running_loop()
        others: list[str] = []
        loop.call_soon(others.append, "served")
        start = loop.time()
        await consumer.sleep(seconds)
        assert loop.time() - start >= 0.9 * seconds
        assert others  # the loop has turned

    asyncio.run(play())
