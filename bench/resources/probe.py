"""Measures a replicate from outside: servers' CPU, what is stored, and independent sources' readings."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from bench.resources.relation import HARNESS
from bench.resources.sources import Readings, Sources
from bench.resources.spark_events import task_totals
from bench.resources.stored import folder_bytes, object_bytes, parquet_bytes
from signals.architecture import RunContext
from signals.counters import COUNTERS, CPU_SECONDS, PEAK_MEMORY, Resource
from signals.errors import LkbenchError
from signals.ledger import Ledger
from signals.metastore import spark_event_dir
from signals.process import ProcessGroup
from signals.reaping import peak_bytes

SPARK_TASK_SECONDS = Resource("spark_task", "seconds")
SPARK_CPU_SECONDS = Resource("spark_task_cpu", "seconds")
SPARK_TASKS = Resource("spark_tasks", "tasks")
PARQUET_STORED = Resource("parquet_stored", "bytes")
ROCKSTORE_STORED = Resource("rockstore_stored", "bytes")
S3_STORED = Resource("s3_stored", "bytes")


def readings_path(run_dir: Path, arm: str, replicate: int) -> Path:
    """What independent sources said about one replicate."""
    return run_dir / "ledger" / "readings" / f"{arm}-{replicate}.json"


@contextlib.contextmanager
def measured(context: RunContext, services: ProcessGroup, services_dir: Path) -> Iterator[None]:
    """Measure what happens inside as the replicate of ``context``, also if it fails.

    ``services`` are the servers of the run, in ``services_dir``; external ones are not among them.
    """
    sources = Sources(context, services_dir)
    with Ledger.from_context(context, HARNESS):
        before = _servers(services)
        own_before = _own_cpu_seconds()
        first = sources.read()
        try:
            yield
        finally:
            _count_servers(before, _servers(services))
            COUNTERS.add(CPU_SECONDS, _own_cpu_seconds() - own_before)
            COUNTERS.add(PEAK_MEMORY, peak_bytes(os.getpid()))
            _write(context, first, sources.read())
            _count_results(context)


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    cpu_seconds: float
    peak_bytes: int


def _servers(services: ProcessGroup) -> dict[int, _Server]:
    found = {}
    for child in services.children:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(child.pid)
            tree = [process, *process.children(recursive=True)]
            found[child.pid] = _Server(
                child.name, sum(map(_tree_seconds, tree)), max((peak_bytes(of.pid) for of in tree), default=0)
            )
    return found


def _tree_seconds(process: psutil.Process) -> float:
    """CPU of a process and its children that ended: over a tree, of everything that ever was in it."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _count_servers(before: Mapping[int, _Server], after: Mapping[int, _Server]) -> None:
    for pid, server in after.items():
        earlier = before[pid].cpu_seconds if pid in before else 0.0
        COUNTERS.add_of(server.name, pid, CPU_SECONDS, max(0.0, server.cpu_seconds - earlier))
        COUNTERS.add_of(server.name, pid, PEAK_MEMORY, server.peak_bytes)


def _count_results(context: RunContext) -> None:
    totals = task_totals(spark_event_dir(context))
    shutil.rmtree(spark_event_dir(context), ignore_errors=True)  # it quotes the whole configuration
    if totals.tasks:
        COUNTERS.add_of("spark", 0, SPARK_TASKS, totals.tasks)
        COUNTERS.add_of("spark", 0, SPARK_TASK_SECONDS, totals.run_seconds)
        COUNTERS.add_of("spark", 0, SPARK_CPU_SECONDS, totals.cpu_seconds)
    COUNTERS.add_of("stored", 0, PARQUET_STORED, parquet_bytes(context))
    if not context.gss.is_up:  # an external one keeps its stores where only it can see them
        COUNTERS.add_of("stored", 0, ROCKSTORE_STORED, folder_bytes(context.arm_dir / "rockstore"))
    if context.s3.bucket:  # or the run's arms need no object store
        with contextlib.suppress(LkbenchError):  # it may have died: then it is not counted
            COUNTERS.add_of("stored", 0, S3_STORED, object_bytes(context.s3, f"{context.namespace}/"))


def _write(context: RunContext, first: Readings, last: Readings) -> None:
    path = readings_path(context.run_dir, context.arm, context.replicate)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(last.since(first), option=orjson.OPT_INDENT_2))


def _own_cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system
