"""Rows of the Hive table, gathered into Arrow batches column by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from signals.hive_table import HIVE_SCHEMA
from signals.record_kind import KindRow, RecordKind

# Large batches make few row groups; bounded, because a signal may have megabytes.
ROWS_PER_BATCH = 4_096
BYTES_PER_BATCH = 32 * 2**20


def hive_batches(rows: Iterable[KindRow], schema: pa.Schema = HIVE_SCHEMA) -> Iterator[pa.RecordBatch]:
    """``rows`` as batches of ``schema``: HIVE_SCHEMA, or it with more of a record's fields."""
    gathered: list[KindRow] = []
    size_bytes = 0
    for row in rows:
        gathered.append(row)
        size_bytes += len(row.values)
        if len(gathered) == ROWS_PER_BATCH or size_bytes >= BYTES_PER_BATCH:
            yield _batch(gathered, schema)
            gathered, size_bytes = [], 0
    if gathered:
        yield _batch(gathered, schema)


def _batch(rows: list[KindRow], schema: pa.Schema) -> pa.RecordBatch:
    kinds, signatures, values = zip(*rows, strict=True)
    numbers: dict[RecordKind, int] = {}
    number_of = pa.array([numbers.setdefault(kind, len(numbers)) for kind in kinds], pa.int32())
    own = {"image_signature": signatures, "values": values}
    columns = [
        pa.array(own[field.name], field.type)
        if field.name in own
        else pa.array([getattr(kind, field.name) for kind in numbers], field.type).take(number_of)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)
