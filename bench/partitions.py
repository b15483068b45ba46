"""The Hive partitions that an arm left in a run folder, as relations of a DuckDB connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import pyarrow.parquet as pq

from bench.database import quote
from signals.hive import HIVE_SCHEMA

COLUMNS = tuple(HIVE_SCHEMA.names)
KEY = "galaxy, signal, version, image_signature"

# Without any partition a relation still needs its columns.
_EMPTY = (
    "SELECT NULL::VARCHAR AS galaxy, NULL::INTEGER AS day, NULL::VARCHAR AS image_signature, "
    "NULL::VARCHAR AS signal, NULL::INTEGER AS version, NULL::VARCHAR AS pipeline, NULL::INTEGER[] AS shape, "
    'NULL::BLOB AS "values", NULL::VARCHAR AS model_sha256 WHERE FALSE'
)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the table: its data files, in whatever folder the metastore named last."""

    galaxy: str
    day: int
    files: tuple[Path, ...]


def load_partitions(run_dir: Path, arm: str, replicate: int) -> list[Partition] | None:
    """The partitions of one arm and replicate, or None if it did not get as far as having any recorded.

    A folder that is gone has no files: its rows then count as missing.
    """
    arm_dir = run_dir / "arms" / f"{arm}-{replicate}"
    listing = arm_dir / "partitions.json"
    if not listing.is_file():
        return None
    return [
        Partition(
            entry["galaxy"], int(entry["day"]), _data_files(_resolve(run_dir, arm_dir, entry["location"]))
        )
        for entry in orjson.loads(listing.read_bytes())
    ]


def create_relation(
    connection: duckdb.DuckDBPyConnection, name: str, partitions: Sequence[Partition]
) -> None:
    """Create view ``name`` over all rows: galaxy, day and the columns of the table."""
    columns = ", ".join(f'"{column}"' for column in COLUMNS)
    parts = [
        f"SELECT {quote(p.galaxy)} AS galaxy, {p.day}::INTEGER AS day, {columns} FROM read_parquet("  # noqa: S608
        f"[{', '.join(quote(str(path)) for path in p.files)}], hive_partitioning = false)"
        for p in partitions
        if p.files
    ]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {' UNION ALL '.join(parts or [_EMPTY])}")


def schemas(partitions: Sequence[Partition]) -> set[tuple[tuple[str, str], ...]]:
    """The distinct (column, type) lists of all files; how a list's element is called makes no difference."""
    found = set()
    for partition in partitions:
        for path in partition.files:
            fields = pq.read_schema(path)
            found.add(tuple((field.name, _type_name(str(field.type))) for field in fields))
    return found


def _type_name(text: str) -> str:
    return re.sub(r"<\w+: ", "<", text).replace("large_", "").replace(" not null", "")


def _resolve(run_dir: Path, arm_dir: Path, location: str) -> Path:
    # Locations are relative to the run folder. An absolute one that was recorded before the folder was
    # moved or copied is looked up below the warehouse first: what is checked is this folder.
    path = Path(location.removeprefix("file://").removeprefix("file:"))
    if not path.is_absolute():
        return run_dir / path
    _, separator, below = str(path).rpartition("/warehouse/")
    own = arm_dir / "warehouse" / below
    return own if separator and own.is_dir() else path


def _data_files(folder: Path) -> tuple[Path, ...]:
    # Hive and Spark read every file of a partition except those whose name starts with _ or a dot.
    if not folder.is_dir():
        return ()
    return tuple(sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] not in "._"))
