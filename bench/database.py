"""In-memory DuckDB connections whose memory is bounded; what does not fit spills outside the run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

MEMORY_LIMIT = "1500MB"  # of DuckDB alone: a process with it, and with what it reads out, stays below 2 GB


@contextmanager
def connect() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own; closed, and its spilled data removed, on exit."""
    with (
        tempfile.TemporaryDirectory(prefix="lkbench-") as spill,
        duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": spill}) as connection,
    ):
        connection.execute("SET enable_progress_bar = false")  # it would be drawn into piped output
        connection.execute("SET preserve_insertion_order = false")  # it costs memory; a query says ORDER BY
        yield connection


def quote(text: str) -> str:
    """A SQL string literal, for the places where a parameter can't stand (a view's definition)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted SQL identifier, for the name of a user's column."""
    return '"' + name.replace('"', '""') + '"'
