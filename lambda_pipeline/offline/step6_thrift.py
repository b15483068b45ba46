"""Step 6: a Spark workflow re-encodes the workers' Protobuf outputs as Thrift structs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lambda_pipeline.offline.job_output import encoded_records
from lambda_pipeline.offline.night import Night
from signals.architecture import RunContext, S3Endpoint
from signals.counters import CountsFile
from signals.encodings import protobuf_kinds, thrift_kinds
from signals.object_store import ObjectStore

MAX_OUTPUT_BYTES = 1 << 30
THRIFT_SCHEMA = pa.schema([("galaxy", pa.string()), ("thrift", pa.binary())])
_OUTPUTS_PER_TASK = 8


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Spark worker reads, and where it says how often."""

    endpoint: S3Endpoint
    ledger_dir: Path
    arm: str
    replicate: int

    @classmethod
    def of(cls, context: RunContext) -> Source:
        """Of one arm and replicate."""
        return cls(context.s3, context.ledger_dir, context.arm, context.replicate)


@functools.cache
def _clients(source: Source) -> tuple[ObjectStore, CountsFile]:
    """Those of this Spark worker process: clients can't travel, so each process opens its own, once."""
    counts = CountsFile(
        source.ledger_dir,
        process=f"{source.arm}-{source.replicate}-nightly_spark_worker",
        arm=source.arm,
        replicate=source.replicate,
    )
    return ObjectStore(source.endpoint), counts


def reencode(batches: Iterator[pa.RecordBatch], *, source: Source) -> Iterator[pa.RecordBatch]:
    """Object keys (column ``key``) -> rows of THRIFT_SCHEMA, one per signal record."""
    store, counts = _clients(source)
    for batch in batches:
        for key in batch.column("key").to_pylist():
            yield thrift_rows(store.get(key, MAX_OUTPUT_BYTES))
    counts.write()


def thrift_rows(output: bytes) -> pa.RecordBatch:
    """The output of a job, delimited Protobuf -> rows of THRIFT_SCHEMA. Raises RecordError."""
    rows = [protobuf_kinds.read(record) for record in encoded_records(output)]
    galaxies = [row.kind.galaxy for row in rows]
    structs = [thrift_kinds.write(row) for row in rows]
    return pa.record_batch(
        [pa.array(galaxies, pa.string()), pa.array(structs, pa.binary())], schema=THRIFT_SCHEMA
    )


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Write the Thrift structs as Parquet, in a folder per galaxy."""
    path = str(night.work_dir / "thrift")
    keys = [(key,) for key in inputs["outputs"]]
    if not keys:
        return {"thrift": path, "galaxies": []}
    tasks = max(1, min(len(keys) // _OUTPUTS_PER_TASK, 4 * night.spark.sparkContext.defaultParallelism))
    outputs = night.spark.createDataFrame(keys, "key STRING").repartition(tasks)
    encoded = outputs.mapInArrow(
        functools.partial(reencode, source=Source.of(night.context)), "galaxy STRING, thrift BINARY"
    )
    encoded.write.partitionBy("galaxy").parquet(path)
    galaxies = sorted(p.name.removeprefix("galaxy=") for p in (night.work_dir / "thrift").glob("galaxy=*"))
    return {"thrift": path, "galaxies": galaxies}
