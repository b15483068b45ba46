from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from lambda_pipeline.online.ready_files import inference_address_file, worker_ready_file
from lambda_pipeline.pinlater import PgmqPinLater
from signals.architecture import MediaEvent, RunContext
from signals.declaration import for_galaxy
from signals.encodings import decode_thrift
from signals.image import image_signature
from signals.record import record_key
from tests.integration.deadly_store import deadly_store
from tests.integration.lambda_run import LambdaRun, lambda_run, photo, shared_core, truncated, wait_until

pytestmark = pytest.mark.integration
PER_IMAGE_STAGES = ["queue", "fetch", "decode", "batch_wait", "inference", "encode", "write", "publish"]


@pytest.fixture(scope="module")
def run(context: Callable[..., RunContext]) -> Iterator[LambdaRun]:
    with lambda_run(context("lambda", claim_seconds=6.0)) as run:
        yield run


def keys_of(event: MediaEvent) -> list[bytes]:
    return [
        record_key(event.galaxy, s.name, s.version, event.image_signature) for s in for_galaxy(event.galaxy)
    ]


def pid_in(path: Path) -> int:
    return int(orjson.loads(path.read_bytes())["pid"])


def test_every_image_is_served_or_dead_lettered(run: LambdaRun) -> None:
    good = [(photo(n), "crawled" if n % 2 else "shopping") for n in range(6)]
    bad = [(truncated(100), "shopping"), (b"", "crawled"), (b"<html>", "profile_images")]
    events = run.submit(good + bad)
    run.arm.drain(60)
    assert run.arm.backlog() == 0

    announced = {event.event_id: event for event in run.availability()}
    assert set(announced) == {event.event_id for event in events[: len(good)]}
    with run.gss() as gss:
        for event, (data, pipeline) in zip(events, good, strict=False):
            expected = shared_core(run.context, data, pipeline)
            records = [decode_thrift(value) for value in gss.multi_get(keys_of(event)) if value is not None]
            assert [record.key for record in records] == keys_of(event)
            for declaration, record in zip(for_galaxy(event.galaxy), records, strict=True):
                assert (record.day, record.pipeline) == (0, pipeline)
                np.testing.assert_allclose(record.array(), expected[declaration], rtol=1e-3, atol=1e-4)
            assert announced[event.event_id].recomputed
            assert announced[event.event_id].published_ns > event.scheduled_ns
        assert not any(gss.contains([key for event in events[len(good) :] for key in keys_of(event)]))

    letters = {letter.event_id: letter for letter in run.dead_letters()}
    reasons = [letters[event.event_id].reason for event in events[len(good) :]]
    assert reasons == ["truncated", "empty", "unsupported_format"]
    assert {(letter.path, letter.attempts) for letter in letters.values()} == {("online", 1)}
    assert all(letter.input_hash == letter.image_signature for letter in letters.values())
    queue = PgmqPinLater(run.context.postgres_dsn, run.context.namespace, "online")
    assert {job.payload["event_id"]: job.reason for job in queue.dead_jobs()} == {
        number: letter.reason for number, letter in letters.items()
    }
    queue.close()


def test_a_missing_object_is_a_dead_letter(run: LambdaRun) -> None:
    event = MediaEvent(9_000, "ab" * 16, "crawled", "pins", 0, time.time_ns(), "images/nowhere")
    run.arm.submit(event)
    run.arm.drain(30)
    (letter,) = [letter for letter in run.dead_letters() if letter.event_id == 9_000]
    assert (letter.stage, letter.reason, letter.input_hash) == ("fetch", "missing_object", "")


def test_a_repeated_image_is_announced_without_computing_it_again(run: LambdaRun) -> None:
    (first,) = run.submit([(photo(200), "crawled")])
    run.arm.drain(30)
    (again,) = run.submit([(photo(200), "pinner_uploads")])  # the same galaxy
    (elsewhere,) = run.submit([(photo(200), "shopping")])
    run.arm.drain(30)
    announced = {event.event_id: event.recomputed for event in run.availability()}
    assert announced[first.event_id]
    assert not announced[again.event_id]
    assert announced[elsewhere.event_id]


def test_the_ledger_tells_each_stage_without_gaps(run: LambdaRun) -> None:
    (event,) = run.submit([(photo(300), "video_keyframes")])
    run.arm.drain(30)

    def stages() -> list[dict]:  # type: ignore[type-arg]
        rows = [row for row in run.ledger() if row["event_id"] == event.event_id]
        return sorted(rows, key=lambda row: PER_IMAGE_STAGES.index(row["stage"]))

    wait_until(lambda: len(stages()) == len(PER_IMAGE_STAGES))
    rows = stages()
    assert rows[0]["start_ns"] == event.scheduled_ns
    for before, after in itertools.pairwise(rows):
        assert before["start_ns"] <= before["end_ns"] == after["start_ns"]
    assert {(row["path"], row["galaxy"], row["outcome"]) for row in rows} == {("online", "videos", "ok")}
    assert next(row["device"] for row in rows if row["stage"] == "inference").startswith("cpu:")
    provisioned = [row for row in run.ledger() if row["stage"] == "device_provisioned"]
    assert len(provisioned) == run.context.workers
    assert {row["pool"] for row in provisioned} == {"online"}


def test_each_image_of_a_group_has_its_own_stages(run: LambdaRun) -> None:
    images = [(photo(400 + n), "crawled") for n in range(20)]
    events = run.submit([*images[:10], (truncated(410), "crawled"), *images[10:]])
    run.arm.drain(30)
    bad = events.pop(10).event_id
    wait_until(lambda: {event.event_id for event in events} <= {e.event_id for e in run.availability()})
    assert bad in {letter.event_id for letter in run.dead_letters()}

    def rows_of() -> dict[int, list[dict]]:  # type: ignore[type-arg]
        of: dict[int, list[dict]] = {event.event_id: [] for event in events}  # type: ignore[type-arg]
        for row in run.ledger():
            if row["event_id"] in of:
                of[row["event_id"]].append(row)
        return of

    wait_until(lambda: all(len(rows) == len(PER_IMAGE_STAGES) for rows in rows_of().values()))
    for event in events:
        rows = sorted(rows_of()[event.event_id], key=lambda row: PER_IMAGE_STAGES.index(row["stage"]))
        assert [row["stage"] for row in rows] == PER_IMAGE_STAGES
        assert rows[0]["start_ns"] == event.scheduled_ns
        assert all(before["end_ns"] == after["start_ns"] for before, after in itertools.pairwise(rows))
        assert {(row["outcome"], row["attempt"]) for row in rows} == {("ok", 1)}
    batches = {
        (row["start_ns"], row["end_ns"], row["device"]): row["batch_size"]
        for rows in rows_of().values()
        for row in rows
        if row["stage"] == "inference"
    }
    assert max(batches.values()) > 1
    assert sum(batches.values()) == len(events)


def test_nothing_is_lost_when_a_worker_and_the_service_are_killed(run: LambdaRun) -> None:
    before = len(run.availability())
    events = run.submit([(photo(1000 + n), "pinner_uploads") for n in range(24)])
    wait_until(lambda: len(run.availability()) >= before + 24)
    service = pid_in(inference_address_file(run.context.arm_dir))
    os.kill(service, signal.SIGSTOP)  # or the path may be done before the first kill, as fast as it is
    events += run.submit([(photo(1024 + n), "pinner_uploads") for n in range(96)])
    time.sleep(1.0)  # the workers take jobs at once, and wait for the service
    assert run.arm.backlog() > 10
    os.kill(pid_in(worker_ready_file(run.context.arm_dir, 0)), signal.SIGKILL)
    os.kill(service, signal.SIGKILL)
    run.arm.drain(60)

    announced = {event.event_id for event in run.availability()}
    assert {event.event_id for event in events} <= announced
    with run.gss() as gss:
        assert all(gss.contains([key for event in events for key in keys_of(event)]))
    assert not {letter.event_id for letter in run.dead_letters()} & {event.event_id for event in events}
    wait_until(
        lambda: (
            {"online_worker-0", "inference_service"}
            <= {row["detail"] for row in run.ledger() if row["stage"] == "process_restarted"}
        )
    )
    retried = {row["event_id"] for row in run.ledger() if row["attempt"] > 1 and row["event_id"] >= 0}
    assert retried
    assert retried <= {event.event_id for event in events}


def test_an_image_that_kills_its_workers_takes_no_other_with_it(context: Callable[..., RunContext]) -> None:
    made = context("lambda", claim_seconds=3.0, max_attempts=2, workers=1)
    with deadly_store(made.s3.endpoint) as store:
        watched = dataclasses.replace(made.s3, endpoint=store.endpoint)
        with lambda_run(dataclasses.replace(made, s3=watched)) as run:
            run.context = made  # the images are staged in the store itself
            store.deadly.add(f"images/{image_signature(photo(2003))}")
            events = run.submit([(photo(2000 + n), "crawled") for n in range(6)] + [(photo(2005), "crawled")])
            run.arm.drain(60)
            announced = {event.event_id: event.recomputed for event in run.availability()}
            letters = [(letter.event_id, letter.reason, letter.attempts) for letter in run.dead_letters()]
    deadly = events[3].event_id
    assert set(announced) == {event.event_id for event in events} - {deadly}
    twins = [announced[event.event_id] for event in events[5:]]
    assert not all(twins)  # of two arrivals of one image, one found the signals of the other
    assert letters == [(deadly, "attempts_exhausted", 3)]
    assert len(store.victims) == 2
    attempts = {row["event_id"]: row["attempt"] for row in run.ledger() if row["stage"] == "publish"}
    assert max(attempts.values()) == 2
    last = [row["stage"] for row in run.ledger() if (row["event_id"], row["attempt"]) == (deadly, 3)]
    assert sorted(last) == ["dead_letter", "queue"]
