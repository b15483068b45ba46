"""The Spark side of the dump: key ranges of a Rockstore checkpoint become Parquet in Hive's layout.

Each task opens the checkpoint read-only and scans its own key ranges. Nothing is computed anew: values are
decoded from Thrift and written as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from kappa_pipeline.nrtg import StreamPlan
from signals.encodings import thrift_kinds
from signals.hive import HIVE_SCHEMA, hive_batches, partition_dir
from signals.record import record_key
from signals.rockstore import Rockstore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ROW_SCHEMA = pa.schema([("galaxy", pa.string()), *HIVE_SCHEMA])
_SPARK_SCHEMA = (
    "galaxy string, image_signature string, signal string, version int, pipeline string, "
    "shape array<int>, `values` binary, model_sha256 string"
)


def key_ranges(plan: StreamPlan) -> list[bytes]:
    """Key prefixes that together cover every signal of the plan: 16 for each signal of each galaxy."""
    return [
        record_key(operator.galaxy, signal.name, signal.version, digit)
        for operator in plan.operators
        for signal in operator.signals
        for digit in "0123456789abcdef"
    ]


def rows_of_day(checkpoint: Path, prefixes: Iterable[bytes], day: int) -> Iterator[pa.RecordBatch]:
    """The records of ``day`` under ``prefixes``: batches of galaxy and the columns of HIVE_SCHEMA."""
    with Rockstore.open_read_only(checkpoint) as store:
        rows = (
            row
            for prefix in prefixes
            for _, value in store.scan(prefix)
            if (row := thrift_kinds.read(value)).kind.day == day
        )
        yield from hive_batches(rows, _ROW_SCHEMA)


def transform(
    spark: SparkSession, plan: StreamPlan, checkpoint: Path, warehouse: Path, day: int, attempt_id: str
) -> dict[str, tuple[Path, int]]:
    """Write the day's partitions, each into a directory of this attempt.

    Returns directory and number of rows by galaxy, without the galaxies that have no signals of the day.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    prefixes = key_ranges(plan)
    tasks = min(len(prefixes), 2 * spark.sparkContext.defaultParallelism)
    galaxies = [operator.galaxy for operator in plan.operators]
    counts = Observation("rows")
    staging = warehouse / "staging" / f"dump-{attempt_id}"
    (
        spark.range(0, tasks, 1, tasks)
        .mapInArrow(_scanner(checkpoint, _split(prefixes, tasks), day), _SPARK_SCHEMA)
        .observe(counts, *(f.count_if(f.col("galaxy") == galaxy).alias(galaxy) for galaxy in galaxies))
        .write.partitionBy("galaxy")
        .option("compression", "zstd")
        .parquet(str(staging))
    )
    rows: dict[str, int] = counts.get
    written: dict[str, tuple[Path, int]] = {}
    for galaxy in galaxies:
        if rows[galaxy]:
            target = partition_dir(warehouse, galaxy, day, attempt_id)
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / f"galaxy={galaxy}").rename(target)
            written[galaxy] = (target, rows[galaxy])
    shutil.rmtree(staging)
    return written


def _split(prefixes: Sequence[bytes], tasks: int) -> list[list[bytes]]:
    """Neighbouring prefixes share a task, so that a task writes few files."""
    return [
        list(prefixes[len(prefixes) * t // tasks : len(prefixes) * (t + 1) // tasks]) for t in range(tasks)
    ]


def _scanner(
    checkpoint: Path, prefixes: list[list[bytes]], day: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def scan(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from rows_of_day(checkpoint, prefixes[task], day)

    return scan
