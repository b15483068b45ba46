"""Samples what the machine did during a run: whose CPU time it was, how busy it was, and its clocks.

One thread of the driver appends a line a second to ``ledger/machine.jsonl``; all counters are cumulative, so
that any two lines give what lies between them. Linux only; elsewhere there are no samples, and the rules that
rest on them say so.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

SAMPLE_SECONDS = 1.0


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
    unix_ns, monotonic_ns = time.time_ns(), time.monotonic_ns()
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
    path = machine_file(run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    closed = threading.Event()

    def watch() -> None:
        with path.open("ab", buffering=0) as file:
            while True:
                is_last = closed.is_set()
                file.write(orjson.dumps(sample(), option=orjson.OPT_APPEND_NEWLINE))
                if is_last:
                    return
                closed.wait(SAMPLE_SECONDS)

    thread = threading.Thread(target=watch, name="machine-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


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
