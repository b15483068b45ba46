"""The writing side of the ledger: every process appends what happened, when, to whom.

A process owns one Arrow IPC stream in the run folder and flushes it twice a second, so that a process
that is killed loses at most that much. The harness seals all streams into Parquet when the run ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from signals.architecture import RunContext
from signals.counters import CountsFile

FLUSH_SECONDS = 0.5
Columns = Mapping[str, pa.Array]

LEDGER_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("replicate", pa.int32()),
        ("day", pa.int32()),  # -1 where an event belongs to no day
        ("path", pa.string()),  # online, nightly, stream, dump, consumer, harness
        ("stage", pa.string()),  # a Stage
        ("event_id", pa.int64()),  # number of the arrival, -1 if the event belongs to none
        ("image_signature", pa.string()),
        ("galaxy", pa.string()),
        ("pipeline", pa.string()),
        ("start_ns", pa.int64()),  # Unix time, ns
        ("end_ns", pa.int64()),
        ("attempt", pa.int32()),
        ("pool", pa.string()),  # device pool: online, nightly, stream
        ("device", pa.string()),  # e.g. cpu:0, cuda:0 NVIDIA H100
        ("batch_size", pa.int32()),
        ("outcome", pa.string()),  # ok, skipped, retry, dead_letter, error
        ("detail", pa.string()),
        ("process", pa.string()),
        ("pid", pa.int64()),
    ]
)

_COMMON = ("arm", "replicate", "process", "pid")
_OWN_COLUMNS = [field for field in LEDGER_SCHEMA if field.name not in _COMMON]
_DEFAULTS: Mapping[str, Any] = {
    **{f.name: "" for f in LEDGER_SCHEMA if pa.types.is_string(f.type)},
    **{"day": -1, "event_id": -1, "attempt": 1, "batch_size": 0, "outcome": "ok"},
}  # of the columns that a row may leave out


class Stage(StrEnum):
    """What a ledger row is about. The per-image stages are contiguous: each starts where the last ended."""

    ARRIVAL = "arrival"  # start: scheduled, end: handed to the arm
    QUEUE = "queue"  # scheduled arrival (or enqueue, nightly) until a worker took it
    FETCH = "fetch"
    DECODE = "decode"
    BATCH_WAIT = "batch_wait"
    INFERENCE = "inference"
    JOB_WAIT = "job_wait"  # nightly: computed, the other images of its job are not
    ENCODE = "encode"
    WRITE = "write"
    PUBLISH = "publish"
    AVAILABLE_ONLINE = "available_online"  # start: scheduled, end: fetched through GSS by the consumer
    AVAILABLE_BATCH = "available_batch"  # start: scheduled (by join), end: read from the Hive table
    DEAD_LETTER = "dead_letter"  # detail: reason and message
    SWAP = "swap"  # one partition is checked and becomes visible; detail: its location
    STEP = "step"  # a nightly or dump step; detail: its name; outcome: ok or error
    DEVICE_PROVISIONED = "device_provisioned"  # start: process launched, end: model loaded and warm
    DEVICE_BUSY = "device_busy"  # one batch inside inference
    DEVICE_RELEASED = "device_released"  # start: ready, end: released
    PROCESS_RESTARTED = "process_restarted"
    DAY = "day"  # start: day's first instant, end: its midnight
    WARM_UP = "warm_up"  # of a replicate: arrivals scheduled inside are no part of online latency


class Ledger:
    """Appends rows for one process. Thread-safe; cheap enough for the hot path (a tuple append)."""

    def __init__(self, folder: Path, *, process: str, arm: str = "", replicate: int = -1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process, self._arm, self._replicate, self._pid = process, arm, replicate, os.getpid()
        # A deque: appends and pops are atomic, so the hot path needs no lock.
        self._rows: deque[tuple[Any, ...]] = deque()
        self._common = self._one_row({})  # to all rows
        self._sources: list[tuple[Callable[[], Columns | None], Columns]] = []  # with constants of one row
        self._waiting: deque[pa.RecordBatch] = deque()  # gathered and not in the file yet
        self._lock = threading.Lock()
        self._counts = CountsFile(folder, process=process, arm=arm, replicate=replicate)
        self._folder = folder
        self._stream: _Stream | None = None
        self._is_open = True
        self._open_stream()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._flush_until_closed, name="ledger", daemon=True)
        self._thread.start()

    @classmethod
    def from_context(cls, context: RunContext, process: str) -> Ledger:
        """A ledger for one process of the arm that ``context`` describes."""
        name = f"{context.arm}-{context.replicate}-{process}"
        return cls(context.ledger_dir, process=name, arm=context.arm, replicate=context.replicate)

    def record(
        self,
        stage: Stage,
        *,
        start_ns: int,
        end_ns: int,
        path: str = "",
        day: int = -1,
        event_id: int = -1,
        image_signature: str = "",
        galaxy: str = "",
        pipeline: str = "",
        attempt: int = 1,
        pool: str = "",
        device: str = "",
        batch_size: int = 0,
        outcome: str = "ok",
        detail: str = "",
    ) -> None:
        """Append one row. Times are Unix ns."""
        # The order is that of _OWN_COLUMNS.
        row = (day, path, stage, event_id, image_signature, galaxy, pipeline, start_ns, end_ns, attempt)
        self._rows.append((*row, pool, device, batch_size, outcome, detail))

    def process_restarted(self, name: str, restarts: int, *, path: str, pool: str = "") -> None:
        """The process called ``name`` died and was started again just now, for the ``restarts``-th time."""
        now_ns = time.time_ns()
        self.record(
            Stage.PROCESS_RESTARTED,
            start_ns=now_ns,
            end_ns=now_ns,
            path=path,
            pool=pool,
            attempt=restarts,
            detail=name,
        )

    def add_source(self, source: Callable[[], Columns | None], stage: Stage, *, path: str = "") -> None:
        """Ask ``source`` at every flush for the rows of ``stage`` that it has gathered since: columns of
        LEDGER_SCHEMA of one length, None if there are none.

        For more rows a second than :meth:`record` can carry. Columns that are left out are as in
        :meth:`record`. ``source`` is called from the flushing thread.
        """
        one_row = self._one_row({**_DEFAULTS, "stage": str(stage), "path": path})
        with self._lock:
            self._sources.append((source, one_row))

    def flush(self) -> None:
        """Write the rows so far to the file, and what this process has counted beside it.

        Raises OSError where that fails, on a full disk, say: the rows stay, for another try.
        """
        with self._lock:
            self._counts.write()
            if not self._is_open:
                return
            self._waiting.extend(self._gathered())
            try:
                while self._waiting:
                    (self._stream or self._open_stream()).write(self._waiting[0])
                    self._waiting.popleft()
            except OSError:
                self._stream = None  # it may end in half a batch, so nothing can follow
                raise

    def close(self) -> None:
        """Flush and close. Rows recorded later are dropped. Raises OSError as :meth:`flush` does."""
        self._closed.set()
        self._thread.join()
        try:
            self.flush()
        finally:
            with self._lock:
                self._is_open = False
                if self._stream is not None:
                    self._stream.close()
                    self._stream = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gathered(self) -> Iterator[pa.RecordBatch]:
        """What was recorded since the last call."""
        for source, constants in self._sources:
            if (gathered := source()) is not None:
                yield _batch(gathered, constants)
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        if rows:
            columns = {
                field.name: ledger_column(column, field.type)
                for column, field in zip(zip(*rows, strict=True), _OWN_COLUMNS, strict=True)
            }
            yield _batch(columns, self._common)

    def _one_row(self, more: Mapping[str, Any]) -> Columns:
        """Columns of one row: ``more`` and what all rows of this process have in common."""
        values = {**more, "arm": self._arm, "replicate": self._replicate}
        values |= {"process": self._process, "pid": self._pid}
        return {
            name: ledger_column([value], LEDGER_SCHEMA.field(name).type) for name, value in values.items()
        }

    def _open_stream(self) -> _Stream:
        self._stream = _Stream(self._folder / f"{self._process}-{self._pid}-{time.time_ns()}.arrows")
        return self._stream

    def _flush_until_closed(self) -> None:
        while not self._closed.wait(FLUSH_SECONDS):
            with contextlib.suppress(OSError):  # who flushes or closes it is told
                self.flush()


class _Stream:
    """One file of rows."""

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, LEDGER_SCHEMA)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self._sink.flush()

    def close(self) -> None:
        self._writer.close()
        self._sink.close()


def _batch(columns: Columns, constants: Columns) -> pa.RecordBatch:
    """All columns of the ledger; ``constants`` hold one row, for those that ``columns`` lack."""
    rows = len(next(iter(columns.values())))
    # Not take(): it would import all of Arrow's compute functions, 50 ms of CPU, when there is work to do.
    repeated = {name: pa.repeat(column[0], rows) for name, column in constants.items() if name not in columns}
    arrays = [columns[name] if name in columns else repeated[name] for name in LEDGER_SCHEMA.names]
    return pa.record_batch(arrays, schema=LEDGER_SCHEMA)


def ledger_column(values: Sequence[Any] | npt.NDArray[Any], data_type: pa.DataType) -> pa.Array:
    """A column of the ledger, from its buffers. ``pa.array`` would import pandas to see whether this is a
    Series: a second of CPU, in every process, at its first flush, which is when it has work to do."""
    if not pa.types.is_string(data_type):
        numbers = np.array(values, data_type.to_pandas_dtype())
        return pa.Array.from_buffers(data_type, len(values), [None, pa.py_buffer(numbers)])
    text = "".join(values)
    if text.isascii():
        data, sizes = text.encode(), list(map(len, values))
    else:
        encoded = [value.encode("utf-8", "replace") for value in values]
        data, sizes = b"".join(encoded), list(map(len, encoded))
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(data_type, len(values), buffers)
