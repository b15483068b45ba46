"""The nightly re-encodings without Spark's start, against PyArrow writing the same rows.

A conversion is found by entry point, group ``lkbench.conversions``: ``prepare(folder, records)`` writes the
records in the form that the path keeps them in, and returns a function that reads them and gives Arrow
batches in the layout of the Hive table.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signals.hive import HIVE_SCHEMA
from signals.record import SignalRecord

GROUP = "lkbench.conversions"
ROWS = 8_000
ROUNDS = 5
COMPRESSION = "zstd"  # that of the Hive table
WIDTH = 1280

Batches = Callable[[], Iterator[pa.RecordBatch]]
Prepare = Callable[[Path, Sequence[SignalRecord]], Batches]


@dataclass(frozen=True, slots=True)
class ConversionSpeed:
    """Medians of ROUNDS interleaved rounds, rows per second of one process."""

    name: str
    rows_per_second: float
    pyarrow_rows_per_second: float

    @property
    def ratio(self) -> float:
        """To PyArrow writing the same rows with the same codec."""
        return self.rows_per_second / self.pyarrow_rows_per_second


def measure_conversions(rows: int = ROWS) -> list[ConversionSpeed]:
    """Every installed conversion."""
    records = list(_records(rows))
    found: list[ConversionSpeed] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        prepare: Prepare = point.load()
        with tempfile.TemporaryDirectory(prefix="lkbench-conversion-") as folder:
            convert = prepare(Path(folder), records)
            ready = pa.Table.from_batches(convert()).combine_chunks()
            target = Path(folder) / "out.parquet"
            pairs = [(_converting(target, convert), _writing(target, ready)) for _ in range(ROUNDS)]
        ours, bare = (rows / statistics.median(column) for column in zip(*pairs, strict=True))
        found.append(ConversionSpeed(point.name, ours, bare))
    return found


def _converting(target: Path, convert: Batches) -> float:
    started = time.perf_counter()
    with pq.ParquetWriter(target, HIVE_SCHEMA, compression=COMPRESSION) as writer:
        for batch in convert():
            writer.write_batch(batch)
    return time.perf_counter() - started


def _writing(target: Path, rows: pa.Table) -> float:
    started = time.perf_counter()
    pq.write_table(rows, target, compression=COMPRESSION)
    return time.perf_counter() - started


def _records(count: int) -> Iterator[SignalRecord]:
    random = np.random.default_rng(7)
    for _ in range(count):
        yield SignalRecord.from_array(
            np.maximum(random.standard_normal(WIDTH, dtype=np.float32), 0),  # activations are often 0
            image_signature=random.bytes(16).hex(),
            galaxy="pins",
            signal="visual_embedding",
            version=1,
            day=0,
            pipeline="crawled",
            model_sha256="0" * 64,
        )
