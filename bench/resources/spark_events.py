"""Spark's own account of its tasks, from its event logs: JSON lines, one event each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class TaskTotals:
    """Tasks that ended, the seconds they ran, and the CPU seconds of the JVM's threads in them."""

    tasks: int = 0
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0


def task_totals(folder: Path) -> TaskTotals:
    """Of all applications whose logs lie in ``folder``; a log that ends early counts as far as it goes."""
    tasks, run_ms, cpu_ns = 0, 0, 0
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        for metrics in _task_metrics(path.read_bytes().splitlines()):
            tasks += 1
            run_ms += metrics.get("Executor Run Time", 0)
            cpu_ns += metrics.get("Executor CPU Time", 0)
    return TaskTotals(tasks, run_ms / 1e3, cpu_ns / 1e9)


def _task_metrics(lines: Iterable[bytes]) -> Iterable[dict[str, int]]:
    for line in lines:
        if b'"SparkListenerTaskEnd"' not in line:
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:  # cut off by the end of its process
            continue
        if event.get("Event") == "SparkListenerTaskEnd":
            yield event.get("Task Metrics") or {}
