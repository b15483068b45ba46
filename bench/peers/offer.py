"""What a stream is offered, ours or a peer's: warm-up, a backlog, half loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.peers.figures import HalfLoad, Observed, half_load, own_processes
from bench.throughput.offer import Submit, offer_at, offer_backlog, poisson_seconds
from bench.throughput.processes import ProcessMeter

WARM_UP = 100  # images before anything is counted
LATENCY_IMAGES = 1_000  # at each half load; ten of them above the p99
SEED = 11


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Those of one round, the same for each stream. ``limit_per_second``: what the bare loop does."""

    seed: int
    limit_per_second: float

    @classmethod
    def of_round(cls, number: int, limit_per_second: float) -> Arrivals:
        """A round has a pattern of its own: one unlucky burst must not decide a p99."""
        return cls(SEED + number, limit_per_second)


@dataclass(frozen=True, slots=True)
class _Offered:
    rate_per_second: float
    scheduled_ns: Mapping[int, int]  # by image

    def half_load(self, done_ns: Mapping[int, int]) -> HalfLoad:
        waited = np.asarray([(done_ns[n] - at_ns) / 1e9 for n, at_ns in self.scheduled_ns.items()])
        return half_load(self.rate_per_second, waited)


@dataclass(frozen=True, slots=True)
class StreamOffer:
    """What was offered to a stream: a backlog, then Poisson arrivals, at half of the rate that it drained at
    and at half of the bare loop's."""

    started_ns: int
    backlog: range
    own_half: _Offered
    common_half: _Offered
    meter: ProcessMeter  # of the backlog

    def observed(self, done_ns: Mapping[int, int]) -> Observed:
        """``done_ns``: when each image was done, Unix ns."""
        completed = np.sort([done_ns[n] for n in self.backlog])
        return Observed(
            *(self.started_ns, completed, int(completed[-1]), self.meter),
            own_half=self.own_half.half_load(done_ns),
            common_half=self.common_half.half_load(done_ns),
        )


def offer_stream(
    submit: Submit,
    wait: Callable[[range], int],
    images: int,
    arrivals: Arrivals,
    *,
    wait_for_start: Callable[[range], int],
) -> StreamOffer:
    """Warm-up, a backlog of ``images``, two half loads.

    ``wait`` returns when the images of a range are done, with the time at which the last one was (Unix ns);
    ``wait_for_start`` does so for those of the warm-up.
    """
    warm, backlog = range(WARM_UP), range(WARM_UP, WARM_UP + images)
    offer_backlog(submit, warm)
    wait_for_start(warm)
    with own_processes() as meter:
        started_ns = offer_backlog(submit, backlog)
        rate = images / ((wait(backlog) - started_ns) / 1e9)
    offered = []
    start = backlog.stop
    for half in (rate / 2, arrivals.limit_per_second / 2):
        due = poisson_seconds(np.random.default_rng(arrivals.seed), LATENCY_IMAGES, half)
        offered.append(_Offered(half, offer_at(submit, start, due)))
        wait(range(start, start + LATENCY_IMAGES))
        start += LATENCY_IMAGES
    own, common = offered
    return StreamOffer(started_ns, backlog, own, common, meter)
