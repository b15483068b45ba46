"""Step 7: the Thrift structs land in the Parquet Hive table, one partition per galaxy and day.

A galaxy without new signals gets no partition that day.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from lambda_pipeline.offline.night import Night
from signals.declaration import for_galaxy
from signals.encodings import thrift_kinds
from signals.errors import PipelineError
from signals.hive import hive_batches, partition_dir, publish_partition, verify_partition
from signals.ledger import Stage

COLUMNS = (
    "image_signature STRING, signal STRING, version INT, pipeline STRING, shape ARRAY<INT>, "
    "values BINARY, model_sha256 STRING"
)
WRITES_AT_A_TIME = 2


def to_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Thrift structs (column ``thrift``) -> rows of the Hive table."""
    structs = (struct for batch in batches for struct in batch.column("thrift").to_pylist())
    return hive_batches(map(thrift_kinds.read, structs))


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Write all partitions, check that nothing is missing, then publish them one after the other."""
    warehouse = night.context.warehouse_dir
    paths = {
        galaxy: partition_dir(warehouse, galaxy, night.day, night.attempt_id) for galaxy in inputs["galaxies"]
    }

    def write(galaxy: str) -> int:
        structs = night.spark.read.parquet(f"{inputs['thrift']}/galaxy={galaxy}")
        structs.mapInArrow(to_rows, COLUMNS).write.option("compression", "zstd").parquet(str(paths[galaxy]))
        return verify_partition(paths[galaxy])

    with ThreadPoolExecutor(WRITES_AT_A_TIME) as pool:
        rows = dict(zip(paths, pool.map(write, paths), strict=True))
    images = sum(count / len(for_galaxy(galaxy)) for galaxy, count in rows.items())
    if images != inputs["images"]:
        raise PipelineError(f"the partitions hold {images:g} images, step 5 counted {inputs['images']}")
    for galaxy, path in paths.items():
        start_ns = time.time_ns()
        publish_partition(night.spark.sql, night.database, galaxy, night.day, path, rows[galaxy])
        night.ledger.record(
            Stage.SWAP,
            start_ns=start_ns,
            end_ns=time.time_ns(),
            path="nightly",
            day=night.day,
            galaxy=galaxy,
            detail=str(path),
        )
    return {"partitions": {galaxy: str(path) for galaxy, path in paths.items()}, "rows": rows}
