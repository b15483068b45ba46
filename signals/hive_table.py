"""The Hive table of signals: one layout that both architectures write, any Parquet reader reads.

A partition (galaxy, day) is published whole: its files are written to a directory of their own that never
changes afterwards, checked, and then made the partition's location by a single change in the metastore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from signals.errors import ConfigurationError, PipelineError

if TYPE_CHECKING:
    from pyarrow.dataset import FileSystemDataset

TABLE = "signals"

HIVE_SCHEMA = pa.schema(
    [
        ("image_signature", pa.string()),
        ("signal", pa.string()),
        ("version", pa.int32()),
        ("pipeline", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("values", pa.binary()),  # little-endian float32, packed, row-major
        ("model_sha256", pa.string()),
    ]
)
KEY_COLUMNS = ("image_signature", "signal", "version")  # within a partition; the galaxy is the partition's
KEYS_AT_A_TIME = 500_000  # that are compared with each other: about half a kilobyte of memory for each
_BATCH_ROWS = 32_768

_SQL_TYPES = {
    pa.string(): "STRING",
    pa.int32(): "INT",
    pa.binary(): "BINARY",
    pa.list_(pa.int32()): "ARRAY<INT>",
}
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_GALAXY = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_LOCATION = re.compile(r"(?:file:(?://)?)?(/(?!/).*)")
_PATH = re.compile(r"/[^'\"\\`\n\r]*")


def create_database_sql(database: str, warehouse: Path) -> str:
    """Statement that creates the database, with its folder in ``warehouse``, unless it exists."""
    location = _uri(warehouse / f"{_identifier(database)}.db")
    return f"CREATE DATABASE IF NOT EXISTS `{database}` LOCATION '{location}'"


def create_table_sql(database: str) -> str:
    """Statement that creates the table of signals in ``database`` unless it exists."""
    columns = ", ".join(f"`{field.name}` {_SQL_TYPES[field.type]}" for field in HIVE_SCHEMA)
    return (
        f"CREATE TABLE IF NOT EXISTS {_table(database)} ({columns}) "
        "PARTITIONED BY (`galaxy` STRING, `day` INT) STORED AS PARQUET"
    )


def partition_dir(warehouse: Path, galaxy: str, day: int, attempt_id: str) -> Path:
    """Directory of one attempt to write a partition. An attempt id is used once: ``[A-Za-z0-9_-]+``.

    It does not exist yet, and never changes once it has been published.
    """
    if not _ATTEMPT.fullmatch(attempt_id):
        raise ConfigurationError(f"{attempt_id!r} can't be an attempt id: {_ATTEMPT.pattern}")
    _partition(galaxy, day)  # validates
    return warehouse / "partitions" / f"galaxy={galaxy}" / f"day={day}" / f"run-{attempt_id}"


def add_partition_sql(database: str, galaxy: str, day: int, path: Path) -> str:
    """Statement that makes a new partition visible with its files at ``path``."""
    return f"ALTER TABLE {_table(database)} ADD {_partition(galaxy, day)} LOCATION '{_uri(path)}'"


def set_location_sql(database: str, galaxy: str, day: int, path: Path) -> str:
    """Statement that swaps an existing partition's files for those at ``path``."""
    return f"ALTER TABLE {_table(database)} {_partition(galaxy, day)} SET LOCATION '{_uri(path)}'"


def publish_partition(
    run_sql: Callable[[str], Any],
    database: str,
    galaxy: str,
    day: int,
    path: Path,
    expected_rows: int | None = None,
) -> int:
    """Verify the partition written to ``path``, then make it visible with one change in the metastore.

    ``run_sql`` is ``SparkSession.sql``. Returns the number of rows. Raises PipelineError, and changes
    nothing, where the schema differs, a key occurs twice, or there are not ``expected_rows``.
    """
    rows = verify_partition(path, expected_rows)
    listed = run_sql(f"SHOW PARTITIONS {_table(database)} {_partition(galaxy, day)}").collect()
    statement = set_location_sql if listed else add_partition_sql
    run_sql(statement(database, galaxy, day, path))
    return rows


def verify_partition(path: Path, expected_rows: int | None = None) -> int:
    """Check schema, number of rows and distinct keys of a directory of Parquet. Returns the rows.

    Raises PipelineError naming what is wrong.
    """
    if not path.is_dir():
        raise PipelineError(f"partition {path} was not written")
    try:
        rows = _verified_rows(path)
    except (pa.ArrowException, OSError) as error:
        raise PipelineError(f"partition {path} can't be read: {error}") from error
    if expected_rows is not None and rows != expected_rows:
        raise PipelineError(f"partition {path} has {rows} rows, it should have {expected_rows}")
    return rows


def _verified_rows(path: Path) -> int:
    dataset = _dataset(path)
    if not dataset.files:
        return 0
    for fragment in dataset.get_fragments():  # the data set's own schema is only that of its first file
        if not _same_types(fragment.physical_schema):
            raise PipelineError(
                f"partition file {fragment.path} has the schema\n{fragment.physical_schema}\n"
                f"instead of\n{HIVE_SCHEMA}"
            )
    rows: int = sum(fragment.count_rows() for fragment in dataset.get_fragments())
    distinct = sum(_distinct_keys(dataset, part) for part in _ranges_of_signatures(rows))
    if distinct != rows:
        raise PipelineError(f"partition {path} has {rows} rows but only {distinct} distinct keys")
    return rows


def _ranges_of_signatures(rows: int) -> Iterator[pc.Expression | None]:
    """Conditions that cut a partition of ``rows`` into parts of about KEYS_AT_A_TIME: signatures are hashes,
    as many begin with one digit as with another. None: all of it."""
    parts = -(-rows // KEYS_AT_A_TIME)
    bounds = [f"{(1 << 32) * part // parts:08x}" for part in range(1, parts)]
    if not bounds:
        yield None
        return
    signature = pc.field("image_signature")
    yield signature < bounds[0]
    for low, high in pairwise(bounds):
        yield (signature >= low) & (signature < high)
    yield signature >= bounds[-1]


def _distinct_keys(dataset: FileSystemDataset, part: pc.Expression | None) -> int:
    keys = dataset.to_table(columns=list(KEY_COLUMNS), filter=part, batch_size=_BATCH_ROWS)
    return int(keys.group_by(list(KEY_COLUMNS)).aggregate([]).num_rows)


def read_partition(location: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a partition by its metastore location (``file:`` URI or path), in HIVE_SCHEMA's types.

    ``columns`` names the columns to read, all by default. Raises PipelineError if there is no such place.
    """
    path = _local_path(location)
    schema = pa.schema([HIVE_SCHEMA.field(name) for name in columns or HIVE_SCHEMA.names])
    if not path.is_dir():
        raise PipelineError(f"there is no partition at {location}")
    dataset = _dataset(path)
    if not dataset.files:
        return schema.empty_table()
    return dataset.to_table(columns=schema.names).cast(schema)


def _dataset(path: Path) -> FileSystemDataset:
    # It imports pandas, which takes a second: not for those who only need names and types from this module.
    from pyarrow.dataset import dataset

    # Without partitioning: galaxy and day come from the metastore, not from the folder's name. Files that
    # start with _ or . are left out, as Spark and Hive do.
    return dataset(str(path), format="parquet", partitioning=None)


def _same_types(schema: pa.Schema) -> bool:
    """Names and types; not nullability, nor what the element of a list is called, which writers choose."""

    def bare(data_type: pa.DataType) -> pa.DataType:
        return pa.list_(data_type.value_type) if pa.types.is_list(data_type) else data_type

    same_names: bool = schema.names == HIVE_SCHEMA.names
    return same_names and [bare(data_type) for data_type in schema.types] == list(HIVE_SCHEMA.types)


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise ConfigurationError(f"{name!r} can't be the name of a Hive database: {_IDENTIFIER.pattern}")
    return name


def _table(database: str) -> str:
    return f"`{_identifier(database)}`.`{TABLE}`"


def _partition(galaxy: str, day: int) -> str:
    if not _GALAXY.fullmatch(galaxy):
        raise ConfigurationError(f"{galaxy!r} can't be the name of a galaxy: {_GALAXY.pattern}")
    if type(day) is not int or day < 0:
        raise ConfigurationError(f"{day!r} is not a day: a number from 0")
    return f"PARTITION (`galaxy`='{galaxy}', `day`={day})"


def _uri(path: Path) -> str:
    absolute = str(path.absolute())
    if not _PATH.fullmatch(absolute):
        raise ConfigurationError(f"the folder {absolute!r} has a quote or backslash in its name: use another")
    return f"file:{absolute}"


def _local_path(location: str) -> Path:
    # Not parsed as a URI: Hadoop writes paths into the metastore as they are, without percent-encoding.
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise ConfigurationError(f"the partition {location} is not on this machine's file system")
    return Path(match[1])
