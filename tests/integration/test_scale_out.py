"""More of a server than one, and one more worker while work is in flight: nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic, PartitionMetadata

from bench.services.kafka import KafkaServer
from kappa_pipeline.app import ready_file
from lambda_pipeline.online.ready_files import worker_ready_file
from signals.architecture import RunContext
from signals.process import ProcessGroup
from tests.integration.kappa_harness import Feed, available, jpeg, running_arm
from tests.integration.lambda_run import lambda_run, photo, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
MakeContext = Callable[..., RunContext]
IMAGES = 240


@contextlib.contextmanager
def one_more(module: str, *options: str) -> Iterator[None]:
    """A worker that is started by hand, as on another machine; stopped at the end."""
    worker = subprocess.Popen([sys.executable, "-m", module, *options], stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        worker.terminate()
        _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0, said


def partitions_of_worker(context: RunContext, worker: int) -> list[int]:
    path = ready_file(context, worker)
    return orjson.loads(path.read_bytes())["partitions"] if path.exists() else []


def test_a_stream_worker_that_joins_takes_its_share(context: MakeContext) -> None:
    run = context(arm="kappa", workers=1)
    feed = Feed(run)
    events = [feed.event(jpeg(seed)) for seed in range(IMAGES)]
    with running_arm(run) as arm:
        for event in events[: IMAGES // 2]:
            arm.submit(event)
        options = ["--context", str(run.arm_dir / "kappa_context.json"), "--worker", "1"]
        with one_more("kappa_pipeline.app", *options):
            wait_until(lambda: bool(partitions_of_worker(run, 1)), 60)
            for event in events[IMAGES // 2 :]:
                arm.submit(event)
            arm.drain(120)
        announced = Counter(event.event_id for event in available(run))
    assert set(announced) == {event.event_id for event in events}
    assert max(announced.values()) == 1
    assert computed_by(run, "stream_device_1")


def test_a_pinlater_worker_that_joins_takes_its_share(context: MakeContext) -> None:
    with lambda_run(context("lambda", workers=1)) as run:
        run.submit([(photo(seed), "crawled") for seed in range(IMAGES // 2)])
        path = run.context.arm_dir / "lambda_context.json"
        with one_more("lambda_pipeline.online.worker", "--context", str(path), "--index", "1"):
            wait_until(worker_ready_file(run.context.arm_dir, 1).exists, 60)
            run.submit([(photo(seed), "crawled") for seed in range(IMAGES // 2, IMAGES)])
            run.arm.drain(120)
        announced = Counter(event.event_id for event in run.availability())
        assert announced == Counter(event.event_id for event in run.events)
        assert computed_by(run.context, "online_worker_1")


def computed_by(context: RunContext, process: str) -> int:
    """Ledger files that a process has written something into."""
    return sum(1 for path in context.ledger_dir.glob(f"*{process}*.arrows") if path.stat().st_size > 10_000)


def partitions(topic: str, admin: AdminClient) -> list[PartitionMetadata]:
    return list(admin.list_topics(topic, timeout=10).topics[topic].partitions.values())


def test_of_three_brokers_one_may_die(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path / "logs") as group:
        server = KafkaServer(group, tmp_path / "kafka", brokers=3)
        client = {"bootstrap.servers": server.start(), "log_level": 0}
        admin = AdminClient(client)
        admin.create_topics([NewTopic("t", 3)])["t"].result(20)
        # Created is not yet known to the broker that is asked.
        wait_until(lambda: len(partitions("t", admin)) == 3, 20)
        assert {len(partition.replicas) for partition in partitions("t", admin)} == {3}
        group.children[0].expected = True
        group.children[0].popen.kill()
        errors: list[object] = []
        producer = Producer({**client, "acks": "all"})
        for number in range(30):
            producer.produce(
                "t", b"x", partition=number % 3, on_delivery=lambda error, _: errors.append(error)
            )
        assert producer.flush(60) == 0
        assert errors == [None] * 30
        server.stop()
