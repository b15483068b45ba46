"""A schedule of arrivals that never wait for the system: each is due at its time."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

LEAD_SECONDS = 0.05  # until a schedule begins

Seconds = npt.NDArray[np.float64]


def due_ns(due_seconds: Seconds) -> list[int]:
    """When arrivals that are due ``due_seconds`` from now are due, Unix ns."""
    start_ns = time.time_ns() + round(LEAD_SECONDS * 1e9)
    return [start_ns + round(float(seconds) * 1e9) for seconds in due_seconds]


def sleep_until_due(at_ns: int) -> None:
    """Return at ``at_ns``, Unix ns; at once where that is over."""
    if (left_ns := at_ns - time.time_ns()) > 0:
        time.sleep(left_ns / 1e9)
