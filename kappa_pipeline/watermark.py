"""The stream's watermark: per partition, the event time up to which everything is acknowledged.

Event time is the moment at which an image arrived, which also decides its partition: what arrives after
midnight belongs to the next day, however old it is, so nothing is ever too late (docs/workloads.md).

A partition's messages are produced in the order of their event times. So when a message is acknowledged,
and with it all before it, no earlier event of that partition is still open. Heartbeats advance the
watermark of partitions that have no images; the stream publishes a heartbeat's watermark *before* it
acknowledges the heartbeat, so a worker that is killed in between publishes it again, never not at all.
"""

from __future__ import annotations

import time

import orjson
from confluent_kafka import Consumer, TopicPartition

from kappa_pipeline.kafka import Message, client_config, partitions_of
from signals.architecture import RunContext
from signals.counters import count_consumed
from signals.errors import PipelineError, ServiceError

POLL_SECONDS = 0.1


class Watermarks:
    """The watermarks that one worker knows of. Never goes back. Not thread-safe."""

    def __init__(self) -> None:
        self._watermark_ns: dict[int, int] = {}
        self._published_ns: dict[int, int] = {}

    def advance(self, partition: int, event_time_ns: int) -> None:
        """Everything up to a message with this event time is acknowledged in ``partition``."""
        self._watermark_ns[partition] = max(event_time_ns, self._watermark_ns.get(partition, 0))

    def take_advanced(self) -> dict[int, int]:
        """The partitions whose watermark has advanced since the last call, with their watermark."""
        advanced = {p: ns for p, ns in self._watermark_ns.items() if ns > self._published_ns.get(p, 0)}
        self._published_ns.update(advanced)
        return advanced


def watermark_message(context: RunContext, partition: int, watermark_ns: int) -> Message:
    """The message that announces one partition's watermark (event time, Unix ns)."""
    value = orjson.dumps({"partition": partition, "watermark_ns": watermark_ns})
    return Message(context.watermark_topic, value, key=str(partition).encode())


def wait_for_watermark(context: RunContext, midnight_ns: int, timeout_seconds: float) -> int:
    """Return once every partition of the media topic has passed ``midnight_ns``; returns the watermark.

    The stream's watermark is the smallest of its partitions' watermarks (event time, Unix ns).
    Raises PipelineError when that did not happen in time, naming the partitions that are behind.
    """
    consumer = Consumer(
        client_config(context, group_id=f"{context.namespace}.watermark_reader", enable_auto_commit=False)
    )
    try:
        watermarks = dict.fromkeys(partitions_of(consumer, context.media_topic), 0)
        # Offset 0, not "end minus something": a watermark is the maximum over all that was announced.
        consumer.assign([TopicPartition(context.watermark_topic, 0, 0)])
        deadline = time.monotonic() + timeout_seconds
        while min(watermarks.values()) < midnight_ns:
            if time.monotonic() > deadline:
                behind = sorted(p for p, ns in watermarks.items() if ns < midnight_ns)
                raise PipelineError(
                    f"the stream's watermark did not pass midnight within {timeout_seconds:.0f} s: "
                    f"partitions {behind} of {context.media_topic} still have open events"
                )
            for message in consumer.consume(num_messages=500, timeout=POLL_SECONDS):
                if (error := message.error()) is not None:
                    raise ServiceError(f"Kafka refused to read {context.watermark_topic}: {error}")
                count_consumed(message.key(), message.value())
                told = orjson.loads(message.value() or b"")
                partition = told["partition"]
                watermarks[partition] = max(told["watermark_ns"], watermarks.get(partition, 0))
        return min(watermarks.values())
    finally:
        consumer.close()
