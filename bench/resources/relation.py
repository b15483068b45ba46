"""Seals what every process counted (``ledger/raw/*.counts.jsonl``) into ``ledger/resources.parquet``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from signals.counters import COUNTS_SUFFIX, read_counts

HARNESS = "harness"  # the ledger that is open in the driver's process around a replicate
DRIVER = "driver"
RESOURCES_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),  # "" before the first replicate: images are staged
        ("replicate", pa.int32()),
        ("process", pa.string()),  # as its parent names it: online_worker-0
        ("kind", pa.string()),  # the same without its number
        ("pid", pa.int64()),
        ("recorder_pid", pa.int64()),  # who wrote it down: the process itself, or its parent
        ("resource", pa.string()),
        ("unit", pa.string()),
        ("value", pa.float64()),
    ]
)
_NUMBER = re.compile(r"[-_]\d+(?=\.|$)")


def resources_path(run_dir: Path) -> Path:
    """The sealed counts of a run."""
    return run_dir / "ledger" / "resources.parquet"


def seal_resources(run_dir: Path) -> Path:
    """Write ``ledger/resources.parquet``, replacing an older one whole. The raw counts are kept."""
    kept = map(read_counts, sorted(_raw(run_dir).glob(f"*{COUNTS_SUFFIX}")))
    found = [counts for counts in kept if counts is not None]
    path = resources_path(run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".parquet.tmp")
    pq.write_table(pa.Table.from_pylist(list(_rows(found)), RESOURCES_SCHEMA), temporary, compression="zstd")
    temporary.replace(path)
    return path


def _raw(run_dir: Path) -> Path:
    return run_dir / "ledger" / "raw"


def _rows(files: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    names = _names(files)
    for file in files:
        scope = {"arm": file["arm"], "replicate": file["replicate"], "recorder_pid": file["pid"]}
        for count in file["counts"]:
            pid = count["pid"] or file["pid"]
            process = count["process"] or names[file["arm"], file["replicate"], pid]
            yield {
                **scope,
                "process": process,
                "kind": _NUMBER.sub("", process),
                "pid": pid,
                "resource": count["name"],
                "unit": count["unit"],
                "value": count["value"],
            }


def _names(files: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, int], str]:
    """What each process is called: by its parent if that has counted it, else by itself."""
    names: dict[tuple[str, int, int], str] = {}
    for file in files:
        own = file["process"].removeprefix(f"{file['arm']}-{file['replicate']}-")
        key = file["arm"], file["replicate"], file["pid"]
        # The driver's process has several ledgers, one of them the arm's.
        names[key] = DRIVER if own == HARNESS or names.get(key) == DRIVER else own
    for file in files:
        for count in file["counts"]:
            if count["process"]:
                names[file["arm"], file["replicate"], count["pid"]] = count["process"]
    return names
