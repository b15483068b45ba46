"""What a stream is offered, ours or a peer's: warm-up, a backlog, half load."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.limit.windows import Windows
from bench.peers.figures import Around, Observed, around, half_load
from bench.throughput.offer import Submit, offer_at, offer_backlog, poisson_seconds

WARM_UP = 100  # images before anything is counted
LATENCY_IMAGES = 1_000  # ten of them above the p99
SEED = 11


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
    windows: Windows,
    images: int,
    *,
    wait_for_start: Callable[[range], None],
) -> StreamOffer:
    """Warm-up, a backlog of ``images`` between two ``windows``, half load.

    ``wait`` returns when the images of a range are done, ``wait_for_start`` when those of the warm-up are.
    """
    warm, backlog = range(WARM_UP), range(WARM_UP, WARM_UP + images)
    measured = range(backlog.stop, backlog.stop + LATENCY_IMAGES)
    offer_backlog(submit, warm)
    wait_for_start(warm)
    with around(windows) as beside:
        started_ns = offer_backlog(submit, backlog)
        wait(backlog)
        rate = images / ((time.time_ns() - started_ns) / 1e9) / 2
    due = poisson_seconds(np.random.default_rng(SEED), len(measured), rate)
    scheduled_ns = offer_at(submit, measured.start, due)
    wait(measured)
    return StreamOffer(started_ns, backlog, scheduled_ns, rate, beside)
