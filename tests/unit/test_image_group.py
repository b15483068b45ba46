from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa

from lambda_pipeline.online.arrival import Ends
from lambda_pipeline.online.image_group import Clients, ImageGroups
from lambda_pipeline.online.images_in_work import ImagesInWork
from lambda_pipeline.online.inference_client import InferenceClient, Inferred
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent, RunContext
from signals.catalog import Catalog
from signals.errors import ImageError, ServiceError
from signals.gss import GssClient
from signals.image import RgbImage, image_signature
from signals.ledger import Ledger
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.object_store import ObjectStore
from tests.unit.small_jpeg import jpeg

MAX_ATTEMPTS = 3
NO_IMAGE = b"<html>"


class Servers:
    """Object store, signal store, queue and broker; the broker answers while it is ``up``."""

    def __init__(self, data: bytes = NO_IMAGE, *, has_signals: bool = False, up: bool = False) -> None:
        self.data, self.up = data, up
        self.has_signals = has_signals
        self.announced: list[AvailabilityEvent] = []
        self.acked = 0
        self.fetched = 0
        self.letters: list[DeadLetter] = []
        self.buried: list[str] = []
        self.progress: dict[str, Any] = {}

    def contains_each(self, groups: Sequence[Sequence[bytes]]) -> list[list[bool]]:
        return [[self.has_signals] * len(keys) for keys in groups]

    def get(self, _key: str, _max_bytes: int) -> bytes:
        self.fetched += 1
        return self.data

    def infer(self, images: Sequence[RgbImage], _galaxies: Sequence[str]) -> list[Inferred]:
        """An external service, whose first image has no finite output."""
        now_ns = time.time_ns()
        failure = ImageError("non_finite_output", "nan")
        return [
            Inferred({}, failure, now_ns, now_ns + 1_000, len(images), position, "cpu:0")
            for position in range(len(images))
        ]

    def dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        if not self.up:
            raise ServiceError("Kafka is away")
        self.letters += letters

    def available(self, events: Sequence[AvailabilityEvent]) -> list[ServiceError | None]:
        if not self.up:
            return [ServiceError("Kafka is away")] * len(events)
        self.announced += events
        return [None] * len(events)

    def ack(self, jobs: Sequence[Job]) -> None:
        self.acked += len(jobs)

    def fail(self, _job: Job, _pause_seconds: float, progress: dict[str, Any] | None = None) -> bool:
        self.progress = progress or self.progress
        return True

    def dead_letter(self, _job: Job, reason: str, _detail: str) -> bool:
        self.buried.append(reason)
        return True

    def groups(self, ledger: Ledger, model: Model) -> ImageGroups:
        pinlater, publisher = cast(PinLater, self), cast(Publisher, self)
        clients = Clients(
            *(pinlater, cast(GssClient, self), cast(ObjectStore, self), cast(InferenceClient, self), ledger)
        )
        inference = SimpleNamespace(is_up=True)
        context = cast(
            RunContext, SimpleNamespace(max_attempts=MAX_ATTEMPTS, claim_seconds=30.0, inference=inference)
        )
        ends = Ends(pinlater, publisher, MAX_ATTEMPTS)
        return ImageGroups(context, Catalog.load(), model.manifest, clients, ends, ImagesInWork(), None)


def rows_of(ledger: Ledger, folder: Path) -> list[dict[str, Any]]:
    ledger.close()
    (path,) = folder.rglob("*.arrows")
    rows: list[dict[str, Any]] = pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    return rows


def deliver(servers: Servers, groups: ImageGroups, attempts: Sequence[int]) -> None:
    """One arrival of the image, as often as it takes."""
    event = MediaEvent(7, image_signature(servers.data), "crawled", "pins", 0, time.time_ns(), "images/7")
    for attempt in attempts:
        groups.run([Job(1, 1, attempt, asdict(event), servers.progress, time.time_ns())])


def test_signals_that_are_stored_are_announced_however_long_kafka_is_away(
    ledger: Ledger, tmp_path: Path
) -> None:
    servers = Servers(has_signals=True)
    groups = servers.groups(ledger, Model.load(build_near_free_model(tmp_path)))
    deliver(servers, groups, range(1, MAX_ATTEMPTS + 2))
    assert (servers.announced, servers.acked) == ([], 0)
    servers.up = True
    deliver(servers, groups, [MAX_ATTEMPTS + 2])
    assert [event.event_id for event in servers.announced] == [7]
    assert (servers.acked, servers.letters, servers.buried) == (1, [], [])


def test_a_verdict_that_could_not_be_told_is_told_by_a_later_attempt(ledger: Ledger, tmp_path: Path) -> None:
    servers = Servers()
    groups = servers.groups(ledger, Model.load(build_near_free_model(tmp_path)))
    deliver(servers, groups, range(1, MAX_ATTEMPTS + 2))
    assert (servers.letters, servers.buried) == ([], [])
    servers.up = True
    deliver(servers, groups, [MAX_ATTEMPTS + 2])

    [letter] = servers.letters
    assert (letter.stage, letter.reason, letter.input_hash) == (
        "decode",
        "unsupported_format",
        image_signature(NO_IMAGE),
    )
    assert (letter.attempts, servers.fetched) == (MAX_ATTEMPTS + 2, 1)
    assert servers.buried == ["unsupported_format"]
    rows = rows_of(ledger, tmp_path)
    assert [row["attempt"] for row in rows if row["stage"] == "dead_letter"] == [MAX_ATTEMPTS + 2]


def test_the_batch_of_an_external_service_is_booked_also_where_its_first_image_fails(
    ledger: Ledger, tmp_path: Path
) -> None:
    servers = Servers(jpeg(0), up=True)
    groups = servers.groups(ledger, Model.load(build_near_free_model(tmp_path)))
    deliver(servers, groups, [1])
    assert [letter.reason for letter in servers.letters] == ["non_finite_output"]
    rows = rows_of(ledger, tmp_path)
    assert [row["batch_size"] for row in rows if row["stage"] == "device_busy"] == [1]
    assert [(row["device"], row["outcome"]) for row in rows if row["stage"] == "inference"] == [
        ("cpu:0", "error")
    ]
