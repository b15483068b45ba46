"""Micro-benchmarks of what the paths talk to: GSS, PinLater, Parquet. Each server is this project's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.services.gss import start_gss
from bench.throughput.conversions import COMPRESSION
from lambda_pipeline.offline.job_output import Tally, encode_output
from lambda_pipeline.offline.step6_thrift import thrift_rows
from lambda_pipeline.offline.step7_hive import to_rows
from lambda_pipeline.pinlater import PgmqPinLater
from signals.encodings import encode_thrift
from signals.gss import GssClient
from signals.process import ProcessGroup
from tests.benchmarks.test_core import record

KEYS = 1_000


@pytest.fixture(scope="module")
def gss(group: ProcessGroup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GssClient]:
    endpoint = start_gss(group, tmp_path_factory.mktemp("gss"), secrets.token_hex(16))
    with GssClient(endpoint, "benchmark") as client:
        records = [record(number) for number in range(KEYS)]
        client.put([(item.key, encode_thrift(item)) for item in records])
        yield client


@pytest.mark.integration
def test_gss_get(benchmark: Any, gss: GssClient) -> None:
    benchmark(gss.get, record(1).key)


@pytest.mark.integration
def test_gss_multi_get_64(benchmark: Any, gss: GssClient) -> None:
    keys = [record(number).key for number in range(64)]
    benchmark(gss.multi_get, keys)


@pytest.mark.integration
def test_gss_contains_64(benchmark: Any, gss: GssClient) -> None:
    keys = [record(number).key for number in range(64)]
    benchmark(gss.contains, keys)


@pytest.mark.integration
def test_gss_put_8(benchmark: Any, gss: GssClient) -> None:
    items = [(record(number).key, encode_thrift(record(number))) for number in range(8)]
    benchmark(gss.put, items)


@pytest.fixture(scope="module")
def pinlater(postgres: str) -> Iterator[PgmqPinLater]:
    queue = PgmqPinLater(postgres, "benchmark", "online")
    queue.create()
    yield queue
    queue.close()


@pytest.mark.integration
def test_pinlater_enqueue_100(benchmark: Any, pinlater: PgmqPinLater) -> None:
    jobs = [({"number": number}, 1) for number in range(100)]
    benchmark(pinlater.enqueue_many, jobs)


@pytest.mark.integration
def test_pinlater_dequeue_and_ack_8(benchmark: Any, pinlater: PgmqPinLater) -> None:
    rounds = 50
    pinlater.purge()
    pinlater.enqueue_many([({"number": number}, 1) for number in range(8 * (rounds + 1))])
    benchmark.pedantic(lambda: pinlater.ack(pinlater.dequeue(8, 30.0)), rounds=rounds, warmup_rounds=1)


def test_parquet_write_1000_rows(benchmark: Any, tmp_path: Path) -> None:
    outputs = [encode_output([record(number) for number in range(1000)], Tally(1000, 0))]
    rows = pa.Table.from_batches(list(to_rows(thrift_rows(output) for output in outputs)))
    benchmark(lambda: pq.write_table(rows, tmp_path / "rows.parquet", compression=COMPRESSION))


def test_protobuf_to_rows_1000(benchmark: Any) -> None:
    output = encode_output([record(number) for number in range(1000)], Tally(1000, 0))
    benchmark(lambda: list(to_rows(iter([thrift_rows(output)]))))
