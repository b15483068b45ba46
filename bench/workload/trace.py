"""A user's trace of arrivals: a Parquet or CSV file with a column of timestamps.

Two columns more may say which pipeline each arrival came through and which image it brought, so that a
repeat in the trace is a repeat in the run. The trace's times are relative: a run starts when it starts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from bench.database import connect, identifier, quote
from bench.workload.definition import TraceSource
from signals.errors import ConfigurationError

_READERS = {".parquet": "read_parquet", ".pq": "read_parquet", ".csv": "read_csv", ".tsv": "read_csv"}
_READERS |= {".gz": "read_csv", ".txt": "read_csv"}
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
# A number is taken for a Unix time, in the first unit in which it lies before the year 5138.
_GUESSES = (("s", 1e11), ("ms", 1e14), ("us", 1e17))
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FRACTIONAL = ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT")


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in order of time. All arrays have one entry per arrival.

    ``fraction``: when, as a share of the trace's length, from 0 to below 1. The trace is as long as its n
    arrivals at their mean distance, n / (n - 1) times the time from the first to the last one: replayed over
    its own length it has its own rate.
    """

    fraction: npt.NDArray[np.float64]
    pipeline: npt.NDArray[np.int32] | None  # index into ``pipelines``
    pipelines: tuple[str, ...]
    image: npt.NDArray[np.int64] | None  # a number for each image key
    seconds: float  # length of the trace; 0 where all timestamps are the same

    def __len__(self) -> int:
        return len(self.fraction)

    def only(self, keep: npt.NDArray[np.bool_]) -> Trace:
        """The arrivals that ``keep`` marks, of a trace that is still as long."""
        return dataclasses.replace(
            self,
            fraction=self.fraction[keep],
            pipeline=None if self.pipeline is None else self.pipeline[keep],
            image=None if self.image is None else self.image[keep],
        )


def read_trace(source: TraceSource) -> Trace:
    """Read a trace. Raises ConfigurationError, naming file and column, for a file that is missing, empty or
    unreadable, a column that is missing, of a wrong type or has empty values."""
    path = source.path
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"the trace {path} must be a .parquet, .csv, .tsv or .csv.gz file")
    if not path.is_file():
        raise ConfigurationError(f"the trace {path} does not exist")
    with connect() as connection:
        # Without it, a time without a zone would be read in the zone of this machine.
        connection.execute("SET TimeZone = 'UTC'")
        try:
            connection.execute(f"CREATE VIEW trace AS SELECT * FROM {reader}({quote(str(path))})")  # noqa: S608
            types = {row[0]: str(row[1]) for row in connection.execute("DESCRIBE trace").fetchall()}
            return _read(connection, source, types)
        except duckdb.Error as error:
            raise ConfigurationError(f"the trace {path} can't be read: {error}") from error


def _read(connection: duckdb.DuckDBPyConnection, source: TraceSource, types: dict[str, str]) -> Trace:
    for name in (source.column, source.pipeline_column, source.image_column):
        if name and name not in types:
            raise ConfigurationError(
                f"the trace {source.path} has no column {name!r}; it has {', '.join(types)}"
            )
    at_ns = _times_ns(connection, source, types[source.column])
    order = np.argsort(at_ns, kind="stable")  # of equal times, the order of the file
    since_first = at_ns[order] - at_ns[order[0]]
    count = len(order)
    length_ns = float(since_first[-1]) * (count / (count - 1) if count > 1 else 1.0)
    pipelines, pipeline = _names(connection, source, source.pipeline_column)
    _, image = _names(connection, source, source.image_column)
    return Trace(
        fraction=since_first / length_ns if length_ns else np.arange(count) / count,
        pipeline=None if pipeline is None else pipeline[order].astype(np.int32),
        pipelines=pipelines,
        image=None if image is None else image[order],
        seconds=length_ns / 1e9,
    )


def _times_ns(connection: duckdb.DuckDBPyConnection, source: TraceSource, kind: str) -> npt.NDArray[Any]:
    """Times in the order of the file: Unix ns, or ns from the first where they are numbers."""
    name = identifier(source.column)
    if kind.startswith("TIMESTAMP"):
        return _values(connection, source, source.column, f"epoch_ns({name})")
    if kind == "DATE":
        return _values(connection, source, source.column, f"epoch_ns({name}::TIMESTAMP)")
    if kind == "VARCHAR":
        return _values(connection, source, source.column, f"epoch_ns(TRY_CAST({name} AS TIMESTAMPTZ))")
    if kind not in _WHOLE and not kind.startswith(_FRACTIONAL):
        raise ConfigurationError(
            f"column {source.column!r} of the trace {source.path} is of type {kind}, "
            "neither a time nor a number"
        )
    wide = "BIGINT" if kind in _WHOLE else "DOUBLE"
    values = _values(connection, source, source.column, f"{name}::{wide}")
    if not np.isfinite(values).all():
        raise ConfigurationError(f"column {source.column!r} of the trace {source.path} has an infinite time")
    largest = float(np.abs(values.astype(np.float64)).max())
    unit = source.unit or next((unit for unit, below in _GUESSES if largest < below), "ns")
    # From the first one on: a Unix time in ns has more digits than a float64 holds.
    since_first: npt.NDArray[Any] = (values - values.min()) * _UNIT_NS[unit]
    return since_first


def _names(
    connection: duckdb.DuckDBPyConnection, source: TraceSource, column: str
) -> tuple[tuple[str, ...], npt.NDArray[np.int64] | None]:
    """The distinct values of a column of names, sorted, and the index of each row's."""
    if not column:
        return (), None
    values = _values(connection, source, column, f"{identifier(column)}::VARCHAR")
    names, index = np.unique(values.astype(str), return_inverse=True)
    return tuple(names.tolist()), index.astype(np.int64)


def _values(
    connection: duckdb.DuckDBPyConnection, source: TraceSource, column: str, expression: str
) -> npt.NDArray[Any]:
    """One value for each row, in the order of the file. Raises ConfigurationError where one is missing."""
    found = connection.execute(f"SELECT {expression} AS v FROM trace").fetchnumpy()["v"]  # noqa: S608
    if not len(found):
        raise ConfigurationError(f"the trace {source.path} has no rows")
    missing = np.ma.getmaskarray(found)
    if missing.any():
        row = int(np.argmax(missing))
        content = connection.execute(
            f"SELECT {identifier(column)} FROM trace LIMIT 1 OFFSET {row}"  # noqa: S608
        ).fetchone()
        shown = "nothing" if content is None or content[0] is None else repr(content[0])
        raise ConfigurationError(
            f"column {column!r} of the trace {source.path} can't be used: {int(missing.sum())} of "
            f"{len(found)} rows hold no value that can be read, the first is row {row + 1} with {shown}"
        )
    return np.ma.getdata(found)
