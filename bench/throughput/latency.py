"""Latency of a path at shares of its own sustained rate, open loop, beside that of one image alone."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.throughput.arrivals import by_arrival
from bench.throughput.drains import ONLINE, STREAM
from bench.throughput.feed import Feed
from bench.throughput.offer import Seconds, poisson_seconds
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import Progress, StartedArm

HALF_LOAD = 0.5
# Share of the sustained rate -> part of the arrivals. Only the half load is held to a target; as many at each
# load would take twice as long.
LOADS: Mapping[float, float] = {0.3: 0.25, HALF_LOAD: 1.0, 0.8: 0.5}
ARRIVALS = 1_000  # at half load, in each round: ten of them above the p99
ROUNDS = {ONLINE: 1, STREAM: 3}  # the stream is held to a target, which one hiccup must not decide
ALONE = 20  # images, one at a time, in each round
ALONE_PAUSE_SECONDS = 0.25
SEED = 11

_LATENCIES = """
SELECT event_id, (max(end_ns) FILTER (stage = 'publish')
    - min(start_ns) FILTER (stage = 'queue')) / 1e9 AS seconds
FROM read_parquet($events)
WHERE stage IN ('queue', 'publish') AND path IN ('online', 'stream') AND event_id BETWEEN $first AND $last
GROUP BY event_id HAVING seconds IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Level:
    """Latency from the scheduled time to the announcement at ``load`` times the sustained rate: the quantiles
    of ``n`` arrivals in each round. ``core_ms_by_process``: per image, over all rounds, which took
    ``seconds`` until their last announcements."""

    load: float
    rate_per_second: float
    n: int
    p50_seconds_by_round: tuple[float, ...]
    p99_seconds_by_round: tuple[float, ...]
    core_ms_by_process: Mapping[str, float]
    seconds: float

    @property
    def core_ms_per_image(self) -> float:
        """Of all processes."""
        return sum(self.core_ms_by_process.values())

    @property
    def cores(self) -> float:
        """That are busy on average: an image that has company costs less than one that comes alone, so half
        the sustained rate takes more than half of the cores."""
        images = self.n * len(self.p50_seconds_by_round)
        return 1e-3 * self.core_ms_per_image * images / self.seconds

    @property
    def p50_seconds(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.p50_seconds_by_round)

    @property
    def p99_seconds(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.p99_seconds_by_round)


@dataclass(frozen=True, slots=True)
class Latency:
    """One path. ``alone_seconds``: median latency of ``alone`` images, each of which found the path idle."""

    path: str
    alone: int
    alone_seconds: float
    levels: tuple[Level, ...]


def measure_latency(
    started: StartedArm,
    feed: Feed,
    path: str,
    sustained_per_second: float,
    arrivals: int,
    day: int,
    progress: Progress,
) -> Latency:
    """In each round some images alone, then Poisson arrivals at each of LOADS, ``arrivals`` of them at half
    load. Raises an error of the tree."""
    random = np.random.default_rng(SEED)
    counts = {load: max(1, round(part * arrivals)) for load, part in LOADS.items()}
    alone: list[float] = []
    taken: dict[float, list[Seconds]] = {load: [] for load in LOADS}
    used: dict[float, dict[str, float]] = {load: defaultdict(float) for load in LOADS}  # CPU seconds
    took_seconds: dict[float, float] = dict.fromkeys(LOADS, 0.0)
    rounds = ROUNDS[path]
    for number in range(rounds):
        singles = feed.at(np.arange(ALONE, dtype=np.float64) * ALONE_PAUSE_SECONDS, day)
        offered: dict[float, range] = {}
        for load, count in counts.items():
            start_ns = time.time_ns()
            with ProcessMeter() as meter:
                offered[load] = feed.at(poisson_seconds(random, count, load * sustained_per_second), day)
            end_ns = time.time_ns()
            took_seconds[load] += (end_ns - start_ns) / 1e9
            for name, cpu_seconds in meter.cpu_seconds(start_ns, end_ns).items():
                used[load][name] += cpu_seconds
        waited = by_arrival(started, _LATENCIES, range(singles.start, feed.offered))
        alone += [waited[number] for number in singles]
        for load, numbers in offered.items():
            taken[load].append(np.asarray([waited[number] for number in numbers]))
        half = np.quantile(taken[HALF_LOAD][-1], [0.5, 0.99]) * 1e3
        progress(
            f"{path}, round {number + 1} of {rounds} of the latencies: one image alone "
            f"{statistics.median(alone) * 1e3:.1f} ms, at half load p50 {half[0]:.1f}, p99 {half[1]:.1f} ms"
        )
    levels = [
        Level(
            load,
            load * sustained_per_second,
            counts[load],
            _quantiles(found, 0.5),
            _quantiles(found, 0.99),
            {name: 1e3 * cpu / (rounds * counts[load]) for name, cpu in used[load].items()},
            took_seconds[load],
        )
        for load, found in taken.items()
    ]
    return Latency(path, len(alone), statistics.median(alone), tuple(levels))


def _quantiles(rounds: list[Seconds], q: float) -> tuple[float, ...]:
    return tuple(float(np.quantile(waited, q)) for waited in rounds)
