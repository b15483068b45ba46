"""Seals a run: every raw ledger stream of every process becomes one Parquet file, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.resources.relation import seal_resources
from signals.errors import PipelineError
from signals.ledger import LEDGER_SCHEMA

ROWS_PER_GROUP = 122_880  # DuckDB's own row group size: one unit of parallel work
COMPRESSION = "zstd"


@dataclass
class SealReport:
    """What was sealed. ``truncated`` names the streams whose end is missing: their process was killed."""

    path: Path
    streams: int = 0
    rows: int = 0
    truncated: list[str] = field(default_factory=list)


def raw_dir(run_dir: Path) -> Path:
    """Where processes append their streams."""
    return run_dir / "ledger" / "raw"


def events_path(run_dir: Path) -> Path:
    """The sealed ledger of a run."""
    return run_dir / "ledger" / "events.parquet"


def seal(run_dir: Path) -> SealReport:
    """Write ``ledger/events.parquet`` from ``ledger/raw/*.arrows``, replacing an older one whole.

    What the processes counted goes to ``ledger/resources.parquet`` beside it.

    The streams are kept. A stream that ends in the middle of a batch counts up to its last whole batch.
    Raises PipelineError for a stream with another schema.
    """
    target = events_path(run_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".parquet.tmp")
    report = SealReport(target)
    try:
        with pq.ParquetWriter(temporary, LEDGER_SCHEMA, compression=COMPRESSION) as writer:
            for group in _row_groups(_batches(run_dir, report)):
                writer.write_table(group, row_group_size=len(group))
                report.rows += len(group)
        temporary.replace(target)
        seal_resources(run_dir)
    finally:
        temporary.unlink(missing_ok=True)
    return report


def _batches(run_dir: Path, report: SealReport) -> Iterator[pa.RecordBatch]:
    for path in sorted(raw_dir(run_dir).glob("*.arrows")):
        report.streams += 1
        with pa.OSFile(str(path), "rb") as file:
            try:
                reader = pa.ipc.open_stream(file)
            except (pa.ArrowInvalid, OSError):
                report.truncated.append(path.name)  # killed before its schema was written
                continue
            if not reader.schema.equals(LEDGER_SCHEMA):
                raise PipelineError(f"{path} is not a ledger stream of this version: {reader.schema}")
            yield from _whole_batches(reader, path.name, report)
            with contextlib.suppress(OSError):
                reader.close()


def _whole_batches(
    reader: pa.RecordBatchStreamReader, name: str, report: SealReport
) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
            batch.validate(full=True)
        except StopIteration:
            return
        except (pa.ArrowInvalid, OSError):
            report.truncated.append(name)
            return
        yield batch


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    # Processes flush twice a second, so batches are small: gather them, or row groups would be too.
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pending.append(batch)
        rows += len(batch)
        if rows >= ROWS_PER_GROUP:
            yield pa.Table.from_batches(pending, LEDGER_SCHEMA)
            pending, rows = [], 0
    if pending:
        yield pa.Table.from_batches(pending, LEDGER_SCHEMA)
