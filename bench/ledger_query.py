"""Runs the queries of the published figures (``bench/sql/*.sql``) over the sealed ledger of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy.typing as npt

from bench.database import connect, identifier, quote
from bench.image_names import FILE as IMAGE_NAMES_FILE
from bench.machine_watch import machine_sql
from bench.resources.nvml import gpu_file
from bench.resources.relation import RESOURCES_SCHEMA, resources_path
from bench.seal import events_path
from signals.errors import ConfigurationError

SHARED = ("percentiles", "base")  # macros and relations that the queries use
Columns = dict[str, npt.NDArray[Any]]
PARTS = "parts"  # what each wait consists of: takes most of the time and memory, and few queries need it
NEED_PARTS = frozenset(("stage_parts", "parts_check"))


def sql_text(name: str) -> str:
    """The text of one query, by the name of its file without ``.sql``."""
    return (files("bench") / "sql" / f"{name}.sql").read_text()


class LedgerQuery:
    """Asks one run's ledger. Made by :func:`open_ledger`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._has_parts = False

    def add_parts(self) -> None:
        """Make the relations of :data:`PARTS`. Whoever asks for several queries asks for those before it that
        don't need them, while there is memory."""
        if not self._has_parts:
            self._connection.execute(sql_text(PARTS))
            self._has_parts = True

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a shipped query, as dicts of plain Python values."""
        if name in NEED_PARTS:
            self.add_parts()
        return self.execute(sql_text(name))

    def columns(self, name: str, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], Columns]]:
        """The answer of a shipped query that gives a row per image: for each combination of values of the
        columns ``by``, in order, those values and the other columns as arrays.

        Text is left out of the arrays, where every row would cost a Python object.
        """
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE answer AS {sql_text(name)}")
        names = ", ".join(identifier(column) for column in by)
        same = " AND ".join(f"{identifier(column)} = ${column}" for column in by)
        for key in self.execute(f"SELECT DISTINCT {names} FROM answer ORDER BY ALL"):  # noqa: S608
            sql = f"SELECT * EXCLUDE ({names}) FROM answer WHERE {same}"  # noqa: S608
            yield key, self._connection.execute(sql, key).fetchnumpy()

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """The rows of any query; ``$name`` in it takes its value from ``parameters``."""
        cursor = self._connection.execute(sql, dict(parameters or {}))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def open_ledger(run_dir: Path, *, with_base: bool = True) -> Iterator[LedgerQuery]:
    """The ledger of a sealed run: relations ``events``, ``resources``, ``gpu_samples``, ``machine`` and,
    unless told otherwise, those of :data:`SHARED`.

    Relation ``images`` has the name of each image's file, and no row where the run did not keep them.

    Raises ConfigurationError if the run has no sealed ledger.
    """
    ledger = events_path(run_dir)
    if not ledger.is_file():
        raise ConfigurationError(f"{run_dir} has no ledger: {ledger.relative_to(run_dir)} is missing")
    with connect() as connection:
        connection.execute(
            f"CREATE TEMP VIEW events AS SELECT * FROM read_parquet({quote(str(ledger))})"  # noqa: S608
        )
        _add_resources(connection, run_dir)
        _add_gpu_samples(connection, run_dir)
        connection.execute(f"CREATE TEMP VIEW machine AS {machine_sql(run_dir)}")
        connection.execute(f"CREATE TEMP VIEW images AS {_images(run_dir)}")
        if with_base:
            for name in SHARED:
                connection.execute(sql_text(name))
        yield LedgerQuery(connection)


def _images(run_dir: Path) -> str:
    names = run_dir / IMAGE_NAMES_FILE
    if names.is_file():
        return f"SELECT * FROM read_parquet({quote(str(names))})"  # noqa: S608
    return (
        "SELECT NULL::VARCHAR AS image_signature, NULL::VARCHAR AS file_name, NULL::BIGINT AS size_bytes "
        "WHERE FALSE"
    )


def _add_resources(connection: duckdb.DuckDBPyConnection, run_dir: Path) -> None:
    counts = resources_path(run_dir)
    if counts.is_file():
        connection.execute(
            f"CREATE TEMP VIEW resources AS SELECT * FROM read_parquet({quote(str(counts))})"  # noqa: S608
        )
    else:  # a run of an earlier version
        connection.register("resources", RESOURCES_SCHEMA.empty_table())


def _add_gpu_samples(connection: duckdb.DuckDBPyConnection, run_dir: Path) -> None:
    columns = {
        "unix_ns": "BIGINT",
        "index": "INTEGER",
        "utilisation": "DOUBLE",
        "memory_bytes": "BIGINT",
        "power_watts": "DOUBLE",
        "energy_joules": "DOUBLE",
        "sm_clock_mhz": "INTEGER",
        "temperature_celsius": "INTEGER",
    }
    if gpu_file(run_dir).is_file():
        types = ", ".join(f"{name}: '{of}'" for name, of in columns.items())
        source = (
            f"read_json({quote(str(gpu_file(run_dir)))}, format = 'newline_delimited', columns = {{{types}}})"
        )
        connection.execute(f"CREATE TEMP VIEW gpu_samples AS SELECT * FROM {source}")  # noqa: S608
    else:
        names = ", ".join(f"{name} {of}" for name, of in columns.items())
        connection.execute(f"CREATE TEMP TABLE gpu_samples ({names})")
