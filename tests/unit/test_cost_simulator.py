"""The simulator against closed forms and against itself, batch by batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cost.architectures import Architecture
from bench.cost.day_curve import DayCurve
from bench.cost.inputs import DAY_SECONDS, Coefficients, DeviceModel, PlanInputs, PoolPolicy
from bench.cost.pools import autoscaled_devices, live_pool, nightly_pool
from bench.cost.pricebook import PriceBook
from bench.cost.queues import BatchService, batched_departures, fifo_departures, sequential_departures
from bench.cost.simulator import fluid_backlog, shared_finish_seconds, simulate


def poisson(count: int, rate: float, seed: int = 1) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_exponential(count)) / rate


def inputs(**changes: float) -> PlanInputs:
    coefficients = Coefficients.load()
    for name, value in changes.items():
        coefficients = coefficients.with_value(name, value)
    return PlanInputs(8.6e6, DeviceModel.load("l4-daft"), coefficients, PriceBook.load())


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_waits_are_those_of_an_md1_queue(utilisation: float) -> None:
    arrivals = poisson(1_000_000, utilisation)
    waits = fifo_departures(arrivals, 1.0) - arrivals - 1.0
    assert waits.mean() == pytest.approx(utilisation / (2 * (1 - utilisation)), rel=0.03)
    assert (waits > 1e-9).mean() == pytest.approx(utilisation, rel=0.01)


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    servers=st.integers(1, 4),
    max_batch=st.integers(1, 5),
    overhead=st.floats(0, 1),
)
def test_no_image_leaves_early_and_no_device_does_two_things(
    gaps: list[float], servers: int, max_batch: int, overhead: float
) -> None:
    arrivals = np.cumsum(gaps)
    service = BatchService(0.5, overhead, max_batch)
    served = sequential_departures(arrivals, service, servers)
    assert (served.departures >= arrivals + overhead + 0.5 - 1e-9).all()
    assert served.busy_seconds == pytest.approx(served.batches * overhead + len(gaps) * 0.5)
    span = served.departures.max() - arrivals[0]
    assert served.busy_seconds <= span * servers + 1e-9
    assert served.batches >= len(gaps) / max_batch


@given(gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60), servers=st.integers(1, 4))
def test_without_batching_the_vectorised_queue_is_the_sequential_one(gaps: list[float], servers: int) -> None:
    arrivals = np.cumsum(gaps)
    one_by_one = sequential_departures(arrivals, BatchService(0.7), servers)
    np.testing.assert_allclose(fifo_departures(arrivals, 0.7, servers), one_by_one.departures, atol=1e-9)


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("utilisation", [0.3, 0.7, 0.9])
def test_lanes_reproduce_the_sequential_queue(utilisation: float, servers: int) -> None:
    service = BatchService(0.01, 0.02, 8)
    arrivals = poisson(30_000, utilisation * servers / service.full_batch_image_seconds)
    exact, lanes = (f(arrivals, service, servers) for f in (sequential_departures, batched_departures))
    for quantile in (0.5, 0.95):
        expected = np.quantile(exact.departures - arrivals, quantile)
        assert np.quantile(lanes.departures - arrivals, quantile) == pytest.approx(expected, rel=0.03)
    assert lanes.busy_seconds == pytest.approx(exact.busy_seconds, rel=0.01)


@settings(max_examples=50)
@given(st.floats(1, 50))
def test_the_day_curve_has_its_peak_and_mean_one(peak_to_mean: float) -> None:
    curve = DayCurve.of(peak_to_mean)
    rate = curve.rate(np.arange(100_000) / 100_000)
    assert rate.mean() == pytest.approx(1, rel=1e-6)
    assert rate.max() == pytest.approx(peak_to_mean, rel=1e-6)
    assert curve.arrival_quantile(0.5) == pytest.approx(0.5, abs=1e-3)


@given(
    ready=st.lists(st.floats(0, 1000), min_size=1, max_size=30),
    work=st.floats(0.001, 1e5),
)
def test_devices_that_share_work_finish_together(ready: list[float], work: float) -> None:
    end = shared_finish_seconds(np.array(ready), work)
    assert sum(max(0.0, end - each) for each in ready) == pytest.approx(work, rel=1e-6)


def test_an_overload_becomes_a_backlog_that_drains() -> None:
    rate, capacity = np.array([1.0, 3.0, 3.0, 0.0, 0.0, 1.0]), np.full(6, 2.0)
    np.testing.assert_allclose(fluid_backlog(rate, capacity, 10.0), [0, 10, 20, 0, 0, 0])


def test_simulated_device_hours_are_the_closed_forms() -> None:
    plan = inputs()
    kappa = simulate(plan, Architecture.KAPPA)
    assert kappa.pools["stream"].allocated_hours == live_pool(plan, "stream").allocated_hours
    assert kappa.pools["stream"].busy_hours == pytest.approx(live_pool(plan, "stream").busy_hours, rel=1e-6)
    night = simulate(plan, Architecture.LAMBDA_NIGHTLY)
    assert night.pools["nightly"].allocated_hours == pytest.approx(nightly_pool(plan).allocated_hours)


def test_spin_up_times_drawn_from_a_band_average_out() -> None:
    plan = inputs(provisioning_seconds=342.0)
    run = simulate(plan, Architecture.LAMBDA_NIGHTLY, days=200, provisioning=(84.0, 600.0))
    assert run.pools["nightly"].allocated_hours == pytest.approx(nightly_pool(plan).allocated_hours, rel=0.01)


def test_a_sampled_day_has_the_waits_of_the_whole_day() -> None:
    plan = replace(inputs(), images_per_day=1e6)
    plan = replace(plan, device=plan.device.with_speed(40.0))
    whole = simulate(plan, Architecture.KAPPA, cap=None)
    sample = simulate(plan, Architecture.KAPPA, cap=100_000)
    assert sample.online.p95_seconds == pytest.approx(whole.online.p95_seconds, rel=0.03)
    assert sample.online.median_seconds == pytest.approx(whole.online.median_seconds, rel=0.03)
    assert sample.pools["stream"].busy_hours == pytest.approx(whole.pools["stream"].busy_hours, rel=0.01)


def test_a_month_at_full_scale_is_simulated() -> None:
    run = simulate(inputs(), Architecture.LAMBDA, days=30)
    assert run.days == 30
    assert run.table is not None
    assert run.online.p95_seconds < 1 < 12 * 3600 < run.table.median_seconds


def test_the_same_seed_gives_the_same_simulation() -> None:
    runs = [simulate(inputs(), Architecture.LAMBDA, seed=7, cap=5000) for _ in range(2)]
    assert runs[0] == runs[1]
    assert simulate(inputs(), Architecture.LAMBDA, seed=8, cap=5000) != runs[0]


def test_without_a_live_path_everybody_waits_for_the_night() -> None:
    run = simulate(
        inputs(nightly_fixed_seconds=0, nightly_cpu_seconds_per_million=1e-9), Architecture.LAMBDA_NIGHTLY
    )
    night = nightly_pool(inputs()).allocated_hours / nightly_pool(inputs()).devices * 3600
    assert run.online == run.table
    assert run.online.mean_seconds == pytest.approx(DAY_SECONDS / 2 + night, rel=0.01)


@given(st.floats(0, 7200))
@settings(max_examples=20, deadline=None)
def test_an_autoscaled_pool_is_ready_late_and_never_larger_than_held(provisioning: float) -> None:
    plan = replace(
        inputs(provisioning_seconds=provisioning), images_per_day=1e8, pool_policy=PoolPolicy.AUTOSCALED
    )
    held, ready = autoscaled_devices(plan)
    assert (ready <= held).all()
    assert ready.max() == held.max() or provisioning > 3600
    rising = np.flatnonzero(np.diff(held) > 0)[0] + 1
    delay = int(np.ceil(provisioning / 60))
    if 0 < delay < 30:
        assert ready[rising] < held[rising]
    assert (
        live_pool(plan, "stream").allocated_hours
        < replace(live_pool(replace(plan, pool_policy=PoolPolicy.ALWAYS_ON), "stream")).allocated_hours
    )
