"""The figures of one system, taken in the same way from ours and from peers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.limit.loop import Window
from bench.throughput.processes import SHARED_PROCESSES, ProcessMeter

SETTLING_SHARE = 0.05  # of the images, at the beginning: start-up is told apart from speed

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HalfLoad:
    """Poisson arrivals at ``rate_per_second``; latency from the scheduled time."""

    rate_per_second: float
    n: int
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class Observed:
    """One drain. ``completed_ns``: when each image was done (Unix ns), sorted; ``end_ns``: when all output
    was there; ``started_ns``: when the backlog, or the program with it, was handed over. ``meter`` was on
    meanwhile. A stream was offered half of its own rate after it, and half of the bare loop's."""

    started_ns: int
    completed_ns: Times
    end_ns: int
    meter: ProcessMeter
    own_half: HalfLoad | None = None
    common_half: HalfLoad | None = None
    smallest_cosine: float | None = None  # to the shared core's; None: it is the shared core


@dataclass(frozen=True, slots=True)
class SystemFigures:
    """One system, once; processes that all systems share are left out of memory and CPU. ``round_number``:
    from 1."""

    system: str
    round_number: int
    lines_of_code: int
    images: int
    images_per_second: float
    bare_images_per_second: float
    first_image_seconds: float
    core_ms_by_process: Mapping[str, float]  # per image
    peak_bytes: int
    own_half: HalfLoad | None
    common_half: HalfLoad | None  # the same arrivals for all
    smallest_cosine: float | None

    @property
    def ratio(self) -> float:
        """To the bare loop before the system was started and after it was stopped."""
        return self.images_per_second / self.bare_images_per_second


Figure = Callable[[SystemFigures], float | None]  # None: it was not measured


def own_processes() -> ProcessMeter:
    """Meters the processes of one system."""
    return ProcessMeter(left_out=SHARED_PROCESSES)


def figures(
    system: str, round_number: int, lines_of_code: int, seen: Observed, bare: Sequence[Window]
) -> SystemFigures:
    """What an observed drain amounts to. ``bare``: the bare loop before and after."""
    start_ns, images = settled(seen.completed_ns)
    used = seen.meter.cpu_seconds(start_ns, seen.end_ns)
    return SystemFigures(
        system=system,
        round_number=round_number,
        lines_of_code=lines_of_code,
        images=len(seen.completed_ns),
        images_per_second=images / ((seen.end_ns - start_ns) / 1e9),
        bare_images_per_second=statistics.fmean(w.images_per_second for w in bare),
        first_image_seconds=(int(seen.completed_ns[0]) - seen.started_ns) / 1e9,
        core_ms_by_process={name: 1e3 * seconds / images for name, seconds in sorted(used.items())},
        peak_bytes=seen.meter.peak_bytes(seen.started_ns, seen.end_ns),
        own_half=seen.own_half,
        common_half=seen.common_half,
        smallest_cosine=seen.smallest_cosine,
    )


def settled(completed_ns: Times) -> tuple[int, int]:
    """When the first SETTLING_SHARE of the images were done, and how many came later."""
    position = int(np.ceil(SETTLING_SHARE * len(completed_ns)))
    start_ns = int(completed_ns[position])
    return start_ns, int(np.count_nonzero(completed_ns > start_ns))


def half_load(rate_per_second: float, waited_seconds: npt.NDArray[np.float64]) -> HalfLoad:
    """Sum up latencies."""
    p50, p99 = np.quantile(waited_seconds, [0.5, 0.99])
    return HalfLoad(rate_per_second, len(waited_seconds), float(p50), float(p99))


def median(found: list[SystemFigures], figure: Figure) -> float | None:
    """Of the rounds in which the figure was measured."""
    values = [value for item in found if (value := figure(item)) is not None]
    return statistics.median(values) if values else None
