"""Kafka as the Kappa arm uses it outside of Faust: a confirmed publisher, and the group's lag."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from signals.architecture import RunContext
from signals.counters import count_produced
from signals.errors import ServiceError

REQUEST_SECONDS = 10.0
DELIVERY_SECONDS = 20.0
REPORT_SECONDS = 5.0  # until a message that has expired is reported


def client_config(context: RunContext, **more: Any) -> dict[str, Any]:
    """librdkafka settings of every client of this run; ``more`` are settings with ``_`` for ``.``."""
    extra = {name.replace("_", "."): value for name, value in more.items()}
    return {**context.kafka_client, **extra}


def new_producer(context: RunContext, **more: Any) -> Producer:
    """A producer that keeps the order of a partition and never duplicates on retry. ``more``: see
    :func:`client_config`."""
    return Producer(client_config(context, **{"enable_idempotence": True, "linger_ms": 0, **more}))


def group_id(context: RunContext) -> str:
    """The consumer group of the stream job."""
    return f"{context.namespace}.stream"


def partitions_of(client: Any, topic: str) -> list[int]:
    """Partition numbers of an existing topic. ``client``: any confluent client. Raises ServiceError."""
    try:
        found = client.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
    except KafkaException as error:
        raise ServiceError(f"Kafka does not answer: {error}") from error
    if found.error is not None or not found.partitions:
        raise ServiceError(f"the Kafka topic {topic} does not exist")
    return sorted(found.partitions)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish."""

    topic: str
    value: bytes
    key: bytes = b""


class Publisher:
    """Publishes and waits until the broker has it. For one thread, which serves its own callbacks."""

    LINGER_MS = 100  # whatever is produced waits for the flush, which sends it as one request

    def __init__(self, context: RunContext) -> None:
        # What is reported as failed is not sent later, when the same has long been published again.
        expiry_ms = round(DELIVERY_SECONDS * 1000)
        self._producer = new_producer(context, linger_ms=self.LINGER_MS, message_timeout_ms=expiry_ms)

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish all and return when all are written. Raises ServiceError; some may be written then."""
        failed: list[str] = []
        waiting = len(messages)

        def delivered(error: Any, message: Any) -> None:
            nonlocal waiting
            waiting -= 1
            if error is None:
                count_produced(message)
            else:
                failed.append(str(error))

        for message in messages:
            self._producer.produce(
                message.topic, message.value, key=message.key or None, on_delivery=delivered
            )
        self._producer.flush(DELIVERY_SECONDS + REPORT_SECONDS)
        if waiting or failed:
            raise ServiceError(f"Kafka did not take {waiting or len(failed)} messages: {failed[:1]}")


class GroupLag:
    """How far the stream job's committed offsets are behind the media topic. Thread-safe."""

    def __init__(self, context: RunContext) -> None:
        self._topic = context.media_topic
        self._lock = threading.Lock()
        # Never subscribes, so it never takes part in the group; it only reads the group's offsets.
        self._consumer = Consumer(
            client_config(context, group_id=group_id(context), enable_auto_commit=False)
        )
        self._partitions = partitions_of(self._consumer, self._topic)

    def end_offsets(self) -> dict[int, int]:
        """The offset after the last message, by partition."""
        with self._lock:
            return {p: self._watermarks(p)[1] for p in self._partitions}

    def committed(self) -> dict[int, int]:
        """The group's committed offset, by partition; the first offset where it never committed."""
        with self._lock:
            asked = [TopicPartition(self._topic, p) for p in self._partitions]
            try:
                found = self._consumer.committed(asked, timeout=REQUEST_SECONDS)
            except KafkaException as error:
                raise ServiceError(f"Kafka does not answer: {error}") from error
            return {
                tp.partition: tp.offset if tp.offset >= 0 else self._watermarks(tp.partition)[0]
                for tp in found
            }

    def lag(self) -> int:
        """Messages that the stream job has not acknowledged yet. Raises ServiceError."""
        return self.behind(self.end_offsets())

    def behind(self, end_offsets: Mapping[int, int]) -> int:
        """Messages before ``end_offsets`` that are not acknowledged yet. Raises ServiceError."""
        committed = self.committed()
        return sum(max(0, end - committed[p]) for p, end in end_offsets.items())

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _watermarks(self, partition: int) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=REQUEST_SECONDS
            )
        except KafkaException as error:
            raise ServiceError(f"Kafka does not answer: {error}") from error
        return low, high
