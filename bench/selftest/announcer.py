"""Kafka as an arm needs it at least: its topics, and messages that the broker has confirmed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from signals.architecture import AvailabilityEvent, DeadLetter, RunContext
from signals.errors import ServiceError

REQUEST_SECONDS = 10.0
PARTITIONS = 1


class Announcer:
    """Publishes availability events and dead letters of one arm. Thread-safe."""

    def __init__(self, context: RunContext) -> None:
        """Makes the topics. Raises ServiceError."""
        self._topics = {AvailabilityEvent: context.availability_topic, DeadLetter: context.dead_letter_topic}
        self._lock = threading.Lock()
        admin = AdminClient(context.kafka_client)
        topics = [NewTopic(name, PARTITIONS, replication_factor=-1) for name in self._topics.values()]
        try:
            for made in admin.create_topics(topics, operation_timeout=REQUEST_SECONDS).values():
                made.result(timeout=REQUEST_SECONDS)
        except KafkaException as error:
            raise ServiceError(f"Kafka could not create the topics of an arm: {error}") from error
        self._producer = Producer({**context.kafka_client, "linger.ms": 0})

    def publish(self, messages: Sequence[AvailabilityEvent | DeadLetter]) -> None:
        """Return when the broker has all ``messages``. Raises ServiceError."""
        failed: list[Any] = []

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        with self._lock:
            for message in messages:
                topic = self._topics[type(message)]
                self._producer.produce(topic, message.to_bytes(), on_delivery=delivered)
            left = self._producer.flush(REQUEST_SECONDS)
        if left or failed:
            raise ServiceError(f"Kafka did not take {left or len(failed)} messages: {failed[:1]}")

    def close(self) -> None:
        """Let go of the producer, whose threads end with it."""
        with self._lock:
            del self._producer
