"""Latency of a path at shares of its own sustained rate, open loop, beside that of one image alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from bench.seal import events_path, seal
from bench.throughput.stand import Progress, Stand, StartedArm
from signals.errors import PipelineError
from signals.ledger import FLUSH_SECONDS

LOADS = (0.3, 0.5, 0.8)
ALONE = 40  # images, one at a time
ALONE_PAUSE_SECONDS = 0.25
LEVEL_SECONDS = 12.0
WARM_UP = 100  # images before anything is counted
DRAIN_SECONDS = 600.0
LEDGER_SECONDS = 10.0
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
    stand: Stand,
    path: str,
    model_dir: Path,
    sustained_per_second: float,
    level_seconds: float,
    progress: Progress,
) -> Latency:
    """Poisson arrivals at each share of ``LOADS`` for ``level_seconds``, or for as long as there are
    images that the path has not seen. Raises an error of the tree."""
    arm = "kappa" if path.startswith("kappa") else "lambda"
    random = np.random.default_rng(SEED)
    with stand.started(arm, model_dir) as started:
        first = _offer(stand, started, 0, np.zeros(min(WARM_UP, len(stand.keys) // 4)))
        end = _offer(stand, started, first, np.arange(min(ALONE, first)) * ALONE_PAUSE_SECONDS)
        alone = float(np.median(_latencies(started, first, end)))
        progress(f"{path}: one image alone takes {alone * 1e3:.1f} ms")
        levels: list[Level] = []
        for number, load in enumerate(LOADS):
            rate = load * sustained_per_second
            share = (len(stand.keys) - end) // (len(LOADS) - number)  # of the images that are left
            count = max(1, min(round(rate * level_seconds), share))
            first, end = end, _offer(stand, started, end, np.cumsum(random.exponential(1 / rate, count)))
            waited = _latencies(started, first, end)
            p50, p99 = (float(np.quantile(waited, q)) for q in (0.5, 0.99))
            levels.append(Level(load, rate, len(waited), p50, p99))
            progress(f"{path} at {load:.0%}: {rate:.1f}/s, p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")
    return Latency(path, alone, tuple(levels))


def _latencies(started: StartedArm, first: int, end: int) -> np.ndarray:
    """Seconds of the arrivals from ``first`` to before ``end``, once all are in the ledger."""
    run_dir = started.context.run_dir
    deadline = time.monotonic() + LEDGER_SECONDS
    while True:
        seal(run_dir)
        with duckdb.connect() as connection:
            rows = connection.execute(_LATENCIES, {"events": str(events_path(run_dir))}).fetchall()
        waited = [seconds for number, seconds in rows if first <= number < end]
        if len(waited) == end - first:
            return np.asarray(waited)
        if time.monotonic() > deadline:
            raise PipelineError(
                f"{end - first - len(waited)} of {end - first} arrivals were not announced; "
                f"the logs are in {run_dir / 'logs'}"
            )
        time.sleep(FLUSH_SECONDS)


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
