from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from signals.architecture import RunContext
from signals.hive import (
    HIVE_SCHEMA,
    MetastoreReader,
    create_database_sql,
    create_table_sql,
    partition_dir,
    publish_partition,
    read_partition,
    spark_conf,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WAIT_SECONDS = 60.0
COLUMNS = (
    "image_signature string, signal string, version int, pipeline string, "
    "shape array<int>, `values` binary, model_sha256 string"
)


@pytest.fixture(scope="module")
def run(context: Callable[..., RunContext]) -> RunContext:
    made = context("lambda")
    return dataclasses.replace(made, arm_dir=made.arm_dir / "a folder, 100% odd")


@pytest.fixture(scope="module")
def spark(run: RunContext) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.pyspark.python", sys.executable)
    for name, value in spark_conf(run).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


class Reader:
    """Polls the partition as a batch consumer does, and keeps each distinct thing it saw, in order."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._poll)
        self.seen: list[tuple[str, int] | None] = []
        self.failure: Exception | None = None

    def _poll(self) -> None:
        try:
            with MetastoreReader(self._run.metastore_dsn, self._run.namespace) as metastore:
                while not self._stop.is_set():
                    self._note(self._read(metastore))
        except Exception as error:
            self.failure = error

    def _read(self, metastore: MetastoreReader) -> tuple[str, int] | None:
        location = metastore.partitions().get(("pins", 0))
        if location is None:
            return None
        table = read_partition(location, ["pipeline"])
        return "+".join(sorted(set(table["pipeline"].to_pylist()))), table.num_rows

    def _note(self, state: tuple[str, int] | None) -> None:
        with self._changed:
            if not self.seen or self.seen[-1] != state:
                self.seen.append(state)
                self._changed.notify_all()

    def wait_for(self, state: tuple[str, int] | None) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: state in self.seen, WAIT_SECONDS), self.seen

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.failure is None


def write(spark: Any, run: RunContext, attempt: str, pipeline: str, count: int) -> Path:
    path = partition_dir(run.warehouse_dir, "pins", 0, attempt)
    rows = [
        (f"{number:032x}", "visual_embedding", 1, pipeline, [2], b"\0" * 8, "ab" * 32)
        for number in range(count)
    ]
    spark.createDataFrame(rows, COLUMNS).repartition(3).write.parquet(str(path))
    return path


def test_a_reader_sees_a_partition_old_or_new_never_empty_or_mixed(spark: Any, run: RunContext) -> None:
    database = run.namespace
    with Reader(run) as reader:
        reader.wait_for(None)  # neither database nor table is there yet
        spark.sql(create_database_sql(database, run.warehouse_dir))
        spark.sql(create_table_sql(database))
        spark.sql(create_table_sql(database))  # again, as the next night's workflow does
        old = write(spark, run, "a1", "crawled", 20)
        assert publish_partition(spark.sql, database, "pins", 0, old, 20) == 20
        reader.wait_for(("crawled", 20))
        new = write(spark, run, "a2", "shopping", 30)
        assert publish_partition(spark.sql, database, "pins", 0, new, 30) == 30
        reader.wait_for(("shopping", 30))
    assert reader.seen == [None, ("crawled", 20), ("shopping", 30)]

    with MetastoreReader(run.metastore_dsn, database) as metastore:
        assert metastore.partitions() == {("pins", 0): f"file:{new}"}
    assert read_partition(f"file:{new}").schema.equals(HIVE_SCHEMA)
    spark.catalog.refreshTable(f"{database}.signals")
    query = f"SELECT galaxy, day, pipeline, count(*) FROM `{database}`.signals GROUP BY 1, 2, 3"
    assert [tuple(row) for row in spark.sql(query).collect()] == [("pins", 0, "shopping", 30)]
    assert list(run.warehouse_dir.glob("*.db/signals/*")) == []  # nothing beside the published directories


def test_the_metastore_of_another_database_is_not_seen(spark: Any, run: RunContext) -> None:
    with MetastoreReader(run.metastore_dsn, "another_database") as metastore:
        assert metastore.partitions() == {}
