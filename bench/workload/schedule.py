"""Open-loop schedules: which image arrives when, through which pipeline.

A schedule depends on the workload, the seed and the sizes only, never on the system under test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.workload.definition import Arrivals, Late, Workload
from bench.workload.trace import Trace
from signals.errors import ConfigurationError

RATE_GRID = 10_000  # points on which the day's rate curve is integrated

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals of a run in order of time. All arrays have one entry per arrival."""

    offset_ns: Integers  # from the first instant of the arrival's day
    lateness_ns: Integers  # how long before its arrival the event happened; 0: it arrives at once
    day: npt.NDArray[np.int32]
    image: Integers  # index into the data set
    pipeline: npt.NDArray[np.int32]  # index into ``pipelines``
    pipelines: tuple[str, ...]
    days: int
    day_seconds: float

    def __len__(self) -> int:
        return len(self.offset_ns)

    @property
    def distinct_images(self) -> int:
        """Number of images that arrive at least once."""
        return int(self.image.max()) + 1 if len(self) else 0

    @property
    def rate_per_second(self) -> float:
        """Mean rate over all days."""
        return len(self) / (self.days * self.day_seconds)

    def of_day(self, day: int) -> range:
        """Positions of the arrivals of ``day``."""
        first, last = np.searchsorted(self.day, [day, day + 1])
        return range(int(first), int(last))

    def lateness(self) -> dict[str, int]:
        """How many arrivals are late, come after an event that is younger than theirs, and come in another
        day than that of their event."""
        day_ns = round(self.day_seconds * 1e9)
        event_ns = self.day * np.int64(day_ns) + self.offset_ns - self.lateness_ns
        youngest_before = np.maximum.accumulate(event_ns)
        return {
            "late_arrivals": int(np.count_nonzero(self.lateness_ns)),
            "out_of_order_arrivals": int(np.count_nonzero(event_ns < youngest_before)),
            "arrivals_after_their_midnight": int(np.count_nonzero(self.lateness_ns > self.offset_ns)),
        }


def make_schedule(
    workload: Workload, *, seed: int, distinct_images: int, days: int, day_seconds: float
) -> Schedule:
    """A seeded schedule in which each of ``distinct_images`` images arrives at least once.

    Given its number of arrivals, a (non-homogeneous) Poisson process places them independently with the
    density of its rate curve; so the number is fixed by the images and the share of repeats, and the times
    are drawn. The same arguments give the same schedule, byte for byte. Not for the replay of a trace.
    """
    if distinct_images < 1:
        raise ConfigurationError("a workload needs at least one image")
    times, repeats, mix, late = _generators(seed)
    count = max(distinct_images, round(distinct_images / (1.0 - workload.repeat_share)))

    # Split over the days as evenly as whole arrivals allow: days of a run are meant to be comparable.
    per_day = np.full(days, count // days)
    per_day[: count % days] += 1
    offsets = [_day_offsets(workload.arrivals, times, int(n), day_seconds) for n in per_day]
    names, pipeline = _mixed(workload.mix, mix, count)
    return Schedule(
        offset_ns=np.concatenate(offsets),
        lateness_ns=_lateness(workload.late, late, count, day_seconds),
        day=np.repeat(np.arange(days, dtype=np.int32), per_day),
        image=_image_order(repeats, count, distinct_images),
        pipeline=pipeline,
        pipelines=names,
        days=days,
        day_seconds=day_seconds,
    )


def replay_schedule(
    workload: Workload,
    trace: Trace,
    *,
    seed: int,
    days: int,
    day_seconds: float,
    rate_per_second: float | None = None,
) -> Schedule:
    """The arrivals of ``trace``, its whole length scaled onto the days, in a seeded schedule.

    With ``rate_per_second``, a trace that has more is thinned out to that mean rate: of a trace with image
    keys, images are drawn and keep all their arrivals, so that the share of repeats stays; else arrivals.
    A trace that has fewer is replayed whole. Raises ConfigurationError for fewer arrivals than days.
    """
    draw, repeats, mix, late = _generators(seed)
    if rate_per_second is not None:
        trace = _thinned(trace, draw, round(rate_per_second * days * day_seconds))
    count, day_ns = len(trace), round(day_seconds * 1e9)
    if count < days:
        raise ConfigurationError(
            f"{count} arrivals of the trace are too few for {days} days: lower --days or raise --rate"
        )
    at_ns = np.minimum((trace.fraction * (days * day_ns)).astype(np.int64), days * day_ns - 1)
    if trace.image is None:
        image = _image_order(repeats, count, max(1, round(count * (1 - workload.repeat_share))))
    else:
        _, first, key = np.unique(trace.image, return_index=True, return_inverse=True)
        by_first_arrival = np.argsort(np.argsort(first))
        image = repeats.permutation(len(first))[by_first_arrival[key]].astype(np.int64)
    if trace.pipeline is None:
        names, pipeline = _mixed(workload.mix, mix, count)
    else:
        names, pipeline = trace.pipelines, trace.pipeline
    return Schedule(
        offset_ns=at_ns % day_ns,
        lateness_ns=_lateness(workload.late, late, count, day_seconds),
        day=(at_ns // day_ns).astype(np.int32),
        image=image,
        pipeline=pipeline,
        pipelines=names,
        days=days,
        day_seconds=day_seconds,
    )


def rate_curve(arrivals: Arrivals, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Relative rate at day fractions ``at`` (float64, in [0, 1)); its mean over the day is not normalised."""
    rate = 1.0 + arrivals.diurnal_amplitude * np.sin(2 * np.pi * (at - 0.25))
    for burst in range(arrivals.bursts_per_day):
        start = (burst + 0.5) / arrivals.bursts_per_day
        rate[(at >= start) & (at < start + arrivals.burst_day_fraction)] *= arrivals.burst_multiplier
    return rate


def _generators(seed: int) -> list[np.random.Generator]:
    """One for the times (or which arrivals of a trace are kept), for repeats, for the mix, for lateness."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(4)]


def _mixed(
    mix: dict[str, float], draw: np.random.Generator, count: int
) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    names = tuple(sorted(mix))
    shares = np.array([mix[name] for name in names])
    return names, draw.choice(len(names), size=count, p=shares / shares.sum()).astype(np.int32)


def _day_offsets(arrivals: Arrivals, times: np.random.Generator, count: int, day_seconds: float) -> Integers:
    # Evenly spaced quantiles for a constant process, uniform ones for a Poisson process; both are then
    # pushed through the inverse of the cumulative rate.
    constant = arrivals.process == "constant"
    quantile = (np.arange(count) + 0.5) / max(count, 1) if constant else np.sort(times.random(count))
    edges = np.linspace(0.0, 1.0, RATE_GRID + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(rate_curve(arrivals, edges[:-1]))])
    fraction = np.interp(quantile, cumulative / cumulative[-1], edges)
    return np.sort((fraction * day_seconds * 1e9).astype(np.int64))


def _image_order(repeats: np.random.Generator, count: int, distinct: int) -> Integers:
    # The first arrival is new; which of the others are repeats is drawn; a repeat shows any earlier image.
    is_new = np.zeros(count, dtype=bool)
    is_new[0] = True
    is_new[1 + repeats.permutation(count - 1)[: distinct - 1]] = True
    seen = np.cumsum(is_new)
    earlier = (repeats.random(count) * np.maximum(seen, 1)).astype(np.int64)
    order = repeats.permutation(distinct)
    return order[np.where(is_new, seen - 1, np.minimum(earlier, seen - 1))].astype(np.int64)


def _lateness(late: Late, draw: np.random.Generator, count: int, day_seconds: float) -> Integers:
    # Exactly the asked share of the arrivals; each is late by at least a nanosecond.
    lateness_ns = np.zeros(count, np.int64)
    chosen = draw.permutation(count)[: round(late.share * count)]
    size = len(chosen)
    match late.distribution:
        case "exponential":
            of_mean = draw.exponential(1.0, size)
        case "uniform":
            of_mean = draw.uniform(0.0, 2.0, size)
        case _:
            of_mean = np.ones(size)
    seconds = of_mean * late.mean_day_fraction * day_seconds
    lateness_ns[chosen] = np.maximum(1, (seconds * 1e9).astype(np.int64))
    return lateness_ns


def _thinned(trace: Trace, draw: np.random.Generator, wanted: int) -> Trace:
    if wanted >= len(trace):
        return trace
    if trace.image is None:
        keep = np.zeros(len(trace), bool)
        keep[draw.permutation(len(trace))[: max(1, wanted)]] = True
        return trace.only(keep)
    _, key, arrivals = np.unique(trace.image, return_inverse=True, return_counts=True)
    order = draw.permutation(len(arrivals))
    kept_arrivals = np.cumsum(arrivals[order])
    nearest = int(np.argmin(np.abs(kept_arrivals - wanted)))  # whole images, so the rate is met to within one
    chosen = np.zeros(len(arrivals), bool)
    chosen[order[: nearest + 1]] = True
    return trace.only(chosen[key])
