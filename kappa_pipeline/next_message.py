"""Asks the broker whether offsets that never came are missing, or hold no message."""

from __future__ import annotations

import threading

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from kappa_pipeline.kafka import REQUEST_SECONDS, client_config, group_id
from signals.architecture import RunContext
from signals.errors import ServiceError


class NextMessage:
    """Finds the next message of the media topic's partitions. Thread-safe.

    Offsets without a message are common: the end of each transaction takes one, compaction and retention
    remove messages. Nobody but the broker can tell them from messages that were lost on their way.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None  # most topics never need one

    def offset(self, partition: int, at_least: int) -> int:
        """The first offset from ``at_least`` on that holds a message; where there is none, the next one to be
        written. Raises ServiceError."""
        with self._lock:
            try:
                if self._consumer is None:
                    self._consumer = self._new_consumer()
                self._consumer.assign([TopicPartition(self._context.media_topic, partition, at_least)])
                found = self._consumer.poll(REQUEST_SECONDS)
                self._consumer.unassign()
            except KafkaException as error:
                raise ServiceError(f"Kafka does not answer: {error}") from error
        if found is None:
            raise ServiceError(f"Kafka does not answer within {REQUEST_SECONDS:.0f} s")
        problem, offset = found.error(), found.offset()
        if offset is None or (problem is not None and problem.code() != KafkaError._PARTITION_EOF):
            raise ServiceError(f"Kafka does not answer: {problem}")
        return int(offset)

    def _new_consumer(self) -> Consumer:
        # Never subscribes and commits nothing; sees what Faust sees, and fetches no more than asked.
        return Consumer(
            client_config(
                self._context,
                group_id=f"{group_id(self._context)}.next",
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
                isolation_level="read_uncommitted",
                queued_min_messages=1,
            )
        )
