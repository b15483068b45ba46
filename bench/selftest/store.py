"""Hive partitions without Spark: the files by Arrow, and the rows that make the metastore show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from signals.errors import ServiceError
from signals.hive import HIVE_SCHEMA, TABLE
from signals.record import SignalRecord

CONNECT_SECONDS = 10

# The tables have no keys of their own making: ids are handed out by the one writer of a database.
_NEXT = 'coalesce((SELECT max("{column}") + 1 FROM "{table}"), 1)'
_DATABASE = f"""
INSERT INTO "DBS" ("DB_ID", "DB_LOCATION_URI", "NAME")
SELECT {_NEXT.format(column="DB_ID", table="DBS")}, %(location)s::VARCHAR, %(name)s::VARCHAR
WHERE NOT EXISTS (SELECT 1 FROM "DBS" WHERE "NAME" = %(name)s::VARCHAR)
"""  # noqa: S608 (constants)
_TABLE = f"""
INSERT INTO "TBLS" ("TBL_ID", "CREATE_TIME", "DB_ID", "LAST_ACCESS_TIME", "RETENTION", "IS_REWRITE_ENABLED",
    "TBL_NAME", "TBL_TYPE")
SELECT {_NEXT.format(column="TBL_ID", table="TBLS")}, 0, "DB_ID", 0, 0, FALSE, %(table)s::VARCHAR,
    'MANAGED_TABLE'
FROM "DBS" WHERE "NAME" = %(name)s::VARCHAR
    AND NOT EXISTS (
        SELECT 1 FROM "TBLS" t WHERE t."DB_ID" = "DBS"."DB_ID" AND "TBL_NAME" = %(table)s::VARCHAR
    )
"""  # noqa: S608
_STORAGE = f"""
INSERT INTO "SDS" ("SD_ID", "IS_COMPRESSED", "IS_STOREDASSUBDIRECTORIES", "LOCATION", "NUM_BUCKETS")
VALUES ({_NEXT.format(column="SD_ID", table="SDS")}, FALSE, FALSE, %(location)s::VARCHAR, -1)
RETURNING "SD_ID"
"""  # noqa: S608
_PARTITION = f"""
INSERT INTO "PARTITIONS" ("PART_ID", "CREATE_TIME", "LAST_ACCESS_TIME", "PART_NAME", "SD_ID", "TBL_ID")
SELECT {_NEXT.format(column="PART_ID", table="PARTITIONS")}, 0, 0, %(partition)s::VARCHAR, %(storage)s,
    "TBL_ID"
FROM "TBLS" JOIN "DBS" USING ("DB_ID") WHERE "NAME" = %(name)s::VARCHAR AND "TBL_NAME" = %(table)s::VARCHAR
"""  # noqa: S608


def write_rows(folder: Path, file: str, records: Sequence[SignalRecord]) -> None:
    """Write one Parquet file of a partition."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, Any]] = [
        {name: getattr(record, name) for name in HIVE_SCHEMA.names} for record in records
    ]
    pq.write_table(pa.Table.from_pylist(rows, HIVE_SCHEMA), folder / file)


class MetastoreWriter:
    """Makes partitions of one Hive database visible. The only writer of the metastore while it lives."""

    def __init__(self, dsn: str, database: str, warehouse: Path) -> None:
        """Makes database and table. Raises ServiceError."""
        self._names = {"name": database, "table": TABLE}
        try:
            self._connection = psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS)
            with self._connection.transaction():
                self._connection.execute(_DATABASE, {**self._names, "location": f"file:{warehouse}"})
                self._connection.execute(_TABLE, self._names)
        except psycopg.Error as error:
            raise ServiceError(f"the Hive metastore can't be written: {error}") from error

    def show(self, galaxy: str, day: int, folder: Path) -> None:
        """Make a partition visible with its files in ``folder``. Raises ServiceError."""
        try:
            with self._connection.transaction():
                stored = self._connection.execute(_STORAGE, {"location": f"file:{folder}"}).fetchone()
                partition = {"storage": stored and stored[0], "partition": f"galaxy={galaxy}/day={day}"}
                self._connection.execute(_PARTITION, {**self._names, **partition})
        except psycopg.Error as error:
            raise ServiceError(f"the Hive metastore can't be written: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
