"""What tests of the Kappa arm share: images, events, and readers of the topics, all on real servers."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from PIL import Image

from kappa_pipeline.arm import KappaArm
from kappa_pipeline.kafka import client_config, partitions_of
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent, RunContext
from signals.image import image_signature
from signals.object_store import ObjectStore

PIPELINE, GALAXY = "crawled", "pins"


def jpeg(seed: int, size: int = 240) -> bytes:
    """A small photo-like JPEG, distinct for each seed."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Feed:
    """Stages images and makes their events, numbered in order."""

    def __init__(self, context: RunContext) -> None:
        self.store = ObjectStore(context.s3)
        self.events: list[MediaEvent] = []

    def event(self, data: bytes, *, day: int = 0, scheduled_ns: int | None = None) -> MediaEvent:
        signature = image_signature(data)
        self.store.put(f"images/{signature}", data)
        made = MediaEvent(
            event_id=len(self.events),
            image_signature=signature,
            pipeline=PIPELINE,
            galaxy=GALAXY,
            day=day,
            scheduled_ns=time.time_ns() if scheduled_ns is None else scheduled_ns,
            object_key=f"images/{signature}",
        )
        self.events.append(made)
        return made


@contextlib.contextmanager
def running_arm(context: RunContext) -> Iterator[KappaArm]:
    arm = KappaArm()
    try:
        arm.start(context)
        yield arm
    finally:
        arm.stop()


def read_topic(context: RunContext, topic: str) -> list[bytes]:
    """Every message that the topic holds now."""
    consumer = Consumer(client_config(context, group_id=f"{topic}.test", enable_auto_commit=False))
    try:
        partitions = [TopicPartition(topic, p, 0) for p in partitions_of(consumer, topic)]
        left = sum(consumer.get_watermark_offsets(p, timeout=10)[1] for p in partitions)
        consumer.assign(partitions)
        values: list[bytes] = []
        while len(values) < left:
            messages = consumer.consume(100, timeout=1.0)
            assert messages, f"{topic}: {len(values)} of {left} messages"
            values += [message.value() for message in messages]
        return values
    finally:
        consumer.close()


def available(context: RunContext) -> list[AvailabilityEvent]:
    return [AvailabilityEvent.from_bytes(v) for v in read_topic(context, context.availability_topic)]


def dead_letters(context: RunContext) -> list[DeadLetter]:
    return [DeadLetter.from_bytes(v) for v in read_topic(context, context.dead_letter_topic)]


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.05)
