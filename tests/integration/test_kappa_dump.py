"""The dump against real servers: a day's partitions hold the day's signals, all of them, and no device."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signals.architecture import HasNightlySteps, MediaEvent, RunContext
from signals.errors import PipelineError
from signals.hive import HIVE_SCHEMA, MetastoreReader, read_partition
from tests.integration.kappa_harness import GALAXY, Feed, jpeg, running_arm
from tests.integration.test_kappa_stream import ledger_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
MakeContext = Callable[..., RunContext]


def in_galaxy(event: MediaEvent, pipeline: str, galaxy: str) -> MediaEvent:
    return dataclasses.replace(event, pipeline=pipeline, galaxy=galaxy)


def test_days_are_cut_at_midnight_and_every_reader_agrees(context: MakeContext) -> None:
    run = context(arm="kappa")
    feed = Feed(run)
    first = [feed.event(jpeg(3000 + seed)) for seed in range(8)]
    # Arrives in the last millisecond and is slow: the largest photo, behind the others.
    late = feed.event(jpeg(3100, size=3000))
    other = in_galaxy(feed.event(jpeg(3200)), "shopping", "products")
    with running_arm(run) as arm:
        for event in (*first, other, late):
            arm.submit(event)
        dump_start_ns = time.time_ns()
        arm.end_day(0)
        dump_end_ns = time.time_ns()
        assert isinstance(arm, HasNightlySteps)
        assert [arm.nightly_step(day) for day in (0, 1)] == ["dump.swap", ""]
        with MetastoreReader(run.metastore_dsn, run.namespace) as metastore:
            day_0 = metastore.partitions()
            assert set(day_0) == {(GALAXY, 0), ("products", 0)}
            rows = read_partition(day_0[GALAXY, 0])
            signatures = {e.image_signature for e in (*first, late)}
            assert set(rows["image_signature"].to_pylist()) == signatures
            assert rows.num_rows == 2 * len(signatures)

            arm.submit(feed.event(jpeg(3000), day=1))  # known already: belongs to day 0
            new = feed.event(jpeg(3300), day=1)
            arm.submit(new)
            arm.end_day(1)
            partitions = metastore.partitions()
        assert {key: at for key, at in partitions.items() if key[1] == 0} == day_0
        assert set(partitions) - set(day_0) == {(GALAXY, 1)}, "no partition without new signals"
        assert set(read_partition(partitions[GALAXY, 1])["image_signature"].to_pylist()) == {
            new.image_signature
        }

    location = day_0[GALAXY, 0].removeprefix("file:")
    by_duckdb = duckdb.sql(f"select count(*), count(distinct signal) from '{location}/*.parquet'").fetchall()
    assert by_duckdb == [(rows.num_rows, 2)]
    schema = pq.read_schema(next(iter(sorted((run.warehouse_dir).rglob("*.parquet")))))
    assert schema.names == HIVE_SCHEMA.names
    assert schema.field("values").type == pa.binary()
    assert not list((run.arm_dir / "checkpoints").glob("*"))
    assert not list((run.warehouse_dir / "staging").glob("*"))

    events = ledger_rows(run)
    steps = [r for r in events if r["stage"] == "step" and r["day"] == 0]
    steps.sort(key=lambda r: str(r["start_ns"]))
    assert [(r["path"], r["detail"], r["outcome"]) for r in steps] == [
        ("dump", f"dump.{name}", "ok")
        for name in ("watermark", "checkpoint", "spark_session", "transform", "swap")
    ]
    watermark_end_ns = int(str(steps[0]["end_ns"]))
    busy = [r for r in events if r["stage"] == "device_busy"]
    assert busy
    assert all(
        int(str(r["end_ns"])) <= watermark_end_ns
        for r in busy
        if dump_start_ns <= int(str(r["start_ns"])) <= dump_end_ns
    ), "the dump computes nothing; all of day 0 was done before its checkpoint"


def test_a_dump_that_fails_names_its_step_and_its_log(context: MakeContext) -> None:
    run = context(arm="kappa")
    with running_arm(run) as arm:
        (run.arm_dir / "checkpoints").write_text("where the folder of the checkpoints should be")
        with pytest.raises(PipelineError, match=r"failed in dump\.checkpoint with code .*dump_day_0.*\.log"):
            arm.end_day(0)
