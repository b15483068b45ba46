"""What a stream is offered, ours or a peer's: warm-up, a backlog, half load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.peers.figures import Observed, half_load, own_processes
from bench.throughput.offer import Submit, offer_at, offer_backlog, poisson_seconds
from bench.throughput.processes import ProcessMeter

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
    meter: ProcessMeter  # of the backlog

    def observed(self, done_ns: Mapping[int, int]) -> Observed:
        """``done_ns``: when each image was done, Unix ns."""
        completed = np.sort([done_ns[n] for n in self.backlog])
        waited = np.asarray([(done_ns[n] - at_ns) / 1e9 for n, at_ns in self.scheduled_ns.items()])
        load = half_load(self.half_rate_per_second, waited)
        return Observed(self.started_ns, completed, int(completed[-1]), self.meter, load)


def offer_stream(
    submit: Submit, wait: Callable[[range], int], images: int, *, wait_for_start: Callable[[range], int]
) -> StreamOffer:
    """Warm-up, a backlog of ``images``, half load.

    ``wait`` returns when the images of a range are done, with the time at which the last one was (Unix ns);
    ``wait_for_start`` does so for those of the warm-up.
    """
    warm, backlog = range(WARM_UP), range(WARM_UP, WARM_UP + images)
    measured = range(backlog.stop, backlog.stop + LATENCY_IMAGES)
    offer_backlog(submit, warm)
    wait_for_start(warm)
    with own_processes() as meter:
        started_ns = offer_backlog(submit, backlog)
        rate = images / ((wait(backlog) - started_ns) / 1e9) / 2
    due = poisson_seconds(np.random.default_rng(SEED), len(measured), rate)
    scheduled_ns = offer_at(submit, measured.start, due)
    wait(measured)
    return StreamOffer(started_ns, backlog, scheduled_ns, rate, meter)
