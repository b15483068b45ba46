"""The stream job's way to Rockstore and to Kafka: lookups and writes, grouped by what is ready.

Two threads, one for lookups and one for writes, each serve everything that has queued up while they were
busy in one RPC, so that a call's fixed cost is shared under load and nobody waits when there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from kappa_pipeline.kafka import Message, Publisher
from signals.architecture import RunContext
from signals.batcher import Batch, DynamicBatcher
from signals.encodings import encode_thrift
from signals.gss import GssClient
from signals.record import SignalRecord

GROUP = 64  # most lookups or writes served by one call
CAPACITY = 100_000  # work in flight is bounded by the engine, far below this


@dataclass(frozen=True, slots=True)
class Write:
    """Records to store, then one message to publish.

    ``message`` is called with the time of publishing (Unix ns) after the records are stored, never before.
    """

    records: Sequence[SignalRecord]
    message: Callable[[int], Message]


@dataclass(frozen=True, slots=True)
class WriteTimes:
    """When the records were encoded and stored, and when the broker had the message, Unix ns."""

    encoded_ns: int
    stored_ns: int
    published_ns: int


class Sink:
    """Lookups and writes of one worker. Thread-safe; futures raise ServiceError when a server is down."""

    def __init__(self, context: RunContext) -> None:
        # One client each: a lookup never queues behind a large write.
        self._lookups, self._writes = self._client(context), self._client(context)
        self._publisher = Publisher(context)
        self._lookup_batcher: DynamicBatcher[Sequence[bytes], list[bool]] = DynamicBatcher(
            self._look_up, GROUP, 0.0, CAPACITY
        )
        self._write_batcher: DynamicBatcher[Write, WriteTimes] = DynamicBatcher(
            self._write, GROUP, 0.0, CAPACITY
        )

    def contains(self, keys: Sequence[bytes]) -> Future[list[bool]]:
        """Whether Rockstore has each key."""
        return self._lookup_batcher.submit(keys)

    def write(self, write: Write) -> Future[WriteTimes]:
        """Store, then publish. Safe to repeat: records are keyed."""
        return self._write_batcher.submit(write)

    def close(self) -> None:
        """Stop; what waits is dropped, its messages were not acknowledged."""
        self._lookup_batcher.close(cancel_pending=True)
        self._write_batcher.close(cancel_pending=True)
        self._lookups.close()
        self._writes.close()

    @staticmethod
    def _client(context: RunContext) -> GssClient:
        return GssClient.of_run(context)

    def _look_up(self, batch: Batch[Sequence[bytes]]) -> list[list[bool] | Exception]:
        answers = iter(self._lookups.contains([key for keys in batch for key in keys]))
        return [[next(answers) for _ in keys] for keys in batch]

    def _write(self, batch: Batch[Write]) -> list[WriteTimes | Exception]:
        items = [(record.key, encode_thrift(record)) for write in batch for record in write.records]
        encoded_ns = time.time_ns()
        if items:
            self._writes.put(items)
        stored_ns = time.time_ns()
        self._publisher.publish([write.message(stored_ns) for write in batch])
        times = WriteTimes(encoded_ns, stored_ns, time.time_ns())
        return [times] * len(batch)
