"""Steps 6 and 7 without Spark, for ``lkbench throughput``: Protobuf -> Thrift -> rows of the Hive table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from lambda_pipeline.offline.job_output import Tally, encode_output
from lambda_pipeline.offline.step6_thrift import thrift_rows
from lambda_pipeline.offline.step7_hive import to_rows
from signals.record import SignalRecord

RECORDS_PER_OUTPUT = 64  # as a job of 32 images with two signals each leaves them


def prepare(folder: Path, records: Sequence[SignalRecord]) -> Callable[[], Iterator[pa.RecordBatch]]:
    """Write ``records`` as outputs of step 5; see :mod:`bench.throughput.conversions`."""
    paths = []
    for start in range(0, len(records), RECORDS_PER_OUTPUT):
        paths.append(folder / f"{start}.pb")
        output = records[start : start + RECORDS_PER_OUTPUT]
        images = len({record.image_signature for record in output})
        paths[-1].write_bytes(encode_output(output, Tally(images, 0)))
    return lambda: to_rows(thrift_rows(path.read_bytes()) for path in paths)
