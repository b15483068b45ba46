"""Publishes to Kafka, and says which messages have arrived there."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import confluent_kafka

from signals.architecture import AvailabilityEvent, DeadLetter, RunContext
from signals.counters import count_produced
from signals.errors import ServiceError

DELIVERY_SECONDS = 15.0
LINGER_SECONDS = 0.1  # of what is not flushed: the messages of a call gather, and leave at its end


class Publisher:
    """Publishes the arm's two kinds of events, for one thread, which serves its own callbacks."""

    def __init__(self, context: RunContext) -> None:
        self._availability_topic = context.availability_topic
        self._dead_letter_topic = context.dead_letter_topic
        self._producer = confluent_kafka.Producer(
            {
                **context.kafka_client,
                "enable.idempotence": True,
                "linger.ms": round(LINGER_SECONDS * 1000),
                "delivery.timeout.ms": round(DELIVERY_SECONDS * 1000),
            }
        )

    def available(self, events: Sequence[AvailabilityEvent]) -> list[ServiceError | None]:
        """Publish all, and return once Kafka has answered: None for each event that it has, or why not."""
        messages = [(event.image_signature, event.to_bytes()) for event in events]
        return self._publish(self._availability_topic, messages)

    def dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Publish, and return once Kafka has all of them. Raises ServiceError where it took none of one."""
        messages = [(letter.image_signature, letter.to_bytes()) for letter in letters]
        for refusal in self._publish(self._dead_letter_topic, messages):
            if refusal is not None:
                raise refusal

    def close(self) -> None:
        """Send what is left."""
        self._producer.flush(DELIVERY_SECONDS)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[ServiceError | None]:
        """Send messages, each a key and a value, in as few requests as there are partitions."""
        said: list[ServiceError | None] = [
            ServiceError(f"Kafka did not answer for an event for {topic}") for _ in messages
        ]

        def answered(number: int, error: Any, message: Any) -> None:
            said[number] = _refusal(topic, error) if error is not None else None
            if error is None:
                count_produced(message)

        for number, (key, value) in enumerate(messages):
            try:
                self._producer.produce(topic, value, key=key, on_delivery=functools.partial(answered, number))
            except (BufferError, confluent_kafka.KafkaException) as error:
                said[number] = _refusal(topic, error)
        self._producer.flush(2 * DELIVERY_SECONDS)  # each is answered, or given up, within DELIVERY_SECONDS
        return said


def _refusal(topic: str, error: object) -> ServiceError:
    return ServiceError(f"Kafka did not take an event for {topic}: {error}")
