"""Latency of a path at shares of its own sustained rate, open loop, beside that of one image alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from bench.seal import events_path, seal
from bench.throughput.stand import Progress, Stand, StartedArm

LOADS = (0.3, 0.5, 0.8)
ALONE = 40  # images, one at a time
ALONE_PAUSE_SECONDS = 0.25
LEVEL_SECONDS = 12.0
WARM_UP = 100  # images before anything is counted
DRAIN_SECONDS = 600.0
SEED = 11

_LATENCIES = """
SELECT event_id, (max(end_ns) FILTER (stage = 'publish')
    - min(start_ns) FILTER (stage = 'queue')) / 1e9 AS seconds
FROM read_parquet($events) WHERE stage IN ('queue', 'publish') AND path IN ('online', 'stream')
GROUP BY event_id HAVING seconds IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Level:
    """Latency from the scheduled time to the announcement at ``load`` times the sustained rate."""

    load: float
    rate_per_second: float
    n: int
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class Latency:
    """One path. ``alone_seconds``: median latency of an image that finds the path idle."""

    path: str
    alone_seconds: float
    levels: tuple[Level, ...]


def measure_latency(
    stand: Stand, path: str, model_dir: Path, sustained_per_second: float, progress: Progress
) -> Latency:
    """Poisson arrivals at each share of ``LOADS``; images are distinct. Raises an error of the tree."""
    arm = "kappa" if path.startswith("kappa") else "lambda"
    random = np.random.default_rng(SEED)
    bounds: list[tuple[int, int]] = []
    with stand.started(arm, model_dir) as started:
        position = _offer(stand, started, 0, np.zeros(WARM_UP))
        bounds.append((position, _offer(stand, started, position, np.arange(ALONE) * ALONE_PAUSE_SECONDS)))
        for load in LOADS:
            rate = load * sustained_per_second
            count = min(round(rate * LEVEL_SECONDS), len(stand.keys) - bounds[-1][1])
            due = np.cumsum(random.exponential(1 / rate, count))
            bounds.append((bounds[-1][1], _offer(stand, started, bounds[-1][1], due)))
        run_dir = started.context.run_dir
    seal(run_dir)
    with duckdb.connect() as connection:
        rows = connection.execute(_LATENCIES, {"events": str(events_path(run_dir))}).fetchall()
    seconds = dict(rows)
    alone, *levels = [
        np.asarray([seconds[n] for n in range(first, end) if n in seconds]) for first, end in bounds
    ]
    found = Latency(
        path,
        float(np.median(alone)),
        tuple(
            Level(
                load,
                load * sustained_per_second,
                len(waited),
                float(np.quantile(waited, 0.5)),
                float(np.quantile(waited, 0.99)),
            )
            for load, waited in zip(LOADS, levels, strict=True)
        ),
    )
    progress(f"{path}: one image alone takes {found.alone_seconds * 1e3:.1f} ms")
    return found


def _offer(stand: Stand, started: StartedArm, first: int, due_seconds: np.ndarray) -> int:
    """Submit images from ``first`` on at the due times, wait until they are done; the next number."""
    start = time.monotonic() + 0.05
    offset_ns = time.time_ns() - time.monotonic_ns()
    for number, due in enumerate(due_seconds, start=first):
        at = start + float(due)
        if (left := at - time.monotonic()) > 0:
            time.sleep(left)
        started.arm.submit(stand.event(number, round(at * 1e9) + offset_ns))
    started.arm.drain(DRAIN_SECONDS)
    return first + len(due_seconds)
