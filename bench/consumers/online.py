"""The online consumer: reacts to availability events and fetches the signals through GSS.

An image counts as available when this client holds all its signals, not when a pipeline says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import confluent_kafka

from bench.consumers.progress import OnlineProgress, online_progress_file
from bench.consumers.runtime import consumer_context
from signals.architecture import AvailabilityEvent, DeadLetter, RunContext
from signals.counters import count_consumed
from signals.declaration import for_galaxy
from signals.errors import ServiceError
from signals.gss import GssClient
from signals.ledger import Ledger, Stage
from signals.process import StopSignal, write_ready_file
from signals.record import record_key

MESSAGES_PER_POLL = 100
POLL_SECONDS = 0.05
PROGRESS_SECONDS = 0.2


class OnlineClient:
    """Consumes availability events and dead letters of one arm and replicate, from the first one on."""

    def __init__(self, context: RunContext, ledger: Ledger) -> None:
        self._ledger = ledger
        self._gss = GssClient.of_run(context)
        self._dead_letter_topic = context.dead_letter_topic
        self._ended: dict[int, str] = {}
        self.progress = OnlineProgress()
        self._consumer = confluent_kafka.Consumer(
            {
                **context.kafka_client,
                "group.id": f"{context.namespace}.online_client",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign(
            [
                confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)
                for topic in (context.availability_topic, context.dead_letter_topic)
                for partition in self._partitions(topic)
            ]
        )

    def poll(self) -> None:
        """Handle what has arrived, waiting at most ``POLL_SECONDS``. Raises ServiceError."""
        available: list[AvailabilityEvent] = []
        for message in self._messages():
            if message.error() is not None:
                raise ServiceError(f"online client: Kafka says {message.error()}")
            count_consumed(message.key(), message.value())
            payload = message.value() or b""
            if message.topic() == self._dead_letter_topic:
                self._dead_letter(DeadLetter.from_bytes(payload))
            else:
                available.append(AvailabilityEvent.from_bytes(payload))
        if available:
            self._fetch(available)

    def _messages(self) -> list[confluent_kafka.Message]:
        # ``consume`` waits until it has all it was asked for, which would be counted as latency: so wait for
        # one message, then take those that are here already.
        first = self._consumer.poll(POLL_SECONDS)
        return [first, *self._consumer.consume(MESSAGES_PER_POLL, 0)] if first is not None else []

    def close(self) -> None:
        """Leave Kafka and GSS."""
        self._consumer.close()
        self._gss.close()

    def _fetch(self, events: Sequence[AvailabilityEvent]) -> None:
        keys = [
            [record_key(e.galaxy, s.name, s.version, e.image_signature) for s in for_galaxy(e.galaxy)]
            for e in events
        ]
        wanted = list(dict.fromkeys(key for group in keys for key in group))
        found = self._gss.multi_get(wanted)
        values = dict(zip(wanted, found, strict=True))
        complete = [all(values[key] is not None for key in group) for group in keys]
        now = time.time_ns()
        for event, is_complete in zip(events, complete, strict=True):
            outcome = self._outcome(event.event_id, is_complete)
            self._ledger.record(
                Stage.AVAILABLE_ONLINE,
                start_ns=event.scheduled_ns,
                end_ns=now,
                path="consumer",
                day=event.day,
                event_id=event.event_id,
                image_signature=event.image_signature,
                galaxy=event.galaxy,
                outcome=outcome,
                detail="" if event.recomputed else "stored before",
            )

    def _outcome(self, event_id: int, is_complete: bool) -> str:
        before = self._ended.get(event_id)
        if before == "ok":
            self.progress.redelivered += 1
            return "redelivered"
        outcome = "ok" if is_complete else "missing"
        if before is None:
            self.progress.count(outcome)
        elif before == "missing" and is_complete:  # announced too early, found at a later announcement
            self.progress.missing -= 1
            self.progress.count(outcome)
        # What was a dead letter before stays counted as one; the ledger shows that it ended both ways.
        self._ended[event_id] = outcome
        return outcome

    def _dead_letter(self, letter: DeadLetter) -> None:
        # The nightly path works on distinct signatures, not on arrivals: it ends none.
        if letter.event_id >= 0 and letter.event_id not in self._ended:
            self._ended[letter.event_id] = "dead_letter"
            self.progress.dead_letters += 1

    def _partitions(self, topic: str) -> list[int]:
        metadata = self._consumer.list_topics(topic, timeout=10).topics[topic]
        return sorted(metadata.partitions)


def main() -> None:
    """Run until SIGTERM."""
    context = consumer_context(__doc__)
    stop = StopSignal()
    with Ledger.from_context(context, "online_client") as ledger:
        client = OnlineClient(context, ledger)
        write_ready_file(context.arm_dir / "online_client.ready", {})
        written = 0.0
        while not stop.is_set():
            client.poll()
            if time.monotonic() - written > PROGRESS_SECONDS:
                client.progress.write(online_progress_file(context.arm_dir))
                written = time.monotonic()
        client.close()


if __name__ == "__main__":
    main()
