from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pyarrow as pa
import pytest

from lambda_pipeline.offline.batch_job import BatchJobs
from lambda_pipeline.offline.job_output import Tally, read_tally
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import DeadLetter, RunContext
from signals.catalog import Catalog
from signals.compute import ComputeResult, ImageRef, LocalCompute, StageTimes
from signals.errors import ServiceError
from signals.image import image_signature
from signals.inference import InferenceEngine
from signals.ledger import Ledger
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.object_store import ObjectStore
from signals.process import StopSignal
from tests.unit.small_jpeg import jpeg

MAX_ATTEMPTS = 3
IMAGES = {f"images/{image_signature(data)}": data for data in map(jpeg, range(3))}
KEYS = list(IMAGES)


def fail() -> None:
    raise ServiceError("the object store is away")


class Servers:
    """Object store, queue, broker and device. What is in ``fate`` happens at each call of that name, and
    when an image is computed at its key."""

    def __init__(self) -> None:
        self.fate: dict[str, Callable[[], None]] = {}
        self.progress: dict[str, Any] = {}
        self.objects: dict[str, bytes] = {}
        self.ends: list[str] = []
        self.letters: list[DeadLetter] = []
        self.device = "cpu:0"

    def compute(self, images: Sequence[ImageRef]) -> list[ComputeResult | Exception]:
        self._happen(*(image.object_key for image in images))
        try:
            self._happen("get")
        except ServiceError as error:
            return [error for _ in images]
        now_ns = time.time_ns()
        return [ComputeResult({}, None, "", StageTimes(now_ns, now_ns)) for _ in images]

    def get(self, key: str) -> bytes:
        self._happen("get")
        return IMAGES[key]

    def put(self, key: str, data: bytes) -> None:
        self._happen("put")
        self.objects[key] = data

    def checkpoint(self, _job: Job, _seconds: float, progress: dict[str, Any] | None = None) -> bool:
        if progress is not None:
            self._keep(progress)
        return True

    def fail(self, _job: Job, _seconds: float, progress: dict[str, Any] | None = None) -> bool:
        if progress is not None:
            self._keep(progress)
        self.ends.append("fail")
        return True

    def ack(self, _jobs: Sequence[Job]) -> None:
        self._happen("end")
        self.ends.append("ack")

    def dead_letter(self, _job: Job, _reason: str, _detail: str) -> bool:
        self._happen("end")
        self.ends.append("dead_letter")
        return True

    def dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    def deliver(self, attempt: int, ledger: Ledger, compute: LocalCompute | None = None) -> None:
        """The job, once."""
        context = SimpleNamespace(max_batch=8, max_attempts=MAX_ATTEMPTS, claim_seconds=30.0)
        jobs = BatchJobs(
            cast(RunContext, context),
            "0" * 64,
            compute or cast(LocalCompute, self),
            cast(ObjectStore, self),
            cast(PinLater, self),
            cast(Publisher, self),
            ledger,
            cast(StopSignal, threading.Event()),
        )
        images = [
            {"image_signature": key[-32:], "object_key": key, "pipeline": "crawled", "galaxy": "pins"}
            for key in KEYS
        ]
        payload: dict[str, Any] = {"images": images, "day": 0, "object_prefix": "night"}
        jobs.run([Job(1, 1, attempt, payload, self.progress, time.time_ns())])

    @property
    def tally(self) -> Tally:
        """Of the job's one output."""
        [output] = self.objects.values()
        return read_tally(output)

    @property
    def told(self) -> set[tuple[int, str, str]]:
        """The dead letters without their repetitions: place of the image, stage, detail."""
        return {
            (KEYS.index(f"images/{letter.image_signature}"), letter.stage, letter.detail)
            for letter in self.letters
        }

    def _happen(self, *names: str) -> None:
        for name in names:
            if name in self.fate:
                self.fate[name]()

    def _keep(self, progress: dict[str, Any]) -> None:
        self.progress = orjson.loads(orjson.dumps(progress))


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.mark.parametrize(
    ("away", "attempt", "end", "outcomes"),
    [
        ("", 1, "ack", {("write", "ok"): 3}),
        ("get", 1, "fail", {("fetch", "retry"): 3}),
        ("put", 1, "fail", {("write", "retry"): 3}),
        ("get", 3, "ack", {("dead_letter", "dead_letter"): 3}),
    ],
)
def test_a_job_that_fails_names_the_stage_it_failed_in(
    servers: Servers,
    ledger: Ledger,
    tmp_path: Path,
    away: str,
    attempt: int,
    end: str,
    outcomes: dict[tuple[str, str], int],
) -> None:
    model = Model.load(build_near_free_model(tmp_path))
    servers.fate = {away: fail}
    with LocalCompute(
        servers.get, InferenceEngine(model), Catalog.load(), ledger=ledger, pool="nightly"
    ) as compute:
        for number in range(1, attempt + 1):
            servers.deliver(number, ledger, compute)
    assert servers.ends == ["fail"] * (attempt - 1) + [end]
    assert len(servers.objects) == (0 if end == "fail" else 1)
    ledger.close()
    (path,) = tmp_path.rglob("*.arrows")
    found = Counter(
        (row["stage"], row["outcome"])
        for row in pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
        if row["attempt"] == attempt
        and (row["stage"] in ("write", "dead_letter") or row["outcome"] == "retry")
    )
    assert found == outcomes
    assert [letter.stage for letter in servers.letters] == ["fetch"] * outcomes.get(
        ("dead_letter", "dead_letter"), 0
    )


def test_an_image_that_cannot_be_computed_takes_no_other_with_it(servers: Servers, ledger: Ledger) -> None:
    def raise_error() -> None:
        raise RuntimeError("a singular matrix")

    servers.fate = {KEYS[1]: raise_error}
    for attempt in (1, 2, 3):
        servers.deliver(attempt, ledger)
    assert servers.ends == ["fail", "fail", "ack"]
    assert servers.told == {(1, "inference", "RuntimeError: a singular matrix")}
    assert servers.tally == Tally(2, 1)
