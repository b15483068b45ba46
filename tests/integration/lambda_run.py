"""Drives a Lambda arm in tests as the harness does, and looks at what it left behind."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka
import numpy as np
import pyarrow as pa
from PIL import Image

from lambda_pipeline.arm import LambdaArm
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent, RunContext
from signals.catalog import Catalog
from signals.compute import load_image
from signals.gss import GssClient
from signals.image import image_signature
from signals.inference import InferenceEngine, SignalValues, signal_values
from signals.model import Model
from signals.object_store import ObjectStore


def photo(seed: int, size: int = 96) -> bytes:
    """A small JPEG that no other seed gives."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def truncated(seed: int) -> bytes:
    data = photo(seed)
    return data[: len(data) // 2]


@dataclass
class LambdaRun:
    """One arm that was started, and the events it was given."""

    context: RunContext
    arm: LambdaArm
    events: list[MediaEvent] = field(default_factory=list)

    def submit(self, images: Sequence[tuple[bytes, str]], day: int = 0) -> list[MediaEvent]:
        """Stage images, each with the pipeline that brings it, and submit them as arriving now."""
        catalog = Catalog.load()
        store = ObjectStore(self.context.s3)
        store.put_many([(f"images/{image_signature(data)}", data) for data, _ in images])
        store.close()
        new = [
            MediaEvent(
                event_id=len(self.events) + number,
                image_signature=image_signature(data),
                pipeline=pipeline,
                galaxy=catalog.pipeline(pipeline).galaxy,
                day=day,
                scheduled_ns=time.time_ns(),
                object_key=f"images/{image_signature(data)}",
            )
            for number, (data, pipeline) in enumerate(images)
        ]
        for event in new:
            self.arm.submit(event)
        self.events += new
        return new

    def gss(self) -> GssClient:
        return GssClient.of_run(self.context)

    def availability(self) -> list[AvailabilityEvent]:
        return [AvailabilityEvent.from_bytes(m) for m in self._messages(self.context.availability_topic)]

    def dead_letters(self) -> list[DeadLetter]:
        return [DeadLetter.from_bytes(m) for m in self._messages(self.context.dead_letter_topic)]

    def ledger(self) -> list[dict[str, Any]]:
        """All rows that the arm's processes wrote so far."""
        return [row for path in self.context.ledger_dir.glob("*.arrows") for row in _rows(path)]

    def _messages(self, topic: str) -> list[bytes]:
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.context.kafka_bootstrap,
                "group.id": "test",
                "enable.partition.eof": True,
            }
        )
        partitions = [
            confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING)
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        consumer.assign(partitions)
        found: list[bytes] = []
        ended = 0
        while ended < len(partitions):
            message = consumer.poll(10.0)
            assert message is not None, f"{topic} does not end"
            if message.error() is None:
                found.append(message.value())
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                ended += 1
        consumer.close()
        return found


@contextlib.contextmanager
def lambda_run(context: RunContext) -> Iterator[LambdaRun]:
    """A started arm; stopped at the end, whatever happens."""
    run = LambdaRun(context, LambdaArm())
    try:
        run.arm.start(context)
        yield run
    finally:
        run.arm.stop()


def shared_core(context: RunContext, data: bytes, pipeline: str) -> SignalValues:
    """What the shared core says that an image's signals are."""
    model = Model.load(context.model_dir)
    spec = Catalog.load().pipeline(pipeline)
    tensor = load_image(data, spec.media, model.manifest)
    (values,) = signal_values(InferenceEngine(model).run(tensor[None]), spec.galaxy)
    assert not isinstance(values, Exception)
    return values


def wait_until(is_true: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    # A process that was killed leaves a stream without an end.
    with contextlib.suppress(pa.ArrowInvalid, OSError), pa.OSFile(str(path)) as file:
        for batch in pa.ipc.open_stream(file):
            yield from batch.to_pylist()
