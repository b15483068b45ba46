"""Queues in front of devices, vectorised over arrivals.

``fifo_departures`` is exact for one image at a time at a constant service time: customers of a FIFO M/D/c
queue are served by the servers in turn, so each server's customers form a single-server queue (Lindley's
recursion, which a running maximum solves). ``batched_departures`` serves whatever is ready, at most
``max_batch``; it cuts the arrivals into lanes that run in step, each lane starting a little earlier with the
backlog of the FIFO queue.
"""

from __future__ import annotations

import bisect
import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LANE_ARRIVALS = 512
SEQUENTIAL_ARRIVALS = 4096
WARM_UP_ARRIVALS = 512  # served before a lane's own arrivals, so that its batches have their usual sizes


@dataclass(frozen=True, slots=True)
class BatchService:
    """A batch of n images takes ``overhead_seconds + n * per_image_seconds``."""

    per_image_seconds: float
    overhead_seconds: float = 0.0
    max_batch: int = 1

    @property
    def full_batch_image_seconds(self) -> float:
        """Seconds per image in full batches: the inverse of the device's speed."""
        return self.per_image_seconds + self.overhead_seconds / self.max_batch


@dataclass(frozen=True, slots=True)
class Served:
    """Departure time of each arrival (float64, as arrivals), busy device seconds, and number of batches."""

    departures: Floats
    busy_seconds: float
    batches: int


def fifo_departures(
    arrivals: Floats, service_seconds: float, servers: int = 1, free_at: Floats | None = None
) -> Floats:
    """Departure times of sorted ``arrivals`` (shape (n,), s) at ``servers`` with a constant service time.

    ``free_at`` (shape (servers,), s) is when each server becomes free; None for at once.
    """
    departures = np.empty_like(arrivals)
    # The server that is free first takes the first customer; with one service time the order then repeats.
    first_free = np.full(servers, -np.inf) if free_at is None else np.sort(free_at)
    for server in range(servers):
        own = arrivals[server::servers]
        steps = np.arange(own.size) * service_seconds
        slack = own - steps
        if own.size:
            slack[0] = max(slack[0], first_free[server])
        departures[server::servers] = np.maximum.accumulate(slack) + steps + service_seconds
    return departures


def serve(arrivals: Floats, service: BatchService, servers: int = 1, free_at: Floats | None = None) -> Served:
    """Serve sorted ``arrivals`` (shape (n,), s): exact without batching, lanes with it."""
    if service.max_batch == 1:
        seconds = service.per_image_seconds + service.overhead_seconds
        departures = fifo_departures(arrivals, seconds, servers, free_at)
        return Served(departures, arrivals.size * seconds, int(arrivals.size))
    return batched_departures(arrivals, service, servers, free_at)


def sequential_departures(
    arrivals: Floats, service: BatchService, servers: int = 1, free_at: Floats | None = None
) -> Served:
    """The same queue, one batch after the other: exact, and the reference for the lanes."""
    times: list[float] = arrivals.tolist()
    free = [-np.inf] * servers if free_at is None else free_at.tolist()
    heapq.heapify(free)
    ends: list[float] = []
    sizes: list[int] = []
    busy, position = 0.0, 0
    while position < len(times):
        begin = max(free[0], times[position])
        last = min(position + service.max_batch, len(times))
        size = max(1, bisect.bisect_right(times, begin, position, last) - position)
        seconds = service.overhead_seconds + size * service.per_image_seconds
        heapq.heapreplace(free, begin + seconds)
        ends.append(begin + seconds)
        sizes.append(size)
        busy += seconds
        position += size
    departures: Floats = np.repeat(np.array(ends), np.array(sizes, dtype=np.int64))
    return Served(departures, busy, len(sizes))


def batched_departures(
    arrivals: Floats,
    service: BatchService,
    servers: int = 1,
    free_at: Floats | None = None,
    lane_arrivals: int = LANE_ARRIVALS,
) -> Served:
    """A free server takes whatever waits, at most ``max_batch``, and starts at once. Sorted ``arrivals``, s.

    Exact, batch by batch, for up to ``SEQUENTIAL_ARRIVALS``. Beyond that, lanes of ``lane_arrivals`` are
    joined by the FIFO queue's backlog at the full-batch speed (a lower bound of the true one) and a warm-up.
    """
    count = arrivals.size
    if count <= SEQUENTIAL_ARRIVALS:
        return sequential_departures(arrivals, service, servers, free_at)
    own_start = np.arange(0, count, lane_arrivals)
    start = np.maximum(own_start - WARM_UP_ARRIVALS, 0)
    end = np.minimum(own_start + lane_arrivals, count)
    free = _initial_free(arrivals, service, servers, start, free_at)
    departures = np.full(count, np.nan)
    busy, batches = 0.0, 0
    at, lanes = start.copy(), np.arange(own_start.size)
    while lanes.size:
        position = at[lanes]
        server = np.argmin(free[lanes], axis=1)
        begin = np.maximum(free[lanes, server], arrivals[position])
        size = _ready(arrivals, position, begin, np.minimum(service.max_batch, end[lanes] - position))
        seconds = service.overhead_seconds + size * service.per_image_seconds
        free[lanes, server] = begin + seconds
        own = position >= own_start[lanes]
        departures[position[own]] = (begin + seconds)[own]
        # Of a batch that straddles the lane's start, the lane owns the images from there on, and their share.
        straddles = ~own & (position + size > own_start[lanes])
        departures[own_start[lanes][straddles]] = (begin + seconds)[straddles]
        share = (position + size - own_start[lanes])[straddles] / size[straddles]
        busy += float((share * seconds[straddles]).sum())
        busy += float(seconds[own].sum())
        batches += int(own.sum())
        at[lanes] = position + size
        lanes = lanes[at[lanes] < end[lanes]]
    # Only the first of each batch has its departure; the others leave with it.
    first = np.maximum.accumulate(np.where(np.isnan(departures), 0, np.arange(count)))
    return Served(departures[first], busy, batches)


def _initial_free(
    arrivals: Floats,
    service: BatchService,
    servers: int,
    start: npt.NDArray[np.int64],
    free_at: Floats | None,
) -> Floats:
    # When the servers of each lane become free, (lanes, servers): the last departures before its start.
    earliest = np.full(servers, -np.inf) if free_at is None else np.sort(free_at)
    if start[-1] == 0:
        return np.tile(earliest, (start.size, 1))
    fifo = fifo_departures(arrivals, service.full_batch_image_seconds, servers, free_at)
    padded = np.concatenate([earliest, fifo])
    free: Floats = padded[start[:, None] + np.arange(servers)]
    return free


def _ready(
    arrivals: Floats, position: npt.NDArray[np.int64], begin: Floats, limit: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    # How many of arrivals[position:position + limit] are there at ``begin``: a binary search of all lanes at
    # once. The first is always there.
    low, high = np.ones_like(position), limit.copy()
    for _ in range(int(limit.max()).bit_length()):
        middle = (low + high + 1) // 2
        there = arrivals[np.minimum(position + middle - 1, arrivals.size - 1)] <= begin
        low = np.where(there, middle, low)
        high = np.where(there, high, middle - 1)
    return low
