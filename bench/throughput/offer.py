"""Offers images: a backlog at once, or arrivals at given times that never wait for the system."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

LEAD_SECONDS = 0.05  # until the first arrival of a schedule

Seconds = npt.NDArray[np.float64]
Submit = Callable[[int, int], None]  # number of the arrival, scheduled time in Unix ns


def offer_backlog(submit: Submit, numbers: range) -> int:
    """Hand all images over. Returns when that began, Unix ns."""
    now_ns = time.time_ns()
    for number in numbers:
        submit(number, now_ns)
    return now_ns


def offer_at(submit: Submit, first: int, due_seconds: Seconds) -> dict[int, int]:
    """An open loop: one arrival at each of the ``due_seconds`` from now, numbered from ``first``. Returns the
    scheduled time of each, Unix ns."""
    start_ns = time.time_ns() + round(LEAD_SECONDS * 1e9)
    scheduled: dict[int, int] = {}
    for number, seconds in enumerate(due_seconds, first):
        at_ns = start_ns + round(float(seconds) * 1e9)
        if (left_ns := at_ns - time.time_ns()) > 0:
            time.sleep(left_ns / 1e9)
        submit(number, at_ns)
        scheduled[number] = at_ns
    return scheduled


def poisson_seconds(random: np.random.Generator, count: int, rate_per_second: float) -> Seconds:
    """When ``count`` arrivals of a Poisson process are due, from its start."""
    return np.cumsum(random.exponential(1 / rate_per_second, count))
