"""Closed forms of a single server: what a latency must be when arrivals and service time are known.

Sources: Pollaczek 1930 and Khinchine 1932 for the mean wait; Erlang 1909 for the distribution of the wait
in M/D/1; Lindley 1952 for the recursion that any single first-come-first-served server obeys.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

Seconds = npt.NDArray[np.float64]


def departures(
    arrivals: Seconds, services: Seconds | float, stop: tuple[float, float] | None = None
) -> Seconds:
    """When each of ``arrivals`` (ascending, seconds) leaves a single first-come-first-served server.

    ``services``: seconds of work of each, or of all. ``stop``: the server stands still from the first moment
    up to the second, work under way included. Solves Lindley's recursion
    ``d[i] = max(a[i], d[i-1]) + s[i]`` on the server's own clock, which a stop does not advance.
    """
    work = np.broadcast_to(np.asarray(services, dtype=np.float64), arrivals.shape)
    done_before = np.cumsum(work) - work
    own = _own_clock(arrivals, stop)
    leave = np.maximum.accumulate(own - done_before) + done_before + work
    if stop is None:
        return leave
    begin, end = stop
    # What is finished exactly when the server stops has left.
    return np.where(leave > begin, leave + (end - begin), leave)


def stopped_latencies(arrivals: Seconds, service: float, stop: tuple[float, float]) -> Seconds:
    """Latency of each of ``arrivals`` (evenly spaced, seconds, wider apart than ``service``) around a stop.

    The k-th arrival (from 0) at or after the stop's first moment leaves at ``end + (k + 1) * service`` as
    long as the queue lasts: it waits for the rest of the stop and for the k before it. Holds for an idle
    server at the stop's first moment.
    """
    begin, end = stop
    k = np.cumsum(arrivals >= begin) - 1
    queued = end + (k + 1) * service - arrivals
    return np.where(arrivals >= begin, np.maximum(queued, service), service)


def pollaczek_khinchine_wait(rate: float, service_mean: float, service_variance: float = 0.0) -> float:
    """Mean wait in an M/G/1 queue before service, seconds: ``rate * E[S^2] / (2 (1 - rate * E[S]))``.

    ``rate`` per second, moments in seconds. Variance 0 is M/D/1. Infinite where the server can't keep up.
    """
    utilisation = rate * service_mean
    if utilisation >= 1:
        return math.inf
    return rate * (service_variance + service_mean**2) / (2 * (1 - utilisation))


def md1_wait_cdf(wait: float, rate: float, service: float) -> float:
    """Probability that an arrival of an M/D/1 queue waits at most ``wait`` seconds before its service.

    Erlang's ``(1 - u) * sum_k exp(-x_k) x_k^k / k!`` with ``x_k = rate * (k * service - wait)`` for
    ``k <= wait / service``. Its terms alternate, so keep ``wait / service`` below 30.
    """
    terms = []
    for k in range(int(wait / service) + 1):
        x = rate * (k * service - wait)
        terms.append(math.exp(-x) * x**k / math.factorial(k))
    return (1 - rate * service) * math.fsum(terms)


def md1_wait_quantile(probability: float, rate: float, service: float) -> float:
    """The wait in seconds that ``probability`` of the arrivals of an M/D/1 queue do not exceed."""
    if probability <= md1_wait_cdf(0.0, rate, service):
        return 0.0
    return float(brentq(lambda wait: md1_wait_cdf(wait, rate, service) - probability, 0.0, 29 * service))


def _own_clock(moments: Seconds, stop: tuple[float, float] | None) -> Seconds:
    """``moments`` on a clock that stands still during ``stop``."""
    if stop is None:
        return moments
    begin, end = stop
    return moments - np.clip(moments - begin, 0.0, end - begin)
