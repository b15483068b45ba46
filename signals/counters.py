"""What a process took from the systems around it: requests, messages, bytes, and the CPU of its children.

Clients count themselves on :data:`COUNTERS`, the one of their process. The process's ledger appends them to a
file of their own twice a second: a process that is killed loses at most that much.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

READ_BYTES = 2**16  # at a time; a line is far shorter
COUNTS_SUFFIX = ".counts.jsonl"


class Resource(NamedTuple):
    """What is counted, and in which unit."""

    name: str
    unit: str


S3_GET = Resource("s3_get", "requests")
S3_PUT = Resource("s3_put", "requests")
S3_LIST = Resource("s3_list", "requests")
S3_OTHER = Resource("s3_other", "requests")
S3_READ = Resource("s3_read", "bytes")
S3_WRITTEN = Resource("s3_written", "bytes")
KAFKA_PRODUCED = Resource("kafka_produced", "messages")
KAFKA_PRODUCED_BYTES = Resource("kafka_produced_bytes", "bytes")
KAFKA_CONSUMED = Resource("kafka_consumed", "messages")
KAFKA_CONSUMED_BYTES = Resource("kafka_consumed_bytes", "bytes")
QUEUE_ENQUEUED = Resource("queue_enqueued", "jobs")
QUEUE_CLAIMED = Resource("queue_claimed", "jobs")
QUEUE_PROLONGED = Resource("queue_prolonged", "jobs")
QUEUE_FAILED = Resource("queue_failed", "jobs")
QUEUE_ACKED = Resource("queue_acked", "jobs")
QUEUE_DEAD = Resource("queue_dead", "jobs")
QUEUE_STATEMENTS = Resource("queue_statements", "statements")
CPU_SECONDS = Resource("cpu", "seconds")
PEAK_MEMORY = Resource("peak_memory", "bytes")


def rpc_calls(service: str) -> Resource:
    """Calls of a Thrift service, by its name: gss, inference."""
    return Resource(f"rpc_{service.lower()}", "calls")


def rpc_bytes(service: str) -> Resource:
    """Bytes of the requests and answers of a Thrift service."""
    return Resource(f"rpc_{service.lower()}_bytes", "bytes")


@dataclass(frozen=True, slots=True)
class Counted:
    """One count. ``process`` and ``pid`` name a child that it is about; "" and 0: the process itself."""

    resource: Resource
    process: str = ""
    pid: int = 0


class Counters:
    """Sums per resource since they were last taken. Thread-safe; a count costs a dictionary access."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: defaultdict[Counted, float] = defaultdict(float)
        self._own: dict[Resource, Counted] = {}

    def add(self, resource: Resource, amount: float = 1) -> None:
        """Count for this process."""
        key = self._own.get(resource)
        if key is None:
            key = self._own.setdefault(resource, Counted(resource))
        with self._lock:
            self._sums[key] += amount

    def add_of(self, process: str, pid: int, resource: Resource, amount: float) -> None:
        """Count for a child of this process."""
        with self._lock:
            self._sums[Counted(resource, process, pid)] += amount

    def take(self) -> dict[Counted, float]:
        """What was counted since the last call. Each count is given once, whoever asks."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(float)
        return taken


COUNTERS = Counters()


def count_produced(message: Any) -> None:
    """A message that the broker has confirmed (a confluent_kafka.Message)."""
    COUNTERS.add(KAFKA_PRODUCED)
    COUNTERS.add(KAFKA_PRODUCED_BYTES, _payload_bytes(message.key(), message.value()))


def count_consumed(key: bytes | None, value: bytes | None) -> None:
    """A message that a consumer has received."""
    COUNTERS.add(KAFKA_CONSUMED)
    COUNTERS.add(KAFKA_CONSUMED_BYTES, _payload_bytes(key, value))


def _payload_bytes(key: bytes | None, value: bytes | None) -> int:
    return len(key or b"") + len(value or b"")


class CountsFile:
    """Keeps what this process has counted in a file of ``folder``: its last line. Not thread-safe."""

    def __init__(
        self, folder: Path, *, process: str, arm: str, replicate: int, counters: Counters = COUNTERS
    ) -> None:
        self._path = folder / f"{process}-{os.getpid()}-{time.time_ns()}{COUNTS_SUFFIX}"
        self._labels = {"arm": arm, "replicate": replicate, "process": process, "pid": os.getpid()}
        self._counters = counters
        self._totals: defaultdict[Counted, float] = defaultdict(float)
        self._is_whole = True  # the last line is, and tells the totals

    def write(self) -> None:
        """Add what was counted since the last call; nothing is written if there is nothing.

        Raises OSError where that fails: the counts stay, for another try.
        """
        taken = self._counters.take()
        if self._is_whole and not taken:
            return
        for key, amount in taken.items():
            self._totals[key] += amount
        counts = [
            {"process": key.process, "pid": key.pid, **key.resource._asdict(), "value": value}
            for key, value in self._totals.items()
        ]
        # Another line, in one call: to replace the file would cost ten times that, in every process.
        line = orjson.dumps({**self._labels, "counts": counts}, option=orjson.OPT_APPEND_NEWLINE)
        if not self._is_whole:
            line = b"\n" + line  # a full disk may have taken a part of the last one
        self._is_whole = False
        with self._path.open("ab", buffering=0) as file:
            self._is_whole = file.write(line) == len(line)


def read_counts(path: Path) -> dict[str, Any] | None:
    """What a CountsFile keeps: its labels, and a list ``counts``. None where no line is whole."""
    with path.open("rb") as file:
        start, end = file.seek(0, os.SEEK_END), b""
        while start > 0:  # from the end: a process that has run for days leaves a hundred MB
            size = min(READ_BYTES, start)
            start = file.seek(start - size)
            end = file.read(size) + end
            cut = 1 if start else 0  # the first may have begun before
            for line in reversed(end.splitlines()[cut:]):
                with contextlib.suppress(orjson.JSONDecodeError):
                    kept: dict[str, Any] = orjson.loads(line)
                    return kept
    return None
