"""Offers images: a backlog at once, or Poisson arrivals that never wait for the system."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

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
