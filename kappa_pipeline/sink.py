"""The stream job's way to Rockstore and to Kafka: lookups and writes of many images, a few calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kappa_pipeline.call_groups import CallGroups
from kappa_pipeline.kafka import Message, Publisher
from signals.architecture import RunContext
from signals.gss import GssClient

GROUP = 64  # most lookups or writes served by one call


@dataclass(frozen=True, slots=True)
class Write:
    """Encoded records by key to store, then one message to publish.

    ``message`` is called with the time of publishing (Unix ns) after the records are stored, never before.
    """

    items: Sequence[tuple[bytes, bytes]]
    message: Callable[[int], Message]


@dataclass(frozen=True, slots=True)
class WriteTimes:
    """When the records were stored, and when the broker had the message, Unix ns."""

    stored_ns: int
    published_ns: int


class Sink:
    """Lookups and writes of one worker, for coroutines of one loop.

    Raises ServiceError when a server is down.
    """

    def __init__(self, context: RunContext) -> None:
        # One client each: a lookup never queues behind a large write.
        self._lookup_client, self._write_client = GssClient.of_run(context), GssClient.of_run(context)
        self._publisher = Publisher(context)
        self._lookups: CallGroups[Sequence[bytes], list[bool]] = CallGroups(
            self._look_up, enough=1, largest=GROUP, name="lookup"
        )
        self._writes: CallGroups[Write, WriteTimes] = CallGroups(
            self._write, enough=context.max_batch, largest=GROUP, name="write"
        )

    async def contains(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether Rockstore has each key."""
        return await self._lookups.call(keys)

    async def write(self, write: Write, patience_seconds: float = 0.0) -> WriteTimes:
        """Store, then publish. Safe to repeat: records are keyed.

        ``patience_seconds``: how long it may wait for other writes, to share their calls.
        """
        return await self._writes.call(write, patience_seconds)

    def close(self) -> None:
        """Stop; what waits is dropped, its messages were not acknowledged."""
        self._lookups.close()
        self._writes.close()
        self._lookup_client.close()
        self._write_client.close()

    def _look_up(self, group: Sequence[Sequence[bytes]]) -> list[list[bool]]:
        return self._lookup_client.contains_each(group)

    def _write(self, group: Sequence[Write]) -> list[WriteTimes | Exception]:
        if items := [item for write in group for item in write.items]:
            self._write_client.put(items)
        stored_ns = time.time_ns()
        self._publisher.publish([write.message(stored_ns) for write in group])
        times = WriteTimes(stored_ns, time.time_ns())
        return [times] * len(group)
