"""The rate that a path sustains: what it completes while images keep coming in faster than it can take them.

A drain is faster than that. Its backlog lies at the broker, or in the queue, before its clock begins; of what
arrives, each image is a request of its own, which takes CPU from those in work. So no path keeps up with the
rate of its drain: the latency grows, and the sustainable throughput (Karimov et al. 2018, "Benchmarking
Distributed Stream Data Processing Systems") is the highest rate at which it does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.throughput.arrivals import ONLINE_TIMES, by_arrival
from bench.throughput.feed import Feed
from bench.throughput.stand import StartedArm
from signals.errors import PipelineError

OFFERED_SECONDS = 10.0
SETTLING_SHARE = 0.3  # of that time: a queue forms, and with it groups as large as they become

Nanoseconds = npt.NDArray[np.int64]


def measure_sustained(started: StartedArm, feed: Feed, drained_per_second: float, day: int) -> float:
    """Images per second that are completed while ``drained_per_second``, the rate of a drain right before,
    are offered, evenly. A path that keeps up with them has that rate, and may sustain more. Raises an error
    of the tree; PipelineError where nothing is completed in that time, as there is no share of nothing."""
    due_seconds = np.arange(round(OFFERED_SECONDS * drained_per_second)) / drained_per_second
    times = by_arrival(started, ONLINE_TIMES, feed.at(due_seconds, day))
    scheduled_ns, announced_ns = np.array(list(times.values()), np.int64).T
    sustained_per_second = completed_per_second(scheduled_ns, announced_ns)
    if not sustained_per_second:
        raise PipelineError(
            f"none of {len(times)} images was completed while they arrived in {OFFERED_SECONDS:.0f} s; "
            f"the logs are in {started.context.run_dir / 'logs'}"
        )
    return sustained_per_second


def completed_per_second(scheduled_ns: Nanoseconds, announced_ns: Nanoseconds) -> float:
    """How many were announced in a second, from :data:`SETTLING_SHARE` of the time in which they arrived
    until the last has arrived. Both (N,), Unix ns."""
    first_ns, last_ns = int(scheduled_ns.min()), int(scheduled_ns.max())
    from_ns = first_ns + SETTLING_SHARE * (last_ns - first_ns)
    completed = int(np.count_nonzero((announced_ns > from_ns) & (announced_ns <= last_ns)))
    return 1e9 * completed / (last_ns - from_ns)
