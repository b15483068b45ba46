"""Publishes to Kafka, and says when a message has arrived there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import confluent_kafka

from signals.architecture import AvailabilityEvent, DeadLetter, RunContext
from signals.counters import count_produced
from signals.errors import ServiceError

DELIVERY_SECONDS = 15.0
POLL_SECONDS = 0.1


class Publisher:
    """Publishes the arm's two kinds of events. Thread-safe. Raises ServiceError when Kafka takes none."""

    def __init__(self, context: RunContext) -> None:
        self._availability_topic = context.availability_topic
        self._dead_letter_topic = context.dead_letter_topic
        self._producer = confluent_kafka.Producer(
            {
                **context.kafka_client,
                "enable.idempotence": True,
                "linger.ms": 0,
                "delivery.timeout.ms": round(DELIVERY_SECONDS * 1000),
            }
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-delivery", daemon=True)
        self._thread.start()

    def available(self, event: AvailabilityEvent) -> None:
        """Publish, and return once Kafka has it."""
        self._send(self._availability_topic, event.image_signature, event.to_bytes()).result()

    def dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Publish, and return once Kafka has all of them."""
        sent = [
            self._send(self._dead_letter_topic, letter.image_signature, letter.to_bytes())
            for letter in letters
        ]
        for future in sent:
            future.result()

    def close(self) -> None:
        """Send what is left and stop."""
        self._producer.flush(DELIVERY_SECONDS)
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, topic: str, key: str, value: bytes) -> Future[None]:
        future: Future[None] = Future()

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                count_produced(message)
                future.set_result(None)
            else:
                future.set_exception(ServiceError(f"Kafka did not take an event for {topic}: {error}"))

        try:
            self._producer.produce(topic, value, key=key, on_delivery=delivered)
        except (BufferError, confluent_kafka.KafkaException) as error:
            raise ServiceError(f"Kafka did not take an event for {topic}: {error}") from error
        return future

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(POLL_SECONDS)
