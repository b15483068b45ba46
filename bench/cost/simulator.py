"""A discrete-event model of each architecture: arrivals, pools, batching, midnight, provisioning.

Days are simulated one after the other, arrivals vectorised. A pool of several devices is simulated in
*cells*: Kappa's devices each own a share of the stream's partitions (one-device cells), Lambda's inference
service has one queue (cells of up to 8 devices, which waits a little longer than one larger queue would).
With a cap on arrivals, a sample is simulated: fewer cells, and one day that passes faster *at the real rate
per device*, as the harness compresses its days. Queues relax in seconds and the day's curve takes hours, so
the waits are the same; a backlog of hours is then added as a fluid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.cost.architectures import Architecture
from bench.cost.counts import daily_usages, dump_spark, nightly_spark
from bench.cost.day_curve import GRID, DayCurve
from bench.cost.inputs import DAY_SECONDS, PlanInputs, PoolPolicy
from bench.cost.ledger_cost import CostReport, cost_of
from bench.cost.pools import PoolHours, autoscaled_devices, live_devices_needed, nightly_devices
from bench.cost.queues import BatchService, serve

Floats = npt.NDArray[np.float64]

MAX_CELL_DEVICES = 8
KEPT_PER_DAY = 50_000  # latencies kept for percentiles, evenly spaced over a day's arrivals
DEFAULT_CAP = 200_000  # arrivals simulated per pool
_STABLE = 0.98  # highest utilisation that a sampled queue is run at; what is beyond is the fluid backlog


@dataclass(frozen=True, slots=True)
class Availability:
    """Seconds from the arrival of an image until a consumer can use its signal."""

    median_seconds: float
    p95_seconds: float
    mean_seconds: float
    images: int  # simulated


@dataclass(frozen=True)
class Simulated:
    """What a simulated architecture held, used and delivered. Hours are means per day."""

    architecture: Architecture
    days: int
    pools: dict[str, PoolHours]
    online: Availability
    table: Availability | None  # None without a Hive table

    def cost(self, inputs: PlanInputs) -> CostReport:
        """Cost of a day with the simulated device hours."""
        return cost_of(daily_usages(inputs, self.architecture, self.pools), inputs.book)


@dataclass(frozen=True, slots=True)
class _Live:
    pool: PoolHours
    latencies: Floats


@dataclass(frozen=True, slots=True)
class _Nights:
    pool: PoolHours
    table_seconds: Floats  # per night, from midnight until the table is there
    store_seconds: Floats  # per night, from midnight until the lookup service has it


def simulate(
    inputs: PlanInputs,
    architecture: Architecture,
    *,
    days: int = 1,
    seed: int = 1,
    cap: int | None = DEFAULT_CAP,
    provisioning: tuple[float, float] | None = None,
) -> Simulated:
    """Simulate ``days`` days. ``cap`` limits the simulated arrivals; None simulates every one.

    ``provisioning`` is the band (s) from which each device's spin-up is drawn, uniformly; by default it is
    the plan's value for all. The same arguments give the same result.
    """
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3)]
    parts = architecture.parts
    pools: dict[str, PoolHours] = {}
    curve = DayCurve.of(inputs.at("peak_to_mean"))
    to_midnight = _until_midnight(curve, streams[0])
    online: Floats | None = None
    table: Floats | None = None
    if parts.live_pool:
        live = _live(inputs, architecture, curve, days, streams[1], cap)
        pools[parts.live_pool] = live.pool
        online = live.latencies
    if parts.nightly:
        nights = _nights(inputs, days, streams[2], provisioning)
        pools["nightly"] = nights.pool
        table = (nights.table_seconds[:, None] + to_midnight).ravel()
        if online is None:
            online = (nights.store_seconds[:, None] + to_midnight).ravel()
    if parts.dump:
        table = to_midnight + dump_spark(inputs).wall_seconds
    assert online is not None, "every architecture has a live or a nightly path"
    return Simulated(
        architecture, days, pools, _availability(online), None if table is None else _availability(table)
    )


def fluid_backlog(rate: Floats, capacity: Floats, step_seconds: float) -> Floats:
    """Images waiting at the end of each step, as a fluid. ``rate``, ``capacity``: images/s, shape (n,)."""
    surplus = np.cumsum((rate - capacity) * step_seconds)
    backlog: Floats = surplus - np.minimum(np.minimum.accumulate(surplus), 0.0)
    return backlog


def shared_finish_seconds(ready_seconds: Floats, work_device_seconds: float) -> float:
    """When devices that become ready at ``ready_seconds`` (any order) have done a common pile of work.

    They take small jobs from one queue, so they finish together: sum over devices of (end - ready) = work.
    """
    ready = np.sort(ready_seconds)
    helpers = np.arange(1, ready.size + 1)
    ends = (work_device_seconds + np.cumsum(ready)) / helpers  # if only the first k devices took part
    # The k-th device takes part if it is ready before the others would be done.
    takes_part = np.concatenate([[True], ready[1:] < ends[:-1]])
    return float(ends[np.flatnonzero(takes_part)[-1]])


def _live(
    inputs: PlanInputs,
    architecture: Architecture,
    curve: DayCurve,
    days: int,
    random: np.random.Generator,
    cap: int | None,
) -> _Live:
    held, ready = _devices(inputs)
    device = inputs.device
    service = BatchService(device.per_image_seconds, device.batch_overhead_seconds, device.max_batch)
    capacity = ready * device.images_per_second.value
    rate = inputs.images_per_day / DAY_SECONDS * curve.rate((np.arange(GRID) + 0.5) / GRID)
    servers = 1 if architecture is Architecture.KAPPA else min(int(ready.min()), MAX_CELL_DEVICES)
    # Every cell sees its devices' share of the rate; when devices come and go, shares change for all.
    cell_rate = rate * servers / ready
    cell_images = float(cell_rate.mean()) * DAY_SECONDS
    cells = max(1, round(inputs.images_per_day / cell_images))
    if cap is None or cap >= cell_images * cells * days:
        sample = _every_arrival(cell_rate, service, servers, cells, days, random)
    else:
        chosen = int(min(cells, max(1.0, cap // cell_images)))
        wait = fluid_backlog(np.tile(rate, days), np.tile(capacity, days), DAY_SECONDS / GRID)
        wait /= np.tile(capacity, days)
        stable = np.minimum(cell_rate, _STABLE * device.images_per_second.value * servers)
        compression = max(1.0, cell_images * chosen / cap)
        sample = _sample(stable, service, servers, chosen, compression, wait, random)
    # Scaled from the simulated images to all: the busy time per image is what was simulated.
    busy = sample.busy_seconds / max(sample.images, 1) * inputs.images_per_day / 3600
    allocated = float(held.mean()) * 24.0
    formula = f"simulated, {sample.images:,} arrivals"
    hours = PoolHours(architecture.parts.live_pool, int(held.max()), allocated, min(busy, allocated), formula)
    return _Live(hours, sample.latencies + inputs.at("online_overhead_seconds"))


@dataclass(frozen=True, slots=True)
class _Sample:
    latencies: Floats
    busy_seconds: float
    images: int


def _every_arrival(
    rate: Floats,
    service: BatchService,
    servers: int,
    cells: int,
    days: int,
    random: np.random.Generator,
) -> _Sample:
    kept: list[Floats] = []
    busy_seconds, images = 0.0, 0
    for _ in range(cells):
        free = np.full(servers, -np.inf)
        for _ in range(days):
            at = _arrivals(rate, DAY_SECONDS, random)
            if at.size == 0:
                continue
            done = serve(at, service, servers, free)
            # What is still in service at midnight delays the next day's first images.
            last = np.sort(done.departures)[-servers:] - DAY_SECONDS
            free = np.concatenate([np.full(servers - last.size, -np.inf), last])
            kept.append((done.departures - at)[:: max(1, at.size * cells // KEPT_PER_DAY)])
            busy_seconds += done.busy_seconds
            images += at.size
    return _Sample(np.concatenate(kept) if kept else np.zeros(1), busy_seconds, images)


def _sample(
    rate: Floats,
    service: BatchService,
    servers: int,
    cells: int,
    compression: float,
    backlog_wait: Floats,
    random: np.random.Generator,
) -> _Sample:
    # Days differ only in the backlog they inherit, so one day is simulated and seen under each day's backlog.
    kept: list[Floats] = []
    busy_seconds, images = 0.0, 0
    by_day = backlog_wait.reshape(-1, GRID)
    by_day = by_day if by_day.any() else by_day[:1]
    for _ in range(cells):
        at = _arrivals(rate, DAY_SECONDS / compression, random)
        done = serve(at, service, servers)
        minute = np.minimum((at * compression * GRID / DAY_SECONDS).astype(np.int64), GRID - 1)
        stride = max(1, at.size * cells // KEPT_PER_DAY)
        kept.append(((done.departures - at) + by_day[:, minute])[:, ::stride].ravel())
        busy_seconds += done.busy_seconds
        images += at.size
    return _Sample(np.concatenate(kept), busy_seconds, images)


def _devices(inputs: PlanInputs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    # Devices held and devices ready, per minute of the day.
    if inputs.pool_policy is PoolPolicy.AUTOSCALED:
        return autoscaled_devices(inputs)
    devices = np.full(GRID, live_devices_needed(inputs, inputs.at("peak_to_mean")), dtype=np.int64)
    return devices, devices


def _arrivals(rate: Floats, day_seconds: float, random: np.random.Generator) -> Floats:
    # Poisson arrivals of a day: a unit-rate process pushed through the inverse of the cumulative rate.
    expected = float(rate.mean()) * day_seconds
    count = math.ceil(expected + 6 * math.sqrt(expected) + 20)
    unit = np.cumsum(random.standard_exponential(count))
    unit = unit[: np.searchsorted(unit, expected)]
    cumulative = np.concatenate([[0.0], np.cumsum(rate)]) * (expected / rate.sum())
    times: Floats = np.interp(unit, cumulative, np.linspace(0.0, day_seconds, rate.size + 1))
    return times


def _nights(
    inputs: PlanInputs, days: int, random: np.random.Generator, band: tuple[float, float] | None
) -> _Nights:
    value = inputs.at("provisioning_seconds")
    low, high = band or (value, value)
    window = inputs.at("nightly_window_hours") * 3600
    spark = nightly_spark(inputs)
    allocated, busy = np.empty(days), np.empty(days)
    table, store = np.empty(days), np.empty(days)
    for day in range(days):
        images = random.poisson(inputs.images_per_day) if days > 1 else inputs.images_per_day
        devices = nightly_devices(inputs, images or 1, window)
        work = images / inputs.device.images_per_second.value
        ready = random.uniform(low, high, devices)
        end = shared_finish_seconds(ready, work)
        allocated[day], busy[day] = devices * end / 3600, work / 3600
        table[day] = spark.wall_seconds + end
        store[day] = table[day]  # the upload is part of the transforms: table and store come at the same time
    pool = PoolHours(
        "nightly",
        nightly_devices(inputs, inputs.images_per_day, window),
        float(allocated.mean()),
        float(busy.mean()),
        f"simulated, {days} nights",
    )
    return _Nights(pool, table, store)


def _until_midnight(curve: DayCurve, random: np.random.Generator, images: int = 4096) -> Floats:
    # Seconds from arrival to the day's midnight, of images at stratified points of the day's arrivals.
    share = (np.arange(images) + random.random(images)) / images
    edges, cumulative = curve.cumulative()
    waits: Floats = (1 - np.interp(share, cumulative, edges)) * DAY_SECONDS
    return waits


def _availability(latencies: Floats) -> Availability:
    median, p95 = np.quantile(latencies, [0.5, 0.95])
    return Availability(float(median), float(p95), float(latencies.mean()), int(latencies.size))
