"""The search for the sustainable rate, on servers whose capacity is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.selftest.queueing import departures
from bench.sustain.lag import TOLERANCE, LagSlope, lag_slope
from bench.sustain.search import Probe, Search, search

SERVICE_SECONDS = 0.01  # capacity: 100/s


def server(rate: float, window_seconds: float, *, process: str = "poisson") -> Probe:
    """A probe of a single server, in virtual time."""
    random = np.random.default_rng(round(rate * 1000))
    count = round(rate * window_seconds)
    scheduled = (np.arange(count) + 0.5) / rate
    if process == "poisson":
        scheduled = np.sort(random.random(count)) * window_seconds
    latency = departures(scheduled, SERVICE_SECONDS) - scheduled
    return Probe(rate, window_seconds, lag_slope(scheduled, latency, window_seconds))


def find(probe: object = server, **changes: float) -> Search:
    limits = {"start_rate": 10.0, "lowest_rate": 1.0, "highest_rate": 1000.0, "window_seconds": 30.0}
    return search(probe, **{**limits, "precision": 0.05, **changes})  # type: ignore[arg-type]


def test_an_overloaded_server_gains_lag_at_the_known_rate() -> None:
    slope = server(125.0, 20.0, process="constant").slope
    assert slope.value == pytest.approx(125 / 100 - 1, rel=0.01)
    assert not slope.sustained
    assert server(99.0, 20.0, process="constant").slope.sustained


@pytest.mark.parametrize("start_rate", [10.0, 90.0, 800.0])
def test_the_capacity_of_a_known_server_is_found(start_rate: float) -> None:
    found = find(lambda rate, window: server(rate, window, process="constant"), start_rate=start_rate)
    assert found.sustained is not None and found.unsustained is not None
    assert found.sustained <= 100 * (1 + TOLERANCE) <= found.unsustained * 1.03
    assert found.unsustained - found.sustained <= 0.05 * found.sustained


def test_with_random_arrivals_the_capacity_is_not_overstated() -> None:
    found = find()
    assert found.sustained is not None and 80 <= found.sustained <= 105


def test_what_cannot_be_measured_is_not_sustained() -> None:
    scheduled = np.linspace(0, 10, 500)
    latency = np.full(500, 0.01)
    assert lag_slope(scheduled, latency, 10.0).sustained
    lost = latency.copy()
    lost[7] = np.nan
    assert lag_slope(scheduled, lost, 10.0).value is None
    assert not lag_slope(scheduled, lost, 10.0).sustained
    assert "needs" in lag_slope(scheduled[:20], latency[:20], 10.0).reason

    blind = find(lambda rate, window: Probe(rate, window, LagSlope(None, None, None, "no clock")))
    assert blind.sustained is None
    assert {probe.verdict for probe in blind.probes} == {"unmeasured"}


def test_an_undecided_slope_is_measured_once_more_for_longer() -> None:
    def noisy(rate: float, window: float) -> Probe:
        half = 0.1 / window  # a longer window tells more
        return Probe(rate, window, LagSlope(0.0, -half, half) if rate < 50 else LagSlope(0.5, 0.4, 0.6))

    found = find(noisy, window_seconds=4.0, start_rate=20.0)
    assert [(p.rate_per_second, p.window_seconds) for p in found.probes[:2]] == [(20.0, 4.0), (20.0, 8.0)]
    assert [p.verdict for p in found.probes[:2]] == ["undecided", "sustained"]
    assert found.sustained is not None and 45 < found.sustained < 50


def test_a_server_that_is_never_reached_has_no_upper_limit() -> None:
    found = find(lambda rate, window: Probe(rate, window, LagSlope(0.0, -0.01, 0.01)))
    assert found.sustained == 1000.0
    assert found.unsustained is None
