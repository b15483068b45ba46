"""The projection: for each architecture device hours, cost, time to availability, and who is cheapest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from fractions import Fraction

from bench.cost.architectures import Architecture
from bench.cost.break_even import (
    cost_break_even_speeds,
    device_hours_break_even_speed,
    one_instance_speed,
)
from bench.cost.counts import backfill_usages, daily_pools, daily_usages, nightly_spark
from bench.cost.day_curve import DayCurve
from bench.cost.inputs import DAY_SECONDS, PlanInputs
from bench.cost.ledger_cost import CostReport, Total, cost_of
from bench.cost.pools import PoolHours, inference_night_seconds, live_devices_needed, nightly_pool
from bench.cost.simulator import Simulated, simulate

DAYS_PER_YEAR = 365
DEFAULT_SCALES = tuple(10.0**power for power in range(4, 11))


@dataclass(frozen=True)
class ArchitecturePlan:
    """One architecture at the inputs of a plan."""

    architecture: Architecture
    pools: tuple[PoolHours, ...]
    daily: CostReport
    backfill: CostReport
    yearly: Total  # 365 days and the year's model upgrades
    per_million_signals: Total
    simulated: Simulated
    reasons: tuple[str, ...]  # why it doesn't qualify; empty if it does

    @property
    def allocated_hours(self) -> float:
        """Device hours held in a day."""
        return sum(pool.allocated_hours for pool in self.pools)

    @property
    def busy_hours(self) -> float:
        """Device hours inside inference in a day."""
        return sum(pool.busy_hours for pool in self.pools)

    @property
    def qualifies(self) -> bool:
        """Whether it meets the freshness objective and serves the consumers asked for."""
        return not self.reasons


@dataclass(frozen=True)
class Plan:
    """All architectures at one set of inputs."""

    inputs: PlanInputs
    rows: tuple[ArchitecturePlan, ...]
    provisioning_range: dict[Architecture, tuple[Total, Total]]  # cost of a day at the ends of the band
    device_hours_break_even: float  # images/s per device
    one_instance_speed: float  # images/s from which the smallest live pool is enough
    cost_break_even: list[float]  # images/s per device, Kappa against nightly only; empty if there is none

    @property
    def cheapest(self) -> ArchitecturePlan | None:
        """The cheapest that qualifies; None if none does, or if a missing price makes it undecidable."""
        return cheapest(self.rows)

    @property
    def verdict(self) -> str:
        """One sentence."""
        candidates = [row for row in self.rows if row.qualifies]
        if not candidates:
            return "No architecture meets the objective."
        missing = sorted({name for row in candidates for name in row.yearly.missing})
        if missing:
            return (
                f"Undecided: the price book has no price for {', '.join(missing)}; totals are lower bounds."
            )
        best = min(candidates, key=lambda row: row.yearly.amount)
        return f"Cheapest that meets the objective: {best.architecture.parts.label}."


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one input, moved over its band, does to the yearly cost of each architecture."""

    name: str
    unit: str
    low: float
    high: float
    cost_low: dict[Architecture, float]
    cost_high: dict[Architecture, float]
    cheapest_low: Architecture | None
    cheapest_high: Architecture | None

    def swing(self, architecture: Architecture) -> float:
        """Yearly cost between the ends of the band."""
        return abs(self.cost_high[architecture] - self.cost_low[architecture])


def make_plan(inputs: PlanInputs, *, seed: int = 1, days: int = 1) -> Plan:
    """Size, price and simulate all architectures. The same inputs and seed give the same plan."""
    rows = tuple(_architecture(inputs, a, simulate(inputs, a, seed=seed, days=days)) for a in Architecture)
    band = inputs.coefficients.provisioning_seconds.band
    ends = [inputs.with_coefficient("provisioning_seconds", seconds) for seconds in band]
    ranges = {a: (daily_cost(ends[0], a).total(), daily_cost(ends[1], a).total()) for a in Architecture}
    exact = device_hours_break_even_speed(Fraction(inputs.images_per_day))
    return Plan(
        inputs, rows, ranges, float(exact), one_instance_speed(inputs), cost_break_even_speeds(inputs)
    )


def daily_cost(inputs: PlanInputs, architecture: Architecture) -> CostReport:
    """Cost of a day with pools as sized in closed form."""
    return cost_of(daily_usages(inputs, architecture), inputs.book)


def yearly_cost(inputs: PlanInputs, daily: Total) -> Total:
    """365 days, and a backfill of the whole corpus for each model upgrade of the year."""
    upgrades = cost_of(backfill_usages(inputs), inputs.book).total().scaled(inputs.at("upgrades_per_year"))
    missing = set(daily.missing)
    if inputs.at("upgrades_per_year") > 0:
        missing |= set(upgrades.missing)
    return replace(
        daily, amount=daily.amount * DAYS_PER_YEAR + upgrades.amount, missing=tuple(sorted(missing))
    )


def cheapest(rows: Iterable[ArchitecturePlan]) -> ArchitecturePlan | None:
    """The qualifying row with the lowest yearly cost; None where a lower bound stands in the way."""
    candidates = [row for row in rows if row.qualifies]
    if not candidates or any(row.yearly.is_lower_bound for row in candidates):
        return None
    return min(candidates, key=lambda row: row.yearly.amount)


def estimated_p95_seconds(inputs: PlanInputs, architecture: Architecture) -> float:
    """95 % of images are available online within this, without simulating: for maps and sensitivities.

    Live paths: overhead, one full batch, and the exponential tail of an M/D/1 queue at the peak's utilisation
    (infinite at or above 1). Nightly only: from the day's early arrivals to the end of the night.
    """
    if not architecture.parts.live_pool:
        early = DayCurve.of(inputs.at("peak_to_mean")).arrival_quantile(0.05)
        night = nightly_spark(inputs).wall_seconds + inference_night_seconds(nightly_pool(inputs))
        return (1 - early) * DAY_SECONDS + night
    devices = live_devices_needed(inputs, inputs.at("peak_to_mean"))
    speed = inputs.device.images_per_second.value
    rate = inputs.images_per_day / DAY_SECONDS * inputs.at("peak_to_mean")
    utilisation = rate / (devices * speed)
    if utilisation >= 1:
        return math.inf
    tail = max(0.0, math.log(utilisation / 0.05)) / (2 * (1 - utilisation) * speed)
    return inputs.at("online_overhead_seconds") + inputs.device.max_batch / speed + tail


def disqualified(inputs: PlanInputs, architecture: Architecture, p95_seconds: float) -> tuple[str, ...]:
    """Why an architecture with this 95th percentile doesn't qualify."""
    reasons = []
    if p95_seconds > inputs.freshness_seconds:
        reasons.append("too late")
    if inputs.batch_table and not architecture.parts.table:
        reasons.append("no Hive table")
    return tuple(reasons)


def sensitivity(inputs: PlanInputs) -> list[Sensitivity]:
    """One input at a time over its band, the one that moves an architecture's cost most first."""
    rows = []
    for entry in fields(inputs.coefficients):
        figure = getattr(inputs.coefficients, entry.name)
        low, high = figure.band
        if low == high:
            continue
        ends = [inputs.with_coefficient(entry.name, value) for value in (low, high)]
        rows.append(_sensitivity(entry.name, figure.unit, (low, high), ends))
    speed = inputs.device.images_per_second
    low, high = speed.band if speed.low is not None else (speed.value / 2, speed.value * 2)
    ends = [replace(inputs, device=inputs.device.with_speed(value)) for value in (low, high)]
    rows.append(_sensitivity("device speed", speed.unit, (low, high), ends))
    images = (inputs.images_per_day / 2, inputs.images_per_day * 2)
    ends = [replace(inputs, images_per_day=value) for value in images]
    rows.append(_sensitivity("images per day", "images/d", images, ends))
    return sorted(rows, key=lambda row: max(row.swing(a) for a in Architecture), reverse=True)


def _sensitivity(name: str, unit: str, band: tuple[float, float], ends: list[PlanInputs]) -> Sensitivity:
    costs = [{a: yearly_cost(end, daily_cost(end, a).total()).amount for a in Architecture} for end in ends]
    return Sensitivity(name, unit, *band, costs[0], costs[1], _cheapest_of(ends[0]), _cheapest_of(ends[1]))


def _cheapest_of(inputs: PlanInputs) -> Architecture | None:
    totals = {
        a: yearly_cost(inputs, daily_cost(inputs, a).total())
        for a in Architecture
        if not disqualified(inputs, a, estimated_p95_seconds(inputs, a))
    }
    if not totals or any(total.is_lower_bound for total in totals.values()):
        return None
    return min(totals, key=lambda a: totals[a].amount)


def _architecture(inputs: PlanInputs, architecture: Architecture, simulated: Simulated) -> ArchitecturePlan:
    daily = daily_cost(inputs, architecture)
    signals = inputs.images_per_day * inputs.at("signals_per_image")
    per_million = daily.per_million(signals)
    assert per_million is not None, "images and signals are above 0"
    return ArchitecturePlan(
        architecture=architecture,
        pools=tuple(daily_pools(inputs, architecture)),
        daily=daily,
        backfill=cost_of(backfill_usages(inputs), inputs.book),
        yearly=yearly_cost(inputs, daily.total()),
        per_million_signals=per_million,
        simulated=simulated,
        reasons=disqualified(inputs, architecture, simulated.online.p95_seconds),
    )
