"""The stream against real servers: every arrival ends as signals or a dead letter, whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import psutil
import pyarrow as pa
import pytest

from bench.services.startup import free_ports
from kappa_pipeline.app import ready_file
from kappa_pipeline.kafka import GroupLag, new_producer
from kappa_pipeline.nrtg import plan_signals
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.declaration import declared_signals
from signals.encodings import decode_thrift
from signals.gss import GssClient
from signals.process import ProcessGroup
from tests.integration.deadly_store import deadly_store
from tests.integration.kappa_harness import (
    GALAXY,
    Feed,
    available,
    dead_letters,
    jpeg,
    running_arm,
    wait_until,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
MakeContext = Callable[..., RunContext]


def keys_of(signature: str) -> list[bytes]:
    plan = plan_signals(declared_signals(), Catalog.load(), ["embedding", "logits"])
    return plan.compute(GALAXY).keys(signature)


def ledger_rows(context: RunContext) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in context.ledger_dir.glob("*.arrows"):
        with pa.ipc.open_stream(path) as reader:
            rows += reader.read_all().to_pylist()
    return rows


def test_every_arrival_ends_once_and_its_stages_are_contiguous(context: MakeContext) -> None:
    run = context(arm="kappa")
    feed = Feed(run)
    good = [feed.event(jpeg(seed)) for seed in range(6)]
    again = feed.event(jpeg(0))
    corrupt = feed.event(jpeg(100)[:900])
    with running_arm(run) as arm:
        assert not listening_ports(run), "a worker of the stream must not listen"
        for event in [*good, again, corrupt]:
            arm.submit(event)
        stray = new_producer(run)
        stray.produce(run.media_topic, b"\x00 not an event", key=b"stray")
        stray.produce(run.media_topic, orjson.dumps({"kind": "media", "scheduled_ns": 1}), key=b"stray")
        stray.flush(10)
        arm.drain(60)
        assert arm.backlog() == 0

        announced = {event.event_id: event for event in available(run)}
        assert set(announced) == {event.event_id for event in [*good, again]}
        assert not announced[again.event_id].recomputed or not announced[good[0].event_id].recomputed
        letters = dead_letters(run)
        assert sorted(letter.reason for letter in letters) == ["truncated"] + ["unreadable_event"] * 2
        letter = next(letter for letter in letters if letter.event_id == corrupt.event_id)
        assert (letter.stage, letter.attempts, letter.input_hash) == ("decode", 1, corrupt.image_signature)

        with GssClient.of_run(run) as gss:
            for event in good:
                values = gss.multi_get(keys_of(event.image_signature))
                records = [decode_thrift(value) for value in values if value is not None]
                assert {r.signal for r in records} == {"visual_embedding", "top5_classes"}
                assert all(r.day == 0 and r.pipeline == event.pipeline for r in records)
            assert gss.contains(keys_of(corrupt.image_signature)) == [False, False]

    rows = ledger_rows(run)
    for event in good[1:]:
        mine = sorted((r for r in rows if r["event_id"] == event.event_id), key=lambda r: (r["start_ns"],))
        assert [r["stage"] for r in mine] == [
            *(
                "queue",
                "fetch",
                "batch_wait",
                "decode",
                "batch_wait",
                "inference",
                "encode",
                "write",
                "publish",
            )
        ]
        assert mine[0]["start_ns"] == event.scheduled_ns
        assert all(a["end_ns"] == b["start_ns"] for a, b in itertools.pairwise(mine))
    stages = Counter(r["stage"] for r in rows)
    assert stages["device_provisioned"] == stages["device_released"] == run.workers
    assert {r["pool"] for r in rows if str(r["stage"]).startswith("device")} == {"stream"}
    assert stages["dead_letter"] == 3


def test_offsets_without_a_message_are_passed_over(context: MakeContext) -> None:
    run = context(arm="kappa", workers=1)
    feed = Feed(run)
    producer = new_producer(run, transactional_id=f"{run.namespace}.test")
    producer.init_transactions(30)

    def publish_in_a_transaction(seeds: range) -> None:
        producer.begin_transaction()
        for event in [feed.event(jpeg(seed)) for seed in seeds]:
            producer.produce(run.media_topic, event.to_bytes(), key=event.image_signature.encode())
        producer.commit_transaction(30)  # which takes an offset in every partition that it wrote to

    with running_arm(run) as arm:
        for first in range(9000, 9024, 3):
            publish_in_a_transaction(range(first, first + 3))
        arm.drain(60)
        # The last offset is the end of a transaction: nothing will ever arrive after it.
        assert arm.backlog() == 0
        publish_in_a_transaction(range(9024, 9027))
        arm.drain(60)
        assert {event.event_id for event in available(run)} == {event.event_id for event in feed.events}
        assert not dead_letters(run)
        assert arm._group is not None
        log = arm._group.children[0].log.read_text()
    assert "going back" not in log, "an offset without a message is no message that was lost"


def test_an_image_that_kills_its_workers_is_given_up_and_takes_no_other_with_it(context: MakeContext) -> None:
    run = context(arm="kappa", max_attempts=2)
    feed = Feed(run)
    events = [feed.event(jpeg(1000 + seed)) for seed in range(60)]
    deadly = events.pop(20)
    with deadly_store(run.s3.endpoint) as store:
        store.deadly.add(deadly.object_key)
        run = dataclasses.replace(run, s3=dataclasses.replace(run.s3, endpoint=store.endpoint))
        with running_arm(run) as arm:
            for event in feed.events:
                arm.submit(event)
            arm.drain(90)
            assert {event.event_id for event in available(run)} == {event.event_id for event in events}
            assert [(d.event_id, d.reason, d.attempts) for d in dead_letters(run)] == [
                (deadly.event_id, "attempts_exhausted", 3)
            ]
            assert len(store.victims) in (2, 3)  # the first, at once, may have gone uncounted
            lag = GroupLag(run)
            assert lag.committed() == lag.end_offsets()
            lag.close()
    rows = ledger_rows(run)
    assert sum(r["stage"] == "process_restarted" for r in rows) == len(store.victims)
    attempts = {int(str(r["attempt"])) for r in rows if r["event_id"] == deadly.event_id}
    assert max(attempts) == 3
    others = {event.event_id for event in events}
    assert max(int(str(r["attempt"])) for r in rows if r["event_id"] in others) == 2


def test_a_worker_that_joins_under_load_loses_nothing(context: MakeContext) -> None:
    run = context(arm="kappa", workers=1)
    feed = Feed(run)
    events = [feed.event(jpeg(7000 + seed)) for seed in range(40)]
    with running_arm(run) as arm:
        assert arm._group is not None
        argv = [sys.executable, "-m", "kappa_pipeline.app", "--worker", "1"]
        arm._group.start("joining", [*argv, "--context", str(run.arm_dir / "kappa_context.json")])
        # Some of them arrive in the midst of the rebalance, in partitions without any committed offset.
        while not ready_file(run, 1).exists():
            if len(events) > 10:
                arm.submit(events.pop())
            time.sleep(0.1)
        for event in events:
            arm.submit(event)
        arm.drain(60)
        assert {event.event_id for event in available(run)} == {event.event_id for event in feed.events}
        assert [child.restarts for child in arm._group.children] == [0, 0]


def test_a_crash_ends_the_worker_though_a_commit_waits_for_the_broker(
    context: MakeContext, group: ProcessGroup
) -> None:
    run = context(arm="kappa", workers=1)
    feed = Feed(run)
    events = [feed.event(jpeg(8000 + seed)) for seed in range(150)]
    (broker,) = (child for child in group.children if child.name == "kafka")
    with running_arm(run) as arm:
        assert arm._group is not None
        for event in events:
            arm.submit(event)
        wait_until(lambda: available(run))
        with stopped(broker.pid):
            time.sleep(2.0)  # what has ended since is to be committed
            worker = int(orjson.loads(ready_file(run, 0).read_bytes())["pid"])
            for device in psutil.Process(worker).children():
                device.kill()
            wait_until(lambda: arm._group is not None and arm._group.children[0].restarts == 1)
        arm.drain(90)
        assert {event.event_id for event in available(run)} == {event.event_id for event in feed.events}


def test_exceptions_are_retried_dead_lettered_and_survived(context: MakeContext) -> None:
    run = context(arm="kappa", workers=1, max_attempts=2)
    feed = Feed(run)
    missing = feed.event(jpeg(2000))
    feed.store._client.remove_object(run.s3.bucket, missing.object_key)
    fine = feed.event(jpeg(2001))
    with running_arm(run) as arm:
        arm.submit(missing)
        with stopped_gss(run.arm_dir):  # neither answers nor refuses, for a while
            arm.submit(fine)
        arm.drain(60)
        assert [e.event_id for e in available(run)] == [fine.event_id]
        assert [(d.event_id, d.stage, d.reason) for d in dead_letters(run)] == [
            (missing.event_id, "fetch", "missing_object")
        ]

    no_store = dataclasses.replace(run.s3, endpoint=f"127.0.0.1:{free_ports(1)[0]}")
    run = context(arm="kappa", workers=1, max_attempts=2, s3=no_store)
    with running_arm(run) as arm:
        for event in (missing, fine):
            arm.submit(event)
        arm.drain(60)
        letters = dead_letters(run)
        assert {(d.event_id, d.reason, d.attempts) for d in letters} == {
            (event.event_id, "attempts_exhausted", 2) for event in (missing, fine)
        }
        assert arm._group is not None
        assert [child.restarts for child in arm._group.children] == [0], "an exception must not kill a worker"
    outcomes = Counter(str(r["outcome"]) for r in ledger_rows(run) if r["event_id"] == fine.event_id)
    assert (outcomes["retry"], outcomes["error"], outcomes["dead_letter"]) == (1, 1, 1)


def listening_ports(run: RunContext) -> list[int]:
    found: list[int] = []
    for worker in range(run.stream_workers):
        pid = int(orjson.loads(ready_file(run, worker).read_bytes())["pid"])
        found += [c.laddr.port for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"]
    return found


def stopped_gss(arm_dir: Path) -> contextlib.AbstractContextManager[None]:
    return stopped(int(orjson.loads((arm_dir / "gss.ready").read_bytes())["pid"]))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
