"""The dump's transform without Spark, for ``lkbench throughput``: a checkpoint -> rows of the Hive table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from kappa_pipeline.dump_transform import rows_of_day
from signals.encodings import encode_thrift
from signals.hive import HIVE_SCHEMA
from signals.record import SignalRecord
from signals.rockstore import Rockstore


def prepare(folder: Path, records: Sequence[SignalRecord]) -> Callable[[], Iterator[pa.RecordBatch]]:
    """Write ``records`` into a Rockstore and take a checkpoint; see :mod:`bench.throughput.conversions`."""
    checkpoint = folder / "checkpoint"
    with Rockstore(folder / "store") as store:
        store.put_many((record.key, encode_thrift(record)) for record in records)
        store.checkpoint(checkpoint)
    day = records[0].day

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in rows_of_day(checkpoint, [b""], day):
            yield batch.select(HIVE_SCHEMA.names)

    return rows
