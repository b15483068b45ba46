from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kappa_pipeline.arrival import Arrival, Attempt
from kappa_pipeline.kafka import Message, Publisher
from kappa_pipeline.nrtg import plan_signals
from kappa_pipeline.stream_job import StreamJob
from signals.architecture import MediaEvent, RunContext
from signals.catalog import Catalog
from signals.compute import ComputeResult, ImageRef, LocalCompute
from signals.declaration import declared_signals
from signals.errors import ServiceError
from signals.gss import GssClient
from signals.image import image_signature
from signals.inference import InferenceEngine
from signals.ledger import Ledger
from signals.model import Model
from signals.near_free import build_near_free_model
from tests.unit.small_jpeg import jpeg

CONTEXT = SimpleNamespace(
    max_batch=8, max_attempts=3, availability_topic="available", dead_letter_topic="dead"
)


class Store:
    """GSS in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def contains_each(self, keys: Sequence[Sequence[bytes]]) -> list[list[bool]]:
        return [[key in self.values for key in of_image] for of_image in keys]

    def put(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        self.values.update(items)


class Outbox:
    """A publisher that keeps what it was given, after so many ``refusals``."""

    def __init__(self, refusals: int = 0) -> None:
        self.messages: list[Message] = []
        self._refusals = refusals

    def publish(self, messages: Sequence[Message]) -> None:
        if self._refusals:
            self._refusals -= 1
            raise ServiceError("Kafka is away")
        self.messages += messages


class Touchy(LocalCompute):
    """Fails whole batches in which there is a certain image."""

    deadly = ""

    def compute(self, images: Sequence[ImageRef]) -> list[ComputeResult | Exception]:
        if any(image.object_key == self.deadly for image in images):
            raise MemoryError("one image is too much")
        return super().compute(images)


def run_job(
    compute: LocalCompute, keys: Sequence[str], store: Store, outbox: Outbox, ledger: Ledger, model: Model
) -> list[Arrival]:
    """One attempt at an arrival of each image, together."""
    job = StreamJob(
        cast(RunContext, CONTEXT),
        plan_signals(declared_signals(), Catalog.load(), model.manifest.outputs),
        compute,
        cast(GssClient, store),
        cast(Publisher, outbox),
        ledger,
        model_sha256=model.manifest.sha256,
    )
    now_ns = time.time_ns()
    events = [
        MediaEvent(number, key.rpartition("/")[2], "crawled", "pins", 0, now_ns, key)
        for number, key in enumerate(keys)
    ]
    arrivals = [Arrival.of(Attempt(event, 1, event.scheduled_ns), ledger, "cpu:0") for event in events]
    job.run(arrivals)
    return arrivals


def test_an_image_that_fails_its_batch_fails_alone(ledger: Ledger, tmp_path: Path) -> None:
    model, catalog = Model.load(build_near_free_model(tmp_path)), Catalog.load()
    images = {f"images/{image_signature(data)}": data for data in map(jpeg, range(4))}
    store, outbox = Store(), Outbox()
    with Touchy(images.__getitem__, InferenceEngine(model), catalog, ledger=ledger, pool="stream") as compute:
        compute.deadly = list(images)[1]
        arrivals = run_job(compute, list(images), store, outbox, ledger, model)
    assert [arrival.attempt.retry_seconds is None for arrival in arrivals] == [True, False, True, True]
    assert [message.key.decode() for message in outbox.messages] == [
        arrival.event.image_signature for arrival in arrivals if arrival.attempt.retry_seconds is None
    ]
    assert {message.topic for message in outbox.messages} == {"available"}
    assert len(store.values) % 3 == 0 and store.values


def test_signals_that_are_stored_are_announced_however_long_kafka_is_away(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kappa_pipeline.stream_job.retry_seconds", lambda _tries: 0.0)
    model = Model.load(build_near_free_model(tmp_path))
    data = jpeg(0)
    store, outbox = Store(), Outbox(refusals=CONTEXT.max_attempts + 1)
    engine = InferenceEngine(model)
    with LocalCompute(lambda _key: data, engine, Catalog.load(), ledger=ledger, pool="stream") as compute:
        (arrival,) = run_job(compute, [f"images/{image_signature(data)}"], store, outbox, ledger, model)
    assert (arrival.has_ended, arrival.attempt.retry_seconds) == (True, None)
    assert [message.topic for message in outbox.messages] == ["available"]
