"""Offers images: a backlog at once, or arrivals at given times that never wait for the system."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bench.open_loop import Seconds, due_ns, sleep_until_due

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
    scheduled = dict(enumerate(due_ns(due_seconds), first))
    for number, at_ns in scheduled.items():
        sleep_until_due(at_ns)
        submit(number, at_ns)
    return scheduled


def poisson_seconds(random: np.random.Generator, count: int, rate_per_second: float) -> Seconds:
    """When the arrivals of a Poisson process are due, from its start, given that it has just ``count`` of
    them in ``count / rate_per_second`` seconds: their times are uniform then, in order. (Intervals drawn one
    by one would offer 1,000 images at a rate that is off by 3 %, one standard deviation.)"""
    return np.sort(random.uniform(0, count / rate_per_second, count))
