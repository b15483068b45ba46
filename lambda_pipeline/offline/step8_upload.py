"""Step 8: the day's Hive partitions are uploaded to Rockstore, as sorted SST files that GSS ingests."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import functions as f

from lambda_pipeline.offline.night import Night
from signals.encodings import encode_thrift
from signals.gss import GssClient
from signals.hive import TABLE
from signals.record import SignalRecord
from signals.rockstore import write_sorted_sst

ITEMS = "key BINARY, value BINARY"
ITEM_SCHEMA = pa.schema([("key", pa.binary()), ("value", pa.binary())])
ROWS_PER_FILE = 50_000


def to_items(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of the Hive table (with galaxy and day) -> keys and values as they rest in Rockstore."""
    for batch in batches:
        records = [SignalRecord(**{**row, "shape": tuple(row["shape"])}) for row in batch.to_pylist()]
        keys = pa.array([record.key for record in records], pa.binary())
        values = pa.array([encode_thrift(record) for record in records], pa.binary())
        yield pa.record_batch([keys, values], schema=ITEM_SCHEMA)


def write_sst(batches: Iterator[pa.RecordBatch], *, folder: str) -> Iterator[pa.RecordBatch]:
    """Sorted items -> one SST file; gives its path and the number of its keys, nothing for no items."""
    path = Path(folder) / f"{uuid.uuid4().hex}.sst"
    items = (
        item
        for batch in batches
        for item in zip(batch.column("key").to_pylist(), batch.column("value").to_pylist(), strict=True)
    )
    if count := write_sorted_sst(path, items):
        yield pa.record_batch({"path": [str(path)], "keys": pa.array([count], pa.int64())})


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Read what the Hive table shows for the day, sort it, write SST files and have them ingested at once."""
    if not inputs["partitions"]:
        return {"sst_files": [], "uploaded_keys": 0}
    rows = night.spark.table(f"{night.database}.{TABLE}").where(f.col("day") == night.day)
    files = max(1, sum(inputs["rows"].values()) // ROWS_PER_FILE)
    items = rows.mapInArrow(to_items, ITEMS)
    # Ranges of keys that don't overlap, each in order: what RocksDB ingests without a compaction.
    ordered = items.repartitionByRange(files, "key") if files > 1 else items.coalesce(1)
    written = (
        ordered.sortWithinPartitions("key")
        .mapInArrow(
            functools.partial(write_sst, folder=str(night.work_dir / "sst")), "path STRING, keys LONG"
        )
        .collect()
    )
    context = night.context
    with GssClient.of_run(context) as gss:
        gss.ingest([Path(row["path"]) for row in written])
    return {
        "sst_files": [row["path"] for row in written],
        "uploaded_keys": sum(row["keys"] for row in written),
    }
