from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from lambda_pipeline.offline.batch_job import BatchJobs
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import DeadLetter, RunContext
from signals.catalog import Catalog
from signals.compute import LocalCompute
from signals.errors import ServiceError
from signals.image import image_signature
from signals.inference import InferenceEngine
from signals.ledger import Ledger
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.object_store import ObjectStore
from signals.process import StopSignal
from tests.unit.small_jpeg import jpeg

CONTEXT = SimpleNamespace(max_batch=8, max_attempts=3, claim_seconds=30.0)
IMAGES = {f"images/{image_signature(data)}": data for data in map(jpeg, range(3))}


class Servers:
    """Object store, queue and broker; those in ``away`` do not answer."""

    def __init__(self, away: str) -> None:
        self.away = away
        self.objects: dict[str, bytes] = {}
        self.ends: list[str] = []
        self.letters: list[DeadLetter] = []

    def get(self, key: str) -> bytes:
        self._answer("reads")
        return IMAGES[key]

    def put(self, key: str, data: bytes) -> None:
        self._answer("writes")
        self.objects[key] = data

    def checkpoint(self, *_: object) -> bool:
        return True

    def fail(self, _job: Job, _seconds: float) -> bool:
        self.ends.append("fail")
        return True

    def ack(self, _jobs: Sequence[Job]) -> None:
        self.ends.append("ack")

    def dead_letter(self, _job: Job, _reason: str, _detail: str) -> bool:
        self.ends.append("dead_letter")
        return True

    def dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    def _answer(self, what: str) -> None:
        if what == self.away:
            raise ServiceError("the object store is away")


def job(attempt: int) -> Job:
    images = [
        {"image_signature": key[-32:], "object_key": key, "pipeline": "crawled", "galaxy": "pins"}
        for key in IMAGES
    ]
    payload: dict[str, Any] = {"images": images, "day": 0, "object_prefix": "night"}
    return Job(1, 1, attempt, payload, {}, time.time_ns())


@pytest.mark.parametrize(
    ("away", "attempt", "end", "outcomes"),
    [
        ("", 1, "ack", {("write", "ok"): 3}),
        ("reads", 1, "fail", {("fetch", "retry"): 3}),
        ("writes", 1, "fail", {("write", "retry"): 3}),
        ("reads", 3, "ack", {("dead_letter", "dead_letter"): 3}),
    ],
)
def test_a_job_that_fails_names_the_stage_it_failed_in(
    ledger: Ledger, tmp_path: Path, away: str, attempt: int, end: str, outcomes: dict[tuple[str, str], int]
) -> None:
    model, servers = Model.load(build_near_free_model(tmp_path)), Servers(away)
    with LocalCompute(
        servers.get, InferenceEngine(model), Catalog.load(), ledger=ledger, pool="nightly"
    ) as compute:
        BatchJobs(
            cast(RunContext, CONTEXT),
            model.manifest.sha256,
            compute,
            cast(ObjectStore, servers),
            cast(PinLater, servers),
            cast(Publisher, servers),
            ledger,
            cast(StopSignal, threading.Event()),
        ).run([job(attempt)])
    assert servers.ends == [end]
    assert len(servers.objects) == (1 if end == "ack" else 0)
    ledger.close()
    (path,) = tmp_path.rglob("*.arrows")
    found = Counter(
        (row["stage"], row["outcome"])
        for row in pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
        if row["stage"] in ("write", "dead_letter") or row["outcome"] == "retry"
    )
    assert found == outcomes
    assert [letter.stage for letter in servers.letters] == ["fetch"] * outcomes.get(
        ("dead_letter", "dead_letter"), 0
    )
