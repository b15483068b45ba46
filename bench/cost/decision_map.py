"""The cheapest architecture that meets the objective, over images per day and device speed (or price)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from bench.cost.architectures import Architecture
from bench.cost.inputs import PlanInputs
from bench.cost.ledger_cost import Total
from bench.cost.plan import daily_cost, estimated_p95_seconds, yearly_cost
from bench.cost.simulator import simulate
from signals.errors import ConfigurationError

ARCHITECTURES = tuple(Architecture)
NONE_QUALIFIES, UNDECIDED = -1, -2
DEFAULT_TIE = 0.05
_SIMULATED_ARRIVALS = 2_000  # per point: costs hardly depend on them; enough to tell seconds from hours

Floats = npt.NDArray[np.float64]


class MapAxis(StrEnum):
    """What the vertical axis varies."""

    SPEED = "speed"  # images/s per device
    PRICE = "price"  # currency per hour of the instance


@dataclass(frozen=True)
class CostGrid:
    """Every architecture at every point. Arrays are (architectures, len(vertical), len(images))."""

    inputs: PlanInputs
    axis: MapAxis
    images_per_day: Floats
    vertical: Floats
    yearly: Floats
    lower_bound: npt.NDArray[np.bool_]
    p95_seconds: Floats

    def decide(self, freshness_seconds: float, *, batch_table: bool, tie: float = DEFAULT_TIE) -> DecisionMap:
        """Who is cheapest among those that meet this objective."""
        has_table = np.array([a.parts.table for a in ARCHITECTURES])
        qualifies = self.p95_seconds <= freshness_seconds
        if batch_table:
            qualifies &= has_table[:, None, None]
        cost = np.where(qualifies, self.yearly, np.inf)
        order = np.sort(cost, axis=0)
        winner = np.argmin(cost, axis=0).astype(np.int64)
        winner[~qualifies.any(axis=0)] = NONE_QUALIFIES
        undecided = (qualifies & self.lower_bound).any(axis=0)
        winner[undecided] = UNDECIDED
        tied = np.isfinite(order[1]) & (order[1] <= order[0] * (1 + tie)) & ~undecided
        others = np.stack([np.delete(cost, i, axis=0).min(axis=0) for i in range(len(ARCHITECTURES))])
        comparable = np.isfinite(cost) & np.isfinite(others) & ~undecided
        margin = np.full(cost.shape, np.nan)
        margin[comparable] = (others[comparable] - cost[comparable]) / cost[comparable]
        return DecisionMap(winner, tied, margin)


@dataclass(frozen=True)
class DecisionMap:
    """Arrays are (len(vertical), len(images)). A tie: the second best costs at most the tie's share more."""

    winner: npt.NDArray[
        np.int64
    ]  # index into ARCHITECTURES, NONE_QUALIFIES or UNDECIDED (a price is missing)
    tied: npt.NDArray[np.bool_]
    margin: (
        Floats  # (architectures, ...): (cheapest other - own) / own cost; nan where own or all others fail
    )


def compute_grid(
    inputs: PlanInputs,
    images_per_day: Floats,
    vertical: Floats,
    *,
    axis: MapAxis = MapAxis.SPEED,
    simulated: bool = False,
) -> CostGrid:
    """All architectures on a grid, with pools sized in closed form or taken from the simulator."""
    if axis is MapAxis.PRICE and inputs.device.instance not in inputs.book.lines:
        raise ConfigurationError(
            f"a map over prices needs a price of {inputs.device.instance} in {inputs.book.name}"
        )
    evaluate = _simulated if simulated else _closed
    shape = (len(ARCHITECTURES), vertical.size, images_per_day.size)
    yearly, p95_seconds, lower_bound = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.bool_)
    for row, level in enumerate(vertical):
        for column, images in enumerate(images_per_day):
            point = at_point(inputs, axis, float(images), float(level))
            for index, architecture in enumerate(ARCHITECTURES):
                total, p95 = evaluate(point, architecture)
                at = (index, row, column)
                yearly[at], p95_seconds[at], lower_bound[at] = total.amount, p95, total.is_lower_bound
    return CostGrid(inputs, axis, images_per_day, vertical, yearly, lower_bound, p95_seconds)


def at_point(inputs: PlanInputs, axis: MapAxis, images_per_day: float, level: float) -> PlanInputs:
    """The inputs at a point of the map."""
    moved = replace(inputs, images_per_day=images_per_day)
    if axis is MapAxis.SPEED:
        return replace(moved, device=inputs.device.with_speed(level))
    return replace(moved, book=inputs.book.with_price(inputs.device.instance, level))


def _closed(inputs: PlanInputs, architecture: Architecture) -> tuple[Total, float]:
    total = yearly_cost(inputs, daily_cost(inputs, architecture).total())
    return total, estimated_p95_seconds(inputs, architecture)


def _simulated(inputs: PlanInputs, architecture: Architecture) -> tuple[Total, float]:
    band = inputs.coefficients.provisioning_seconds.band
    run = simulate(inputs, architecture, days=2, cap=_SIMULATED_ARRIVALS, provisioning=band)
    return yearly_cost(inputs, run.cost(inputs).total()), run.online.p95_seconds
