"""Backfill: a past range of the media topic once more through the same stream.

``python -m kappa_pipeline.backfill --context PATH --start-ns A --end-ns B`` reads the arrivals whose event
time lies in [A, B) and produces them again; the running workers compute what is missing in Rockstore (a new
signal or version, images that were dead-lettered for a reason since removed) and only announce the rest.
What is computed belongs to the arrival's own day: run that day's dump again afterwards. The watermark has
long passed such arrivals, so it says nothing about a backfill; this program waits for them itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from confluent_kafka import Consumer, KafkaException, TopicPartition

from kappa_pipeline.kafka import (
    REQUEST_SECONDS,
    GroupLag,
    Message,
    Publisher,
    client_config,
    partitions_of,
)
from kappa_pipeline.media_message import parse_media_event
from signals.architecture import MediaEvent, RunContext
from signals.catalog import Catalog
from signals.errors import ImageError, PipelineError, ServiceError
from signals.program import exits_as

GROUP = 500  # events read or produced in one go
POLL_SECONDS = 0.1


def past_events(context: RunContext, start_ns: int, end_ns: int) -> Iterator[MediaEvent]:
    """The media events with event time in [start_ns, end_ns), Unix ns, that the topic holds now.

    Events of one image come in their order; unreadable messages are left out. Raises ServiceError.
    """
    catalog = Catalog.load(context.catalog_path)
    consumer = Consumer(
        client_config(context, group_id=f"{context.namespace}.backfill", enable_auto_commit=False)
    )
    try:
        ends = _assign(consumer, context.media_topic, start_ns)
        while ends:
            for message in consumer.consume(GROUP, timeout=POLL_SECONDS):
                if (error := message.error()) is not None:
                    raise ServiceError(f"Kafka refused to read {context.media_topic}: {error}")
                partition, offset = message.partition(), message.offset()
                if offset >= ends.get(partition, 0):
                    continue  # produced since, perhaps by this backfill
                if offset == ends[partition] - 1:
                    del ends[partition]
                try:
                    event = parse_media_event(message.value() or b"", catalog)
                except ImageError:
                    continue
                if event.kind == "media" and start_ns <= event.scheduled_ns < end_ns:
                    yield event
    finally:
        consumer.close()


def replay(context: RunContext, events: Iterable[MediaEvent]) -> int:
    """Produce ``events`` again, each image of a galaxy once: its first arrival decides the signals' day.

    Returns how many were produced. Raises ServiceError.
    """
    publisher = Publisher(context)
    seen: set[tuple[str, str]] = set()
    group: list[Message] = []
    for event in events:
        if (image := (event.galaxy, event.image_signature)) in seen:
            continue
        seen.add(image)
        group.append(Message(context.media_topic, event.to_bytes(), event.image_signature.encode()))
        if len(group) == GROUP:
            publisher.publish(group)
            group = []
    publisher.publish(group)
    return len(seen)


def wait_for_stream(context: RunContext, timeout_seconds: float) -> None:
    """Return when the stream has acknowledged all that the media topic holds now.

    Raises PipelineError when it has not in time.
    """
    lag = GroupLag(context)
    try:
        ends = lag.end_offsets()
        deadline = time.monotonic() + timeout_seconds
        while any(committed < ends[p] for p, committed in lag.committed().items()):
            if time.monotonic() > deadline:
                raise PipelineError(f"the stream did not finish the backfill in {timeout_seconds:.0f} s")
            time.sleep(POLL_SECONDS)
    finally:
        lag.close()


def _assign(consumer: Consumer, topic: str, start_ns: int) -> dict[int, int]:
    """Read from event time ``start_ns`` on; returns the present end offset of each partition with events."""
    asked = [TopicPartition(topic, p, start_ns // 1_000_000) for p in partitions_of(consumer, topic)]
    try:
        starts = consumer.offsets_for_times(asked, timeout=REQUEST_SECONDS)
        ends: dict[int, int] = {}
        for start in starts:
            _, end = consumer.get_watermark_offsets(start, timeout=REQUEST_SECONDS)
            if 0 <= start.offset < end:  # below 0: nothing that late
                ends[start.partition] = end
    except KafkaException as error:
        raise ServiceError(f"Kafka does not answer: {error}") from error
    consumer.assign([start for start in starts if start.partition in ends])
    return ends


@click.command()
@click.option("--context", "context_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--start-ns", type=int, required=True, help="First event time to replay, Unix ns.")
@click.option("--end-ns", type=int, required=True, help="Event time to stop before, Unix ns.")
@click.option("--timeout-seconds", type=float, default=3600.0, show_default=True)
def main(context_path: Path, start_ns: int, end_ns: int, timeout_seconds: float) -> None:
    """Replay a range of past arrivals through the running stream and wait until it is done with them."""
    context = RunContext.load(context_path)
    with exits_as("backfill"):
        count = replay(context, past_events(context, start_ns, end_ns))
        wait_for_stream(context, timeout_seconds)
    click.echo(f"backfill: {count} images", err=True)


if __name__ == "__main__":
    main()
