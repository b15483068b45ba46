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
from signals.attempts import WORKERS_DISAPPEARED
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


class WorkerKilled(BaseException):
    """As SIGKILL does, it lets no handler of errors do anything more."""


def kill() -> None:
    raise WorkerKilled


def fail() -> None:
    raise ServiceError("the object store is away")


class Servers:
    """Object store, queue, broker and device. What is in ``fate`` happens at each call of that name, and
    when an image is computed at its key."""

    def __init__(self) -> None:
        self.fate: dict[str, Callable[[], None]] = {}
        self.holds_claim = True
        self.claim_seconds = 30.0
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
        if self.holds_claim and progress is not None:
            self._keep(progress)
        return self.holds_claim

    def fail(self, _job: Job, _seconds: float, progress: dict[str, Any]) -> bool:
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
        """The job, once, to a worker that may be killed."""
        context = SimpleNamespace(max_batch=8, max_attempts=MAX_ATTEMPTS, claim_seconds=self.claim_seconds)
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
        try:
            jobs.run([Job(1, 1, attempt, payload, self.progress, time.time_ns())])
        except WorkerKilled:
            self.ends.append("killed")

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
        kept = orjson.dumps(progress)
        if b"\\u0000" in kept:
            raise ServiceError("PostgreSQL refuses a NUL in its JSON")
        self.progress = orjson.loads(kept)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.mark.parametrize(
    ("away", "attempt", "end", "outcomes"),
    [
        ("", 1, "ack", {("write", "ok"): 3}),
        ("get", 1, "fail", {("fetch", "retry"): 3}),
        ("put", 1, "fail", {("write", "retry"): 3}),
        ("get", 3, "dead_letter", {("dead_letter", "dead_letter"): 3}),
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


def test_a_reason_that_postgresql_could_not_keep_is_kept_without_what_it_refuses(
    servers: Servers, ledger: Ledger
) -> None:
    def raise_error() -> None:
        raise RuntimeError("\0 of \udcff")

    servers.fate = {KEYS[0]: raise_error}
    for attempt in (1, 2, 3):
        servers.deliver(attempt, ledger)
    assert servers.told == {(0, "inference", "RuntimeError:   of ?")}


@pytest.mark.parametrize(("away", "stage"), [(("get", "put"), "fetch"), (("put",), "write")])
def test_a_verdict_that_could_not_be_told_is_told_by_a_later_attempt(
    servers: Servers, ledger: Ledger, away: tuple[str, ...], stage: str
) -> None:
    servers.fate = dict.fromkeys(away, fail)
    for attempt in (1, 2, 3, 4):
        servers.deliver(attempt, ledger)
    assert servers.letters == []
    servers.fate = {}
    servers.deliver(5, ledger)
    assert servers.ends == ["fail"] * 4 + ["dead_letter"]
    assert servers.told == {(place, stage, "ServiceError: the object store is away") for place in range(3)}
    assert servers.tally == Tally(0, 3)


def test_a_verdict_holds_whoever_dies_while_it_is_told(servers: Servers, ledger: Ledger) -> None:
    servers.fate = {KEYS[1]: fail}
    for attempt in (1, 2):
        servers.deliver(attempt, ledger)
    servers.fate["end"] = kill
    servers.deliver(3, ledger)
    servers.fate = {}
    servers.deliver(4, ledger)
    assert servers.ends == ["fail", "fail", "killed", "ack"]
    assert {place for place, _, _ in servers.told} == {1}
    assert servers.tally == Tally(2, 1)


@pytest.mark.parametrize("later", [kill, fail])
def test_deaths_at_one_image_are_not_counted_against_another(
    servers: Servers, ledger: Ledger, later: Callable[[], None]
) -> None:
    servers.fate = {KEYS[0]: kill}
    for attempt in (1, 2, 3):
        servers.deliver(attempt, ledger)
    servers.fate = {KEYS[2]: later}
    servers.deliver(4, ledger)
    servers.fate = {}
    servers.deliver(5, ledger)
    assert servers.ends[-1] == "ack"
    assert servers.told == {(0, "fetch", WORKERS_DISAPPEARED)}
    assert servers.tally == Tally(2, 1)


def test_an_attempt_that_ends_with_a_word_is_no_death(servers: Servers, ledger: Ledger) -> None:
    for attempt, fate in enumerate((fail, fail, kill, kill), 1):
        servers.fate = {KEYS[1]: fate}
        servers.deliver(attempt, ledger)
    servers.fate = {}
    servers.deliver(5, ledger)
    assert servers.ends == ["fail", "fail", "killed", "killed", "ack"]
    assert servers.told == set()


def test_who_dies_once_all_is_computed_dies_at_no_image(servers: Servers, ledger: Ledger) -> None:
    servers.fate = {"put": kill}
    for attempt in (1, 2, 3):
        servers.deliver(attempt, ledger)
    servers.fate = {}
    servers.deliver(4, ledger)
    assert servers.told == {(place, "write", WORKERS_DISAPPEARED) for place in range(3)}
    assert (servers.ends[-1], servers.tally) == ("dead_letter", Tally(0, 3))


@pytest.mark.parametrize(("attempt", "claim_seconds"), [(1, 0.0), (2, 30.0), (MAX_ATTEMPTS, 30.0)])
def test_who_has_lost_the_claim_tells_nothing(
    servers: Servers, ledger: Ledger, attempt: int, claim_seconds: float
) -> None:
    servers.fate = {"put": fail}
    for number in range(1, attempt):
        servers.deliver(number, ledger)

    def lose_claim() -> None:
        servers.holds_claim = False

    servers.claim_seconds, servers.fate = claim_seconds, {KEYS[2]: lose_claim}
    servers.deliver(attempt, ledger)
    assert servers.ends == ["fail"] * (attempt - 1)
    assert (servers.letters, servers.objects) == ([], {})
