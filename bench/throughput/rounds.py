"""Drains the paths of both arms again and again, with windows of the bare loop in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.limit.loop import BareLoop
from bench.limit.windows import WINDOW_SECONDS, Windows
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM, Drain, drained
from bench.throughput.feed import Feed
from bench.throughput.latency import ROUNDS, LatencyRound, measure_latency
from bench.throughput.overhead import Overhead, measure_overhead
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import Stand, StartedArm

WARM_UP_DAY = 0
LATENCY_DAY = 1_000  # and later: days without a night

Found = Callable[[Drain | LatencyRound | Overhead], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """``images`` in each of ``rounds`` drains of each of ``paths``. ``warm_up`` images go through an arm
    before: the bare loop is warm when it is measured, so are the servers and the workers of a path that is
    always on. ``latency_arrivals``: how many at half load in each round of the latencies, each of which
    comes right after one of the last drains; 0: none."""

    images: int
    warm_up: int
    rounds: int
    paths: Sequence[str]
    latency_arrivals: int = 0
    window_seconds: float = WINDOW_SECONDS


class _Arm:
    """One started arm. Each round is a day of its own."""

    def __init__(self, stand: Stand, started: StartedArm, loop: BareLoop, plan: Plan, found: Found) -> None:
        self._started, self._loop, self._plan, self._found = started, loop, plan, found
        self._windows = Windows(loop, seconds=plan.window_seconds)
        self.feed = Feed(stand, started)

    def drain(self, path: str, day: int) -> None:
        """Let the backlog of ``day`` through ``path``; a night has that of the online path."""
        with self._windows.around() as bare, ProcessMeter() as meter:
            if path == NIGHTLY:
                self._started.arm.end_day(day)
            else:
                self.feed.backlog(self._plan.images, day)
        # The window after was long enough for every process to flush its ledger.
        drain = drained(path, self._started, day, self._plan.images, meter, (bare[0], bare[1]))
        self._found(drain)
        if day > self._plan.rounds - ROUNDS.get(path, 0) and self._plan.latency_arrivals:
            self._found(
                measure_latency(
                    *(self._started, self.feed, self._loop, path, drain.images_per_second),
                    arrivals=self._plan.latency_arrivals,
                    day=LATENCY_DAY + day,
                )
            )


def measure_rounds(stand: Stand, model_dir: Path, loop: BareLoop, plan: Plan, found: Found) -> None:
    """Measure what is planned, and hand each result to ``found`` as soon as it is there; last the harness's
    own cost, where the stream is among the paths. Raises an error of the tree."""
    days = range(WARM_UP_DAY + 1, WARM_UP_DAY + 1 + plan.rounds)
    if ONLINE in plan.paths or NIGHTLY in plan.paths:
        with stand.started("lambda", model_dir) as started:
            arm = _Arm(stand, started, loop, plan, found)
            arm.feed.backlog(plan.warm_up, WARM_UP_DAY)
            for day in days:
                if ONLINE in plan.paths:
                    arm.drain(ONLINE, day)
                else:
                    arm.feed.backlog(plan.images, day)  # a night's images come through the online path
                if NIGHTLY in plan.paths:
                    arm.drain(NIGHTLY, day)
    if STREAM in plan.paths:
        with stand.started("kappa", model_dir) as started:
            arm = _Arm(stand, started, loop, plan, found)
            arm.feed.backlog(plan.warm_up, WARM_UP_DAY)
            for day in days:
                arm.drain(STREAM, day)
            found(measure_overhead(stand, started, arm.feed.offered))
