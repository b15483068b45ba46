"""Closed forms against the recursion, and the harness's schedule, ledger and SQL against closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import trapezoid

from bench.ledger_query import open_ledger
from bench.seal import seal
from bench.selftest.queueing import (
    Seconds,
    departures,
    md1_wait_cdf,
    md1_wait_quantile,
    pollaczek_khinchine_wait,
    stopped_latencies,
)
from bench.workload import Arrivals, Schedule, Workload, make_schedule
from signals.ledger import Ledger, Stage
from tests.unit.synthetic_run import signature

EPOCH_NS = 1_700_000_000 * 10**9


def schedule_of(process: str, count: int, day_seconds: float) -> Schedule:
    workload = Workload("test", "", Arrivals(process=process), repeat_share=0.0, mix={"pinner_uploads": 1.0})
    return make_schedule(workload, seed=1, distinct_images=count, days=1, day_seconds=day_seconds)


def latency_seconds(run_dir: Path, schedule: Schedule, leave: Seconds) -> dict[str, float]:
    """What the harness says of the online consumer if arrival i of ``schedule`` is there at ``leave[i]``."""
    with Ledger(run_dir / "ledger" / "raw", process="driver", arm="server", replicate=1) as ledger:
        for position, (offset_ns, end) in enumerate(zip(schedule.offset_ns.tolist(), leave, strict=True)):
            scheduled_ns = EPOCH_NS + offset_ns
            of_image: dict[str, Any] = {"event_id": position, "image_signature": signature(position)}
            of_image |= {"galaxy": "pins", "day": 0, "start_ns": scheduled_ns}
            ledger.record(Stage.ARRIVAL, end_ns=scheduled_ns, path="harness", **of_image)
            end_ns = EPOCH_NS + round(end * 1e9)
            ledger.record(Stage.AVAILABLE_ONLINE, end_ns=end_ns, path="consumer", **of_image)
    seal(run_dir)
    with open_ledger(run_dir) as query:
        rows = query.rows("latency")
        mean = query.execute("SELECT avg(seconds) AS mean FROM key_latencies WHERE consumer = 'online'")
    found = {
        row["statistic"]: row["seconds"]
        for row in rows
        if row["consumer"] == "online" and row["replicate"] is None
    }
    return {**found, "mean": mean[0]["mean"]}


def test_waits_of_a_known_server_follow_pollaczek_khinchine(tmp_path: Path) -> None:
    count, rate, service = 24_000, 70.0, 0.01
    schedule = schedule_of("poisson", count, count / rate)
    leave = departures(schedule.offset_ns / 1e9, service)
    found = latency_seconds(tmp_path, schedule, leave)

    waits = leave - service - schedule.offset_ns / 1e9
    # Waits of neighbours are alike: the error of their mean comes from means of long batches.
    batches = waits[: count // 30 * 30].reshape(30, -1).mean(axis=1)
    error = batches.std(ddof=1) / np.sqrt(len(batches))
    expected = pollaczek_khinchine_wait(rate, service)
    assert error < 0.05 * expected  # or the next line would say little
    assert found["mean"] - service == pytest.approx(expected, abs=4 * error)
    for name, probability in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        expected = md1_wait_quantile(probability, rate, service)
        assert found[name] - service == pytest.approx(expected, rel=0.1), name


def test_a_stop_of_two_seconds_shows_in_the_tail_as_the_schedule_says(tmp_path: Path) -> None:
    rate, service, day_seconds = 50.0, 0.008, 20.0
    schedule = schedule_of("constant", 1000, day_seconds)
    arrivals = schedule.offset_ns / 1e9
    stop = (5.0, 7.0)
    found = latency_seconds(tmp_path, schedule, departures(arrivals, service, stop))

    # Arrivals come 20 ms apart, the first of the stop 10 ms after it began.
    queued = int((2.0 - 0.5 / rate) / (1 / rate - service)) + 1  # until the queue is empty again
    longest = 2.0 - 0.5 / rate + service
    assert found["max"] == pytest.approx(longest, abs=1e-6)
    for name, probability in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        # Latencies fall by the same amount from each queued arrival to the next.
        rank = (len(schedule) - 1) * (1 - probability)  # from the longest
        expected = max(longest - rank * (1 / rate - service), service) if rank < queued else service
        assert found[name] == pytest.approx(expected, abs=1e-6), name
    without = latency_seconds(tmp_path / "without", schedule, departures(arrivals, service))
    assert without["p99"] == pytest.approx(service, abs=1e-6)


def test_the_recursion_is_lindleys() -> None:
    random = np.random.default_rng(3)
    arrivals, services = np.sort(random.random(500)), random.exponential(0.002, 500)
    left, expected = -np.inf, []
    for arrival, service in zip(arrivals, services, strict=True):
        left = max(arrival, left) + service
        expected.append(left)
    assert np.allclose(departures(arrivals, services), expected)


@pytest.mark.parametrize("begin", [0.31, 0.5, 0.9])
def test_latencies_around_a_stop_are_the_recursions(begin: float) -> None:
    arrivals = (np.arange(400) + 0.5) * 0.01
    stop = (begin, begin + 0.4)
    found = departures(arrivals, 0.004, stop) - arrivals
    assert np.allclose(found, stopped_latencies(arrivals, 0.004, stop))


def test_a_server_that_stops_at_work_finishes_it_afterwards() -> None:
    assert departures(np.array([1.0]), 0.5, (1.2, 3.2)).tolist() == pytest.approx([3.5])
    assert departures(np.array([1.0]), 0.5, (1.5, 3.5)).tolist() == pytest.approx([1.5])


def test_erlangs_distribution_has_pollaczek_khinchines_mean() -> None:
    rate, service = 80.0, 0.01
    grid = np.linspace(0.0, 29 * service, 4000)
    above = [1 - md1_wait_cdf(float(wait), rate, service) for wait in grid]
    assert trapezoid(above, grid) == pytest.approx(pollaczek_khinchine_wait(rate, service), rel=3e-3)
    assert md1_wait_quantile(0.1, rate, service) == 0.0  # a fifth of them find an idle server
    assert pollaczek_khinchine_wait(100.0, 0.01) == np.inf
    # M/M/1 is the case of a variance of service**2: its wait is rho / (mu - lambda).
    assert pollaczek_khinchine_wait(80.0, 0.01, 0.01**2) == pytest.approx(0.8 / (100 - 80))
