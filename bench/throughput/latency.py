"""Latency of a path at shares of the rate that it sustains, open loop, beside that of one image alone.

And beside the bare loop's at the same arrivals: what they wait for on this machine without any path.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.limit.loop import BareLoop, OpenLoop
from bench.open_loop import Seconds
from bench.throughput.arrivals import ONLINE_TIMES, by_arrival
from bench.throughput.drains import ONLINE, STREAM
from bench.throughput.feed import Feed
from bench.throughput.offer import poisson_seconds
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import StartedArm
from bench.throughput.sustained import measure_sustained

HALF_LOAD = 0.5
# Share of the sustained rate -> part of the arrivals, in the order in which they are offered. Only the half
# load is held to a target; as many at each load would take twice as long.
LOADS: Mapping[float, float] = {HALF_LOAD: 1.0, 0.3: 0.25, 0.8: 0.5}
ARRIVALS = 1_000  # at half load, in each round: ten of them above the p99
ROUNDS = {ONLINE: 1, STREAM: 5}  # the stream is held to a target, which one hiccup must not decide
ALONE = 10  # images, one at a time, right before the half load and right after it
ALONE_PAUSE_SECONDS = 0.25
ALONE_SECONDS: Seconds = np.arange(ALONE, dtype=np.float64) * ALONE_PAUSE_SECONDS
SEED = 11
# All processes are there from the beginning until the end. Ten samples a second, as of a drain, would take
# 1.7 % of a core from images whose waiting is measured.
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Level:
    """Latency of ``n`` Poisson arrivals at ``load`` times the sustained rate, from the scheduled time to the
    announcement. ``core_ms_by_process``: per image, in the ``seconds`` until the last announcement."""

    load: float
    rate_per_second: float
    n: int
    p50_seconds: float
    p99_seconds: float
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
        return 1e-3 * self.core_ms_per_image * self.n / self.seconds


@dataclass(frozen=True, slots=True)
class LatencyRound:
    """One path in one round. ``alone_seconds``: median latency of images that each found the path idle.
    ``bare_alone_seconds`` and ``bare``: the bare loop's, at the arrivals of the half load, right after it."""

    path: str
    sustained_per_second: float
    alone_seconds: float
    levels: tuple[Level, ...]
    bare_alone_seconds: float
    bare: Level

    def at(self, load: float) -> Level:
        """The level of ``load``, one of LOADS."""
        return next(level for level in self.levels if level.load == load)


def measure_latency(
    started: StartedArm,
    feed: Feed,
    loop: BareLoop,
    path: str,
    drained_per_second: float,
    *,
    arrivals: int,
    day: int,
) -> LatencyRound:
    """What the path sustains, which had just drained at ``drained_per_second``; then arrivals at each of
    LOADS, ``arrivals`` of them at half load, which has images alone on both sides. Each ``day`` has a pattern
    of its own. Raises an error of the tree."""
    sustained_per_second = measure_sustained(started, feed, drained_per_second, day)
    random = np.random.default_rng((SEED, day))

    def offer(load: float) -> _Offered:
        count = max(1, round(LOADS[load] * arrivals))
        due_seconds = poisson_seconds(random, count, load * sustained_per_second)
        start_ns = time.time_ns()
        with ProcessMeter(sample_seconds=SAMPLE_SECONDS) as meter:
            numbers = feed.at(due_seconds, day)
        end_ns = time.time_ns()
        return _Offered(load, due_seconds, numbers, meter.cpu_seconds(start_ns, end_ns), end_ns - start_ns)

    singles = _alone(feed, day)
    half = offer(HALF_LOAD)
    singles += _alone(feed, day)
    bare_alone, bare_half = loop.open_loop(ALONE_SECONDS), loop.open_loop(half.due_seconds)
    offered = [half, *(offer(load) for load in LOADS if load != HALF_LOAD)]
    times = by_arrival(started, ONLINE_TIMES, range(singles[0], feed.offered))
    waited = {number: (announced - scheduled) / 1e9 for number, (scheduled, announced) in times.items()}
    return LatencyRound(
        path=path,
        sustained_per_second=sustained_per_second,
        alone_seconds=statistics.median(waited[number] for number in singles),
        levels=tuple(one.level(sustained_per_second, waited) for one in offered),
        bare_alone_seconds=float(np.median(bare_alone.waited_seconds)),
        bare=_bare_level(bare_half, sustained_per_second),
    )


@dataclass(frozen=True, slots=True)
class _Offered:
    load: float
    due_seconds: Seconds
    numbers: range
    cpu_seconds: Mapping[str, float]
    took_ns: int

    def level(self, sustained_per_second: float, waited: Mapping[int, float]) -> Level:
        found = np.array([waited[number] for number in self.numbers])
        core_ms = {name: 1e3 * seconds / len(found) for name, seconds in self.cpu_seconds.items()}
        return _level(self.load, sustained_per_second, found, core_ms, self.took_ns / 1e9)


def _bare_level(found: OpenLoop, sustained_per_second: float) -> Level:
    core_ms = {"bare loop": found.core_ms_per_image, "s3proxy": found.server_core_ms_per_image}
    return _level(HALF_LOAD, sustained_per_second, found.waited_seconds, core_ms, found.seconds)


def _level(
    load: float, sustained_per_second: float, waited: Seconds, core_ms: Mapping[str, float], seconds: float
) -> Level:
    p50, p99 = np.quantile(waited, [0.5, 0.99])
    rate = load * sustained_per_second
    return Level(load, rate, len(waited), float(p50), float(p99), core_ms, seconds)


def _alone(feed: Feed, day: int) -> list[int]:
    return list(feed.at(ALONE_SECONDS, day))
