"""Offers images: a backlog at once, or Poisson arrivals that never wait for the system."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.limit.loop import BareLoop
from bench.peers.figures import Around, Observed, around, half_load

WARM_UP = 100  # images before anything is counted
LATENCY_IMAGES = 600  # a p99 with 99 % confidence needs 459
SEED = 11

Submit = Callable[[int, int], None]  # number of the image, scheduled time in Unix ns


def offer_backlog(submit: Submit, numbers: range) -> int:
    """Hand all images over. Returns when that began, Unix ns."""
    now_ns = time.time_ns()
    for number in numbers:
        submit(number, now_ns)
    return now_ns


def offer_poisson(submit: Submit, numbers: range, rate_per_second: float) -> dict[int, int]:
    """Returns the scheduled time of each image, Unix ns."""
    random = np.random.default_rng(SEED)
    due: npt.NDArray[np.float64] = np.cumsum(random.exponential(1 / rate_per_second, len(numbers)))
    start_ns = time.time_ns() + 50_000_000
    scheduled: dict[int, int] = {}
    for number, seconds in zip(numbers, due, strict=True):
        at_ns = start_ns + round(float(seconds) * 1e9)
        if (left_ns := at_ns - time.time_ns()) > 0:
            time.sleep(left_ns / 1e9)
        submit(number, at_ns)
        scheduled[number] = at_ns
    return scheduled


@dataclass(frozen=True, slots=True)
class StreamOffer:
    """What was offered to a stream: a backlog, then Poisson arrivals at half the rate that it drained at."""

    started_ns: int
    backlog: range
    scheduled_ns: Mapping[int, int]  # of the images at half load
    half_rate_per_second: float
    beside: Around

    @property
    def numbers(self) -> set[int]:
        """All images that count."""
        return set(self.backlog) | self.scheduled_ns.keys()

    def observed(self, done_ns: Mapping[int, int]) -> Observed:
        """``done_ns``: when each image was done, Unix ns."""
        completed = np.sort([done_ns[n] for n in self.backlog])
        waited = np.asarray([(done_ns[n] - at_ns) / 1e9 for n, at_ns in self.scheduled_ns.items()])
        load = half_load(self.half_rate_per_second, waited)
        return Observed(self.started_ns, completed, int(completed[-1]), self.beside, load)


def offer_stream(
    submit: Submit,
    wait: Callable[[range], None],
    loop: BareLoop,
    images: int,
    *,
    wait_for_start: Callable[[range], None],
) -> StreamOffer:
    """Warm-up, a backlog of ``images`` between windows of ``loop``, half load.

    ``wait`` returns when the images of a range are done, ``wait_for_start`` when those of the warm-up are.
    """
    warm, backlog = range(WARM_UP), range(WARM_UP, WARM_UP + images)
    measured = range(backlog.stop, backlog.stop + LATENCY_IMAGES)
    offer_backlog(submit, warm)
    wait_for_start(warm)
    with around(loop) as beside:
        started_ns = offer_backlog(submit, backlog)
        wait(backlog)
        rate = images / ((time.time_ns() - started_ns) / 1e9) / 2
    scheduled_ns = offer_poisson(submit, measured, rate)
    wait(measured)
    return StreamOffer(started_ns, backlog, scheduled_ns, rate, beside)
