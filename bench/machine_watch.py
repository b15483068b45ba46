"""Samples what the machine did during a run: whose CPU time it was, how busy it was, and its clocks.

One thread of the driver appends a line a second to ``ledger/machine.jsonl``; all counters are cumulative, so
that any two lines give what lies between them. Linux only; elsewhere there are no samples, and the rules that
rest on them say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.database import quote
from bench.sample_file import sampled

SAMPLE_SECONDS = 1.0
CLOCK_READINGS, CLOCK_READING_NS = 20, 50_000


@dataclass(frozen=True, slots=True)
class MachineSample:
    """One look at the machine. CPU times are in seconds of one core, since boot or since a process began."""

    unix_ns: int
    monotonic_ns: (
        int  # read next to unix_ns: their difference moves only when the wall clock is set or slewed
    )
    busy_seconds: float  # of all cores: user, nice, system, interrupts
    idle_seconds: float  # of all cores: idle, waiting for devices
    steal_seconds: float  # of all cores: taken by the hypervisor for others
    own_seconds: float  # of this process and all its descendants, those included that have ended
    own_memory_bytes: int  # resident, of this process and all its descendants
    load_1m: float


def machine_file(run_dir: Path) -> Path:
    """Where the samples of a run are."""
    return run_dir / "ledger" / "machine.jsonl"


def sample() -> MachineSample:
    """Look once. Takes a few milliseconds, most of them to find the descendants."""
    unix_ns, monotonic_ns = _clocks()
    cpu = psutil.cpu_times()
    own_seconds, own_memory_bytes = _own()
    return MachineSample(
        unix_ns=unix_ns,
        monotonic_ns=monotonic_ns,
        busy_seconds=cpu.user + cpu.nice + cpu.system + cpu.irq + cpu.softirq,
        idle_seconds=cpu.idle + cpu.iowait,
        steal_seconds=cpu.steal,
        own_seconds=own_seconds,
        own_memory_bytes=own_memory_bytes,
        load_1m=os.getloadavg()[0],
    )


@contextlib.contextmanager
def machine_watched(run_dir: Path) -> Iterator[None]:
    """While inside, one sample a second is appended to the run's ``ledger/machine.jsonl``."""
    if not psutil.LINUX:
        yield
        return
    with sampled(machine_file(run_dir), lambda: [sample()], SAMPLE_SECONDS, "machine-watch"):
        yield


def machine_sql(run_dir: Path) -> str:
    """A SELECT that gives the samples of a run; no rows where there are none."""
    columns = {
        field.name: {"int": "BIGINT", "float": "DOUBLE"}[str(field.type)]
        for field in dataclasses.fields(MachineSample)
    }
    if not machine_file(run_dir).exists():
        empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
        return f"SELECT {empty} WHERE FALSE"
    # The last line of a run that was killed may be cut.
    named = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    return (
        f"SELECT * FROM read_json({quote(str(machine_file(run_dir)))}, "  # noqa: S608
        f"format = 'newline_delimited', ignore_errors = true, columns = {{{named}}}) "
        "WHERE monotonic_ns IS NOT NULL"
    )


def _clocks() -> tuple[int, int]:
    """Both clocks at one moment: read again where the thread was interrupted in between."""
    for _ in range(CLOCK_READINGS):
        before_ns = time.monotonic_ns()
        unix_ns = time.time_ns()
        after_ns = time.monotonic_ns()
        if after_ns - before_ns < CLOCK_READING_NS:
            break
    return unix_ns, (before_ns + after_ns) // 2


def _own() -> tuple[float, int]:
    # A process that ended and was waited for lives on in its parent's children times; so the sum over those
    # that are alive, of their own times and their children's, never falls.
    driver = psutil.Process()
    seconds, memory = 0.0, 0
    for process in [driver, *driver.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
            memory += process.memory_info().rss
    return seconds, memory
