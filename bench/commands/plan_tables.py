"""A plan as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.cost.architectures import Architecture
from bench.cost.ledger_cost import Total
from bench.cost.plan import ArchitecturePlan, Plan, Sensitivity
from bench.durations import duration_text
from bench.figures_table import figures_table

SHOWN_SWINGS = 10


def plan_report(plan: Plan, swings: Sequence[Sensitivity]) -> RenderableType:
    """Verdict, comparison, cost by stage, break-even, sensitivity, and every input with its source."""
    return Group(
        Text(plan.verdict, style="bold"),
        Text(""),
        _comparison(plan),
        Text(""),
        _stages(plan),
        Text(""),
        *_break_even(plan),
        Text(""),
        _swings(plan, swings),
        Text(""),
        _inputs(plan),
        *(Text(line, style="yellow") for line in _missing(plan)),
    )


def scales_table(plans: Sequence[Plan]) -> RenderableType:
    """The same inputs at other scales: cost of a day by architecture."""
    table = figures_table(
        *("images/day", "cheapest that qualifies", *(a.parts.label for a in Architecture)),
        texts=("cheapest that qualifies",),
    )
    for plan in plans:
        best = plan.cheapest
        cells = [_money(row.daily.total()) for row in plan.rows]
        label = best.architecture.parts.label if best else "undecided" if _missing(plan) else "none"
        table.add_row(f"{plan.inputs.images_per_day:,.0f}", label, *cells)
    currency = plans[0].inputs.book.currency
    return Group(
        Text(f"\nOther scales: {currency} a day (yearly upgrades decide with, but are not shown)"), table
    )


def _comparison(plan: Plan) -> Table:
    rows = plan.rows
    currency = plan.inputs.book.currency
    table = figures_table("a day", *(row.architecture.parts.label for row in rows))
    table.add_row("meets the objective", *("yes" if r.qualifies else ", ".join(r.reasons) for r in rows))
    table.add_row("devices (most at once)", *(_devices(row) for row in rows))
    table.add_row("device hours held", *(f"{row.allocated_hours:,.1f}" for row in rows))
    table.add_row("device hours used", *(f"{row.busy_hours:,.1f}" for row in rows))
    table.add_row("device hours idle", *(f"{row.allocated_hours - row.busy_hours:,.1f}" for row in rows))
    table.add_row(f"cost, {currency}", *(_money(row.daily.total()) for row in rows))
    table.add_row(
        "  over the provisioning band",
        *(f"{_money(low)} .. {_money(high)}" for low, high in plan.provisioning_range.values()),
    )
    table.add_row("  of it idle", *(_money(row.daily.idle()) for row in rows))
    table.add_row(f"{currency} per million signals", *(_money(row.per_million_signals) for row in rows))
    table.add_row(f"a year with upgrades, {currency}", *(_money(row.yearly) for row in rows))
    table.add_row("online: median", *(duration_text(row.simulated.online.median_seconds) for row in rows))
    table.add_row("online: p95", *(duration_text(row.simulated.online.p95_seconds) for row in rows))
    table.add_row(
        "table: p95",
        *(duration_text(t.p95_seconds) if (t := row.simulated.table) else "never" for row in rows),
    )
    table.add_row("kind of these figures", *(str(row.daily.total().kind) for row in rows))
    return table


def _stages(plan: Plan) -> Table:
    by_row = [row.daily.by_stage() for row in plan.rows]
    stages = dict.fromkeys(stage for stages in by_row for stage in stages)
    table = figures_table(
        f"{plan.inputs.book.currency} a day by stage", *(r.architecture.parts.label for r in plan.rows)
    )
    for stage in stages:
        table.add_row(stage, *(_money(costs[stage]) if stage in costs else "" for costs in by_row))
    return table


def _break_even(plan: Plan) -> list[Text]:
    speed = plan.inputs.device.images_per_second.value
    lines = [
        f"Break-even: one always-on device equals the batch's device hours at "
        f"{plan.device_hours_break_even:.4f} images/s (yours: {speed:g}; faster ones idle in the stream).",
        f"From {plan.one_instance_speed:,.1f} images/s on, the smallest live pool carries the peak.",
    ]
    if plan.cost_break_even:
        speeds = ", ".join(f"{value:,.1f}" for value in plan.cost_break_even)
        lines.append(f"Kappa and Lambda nightly only cost the same at {speeds} images/s per device.")
    else:
        lines.append(
            "Kappa and Lambda nightly only cost the same at no device speed (always-on, 64 instances)."
        )
    return [Text(line) for line in lines]


def _swings(plan: Plan, swings: Sequence[Sensitivity]) -> Table:
    labels = [a.parts.label for a in Architecture]
    first, flip = f"input moved alone: swing of {plan.inputs.book.currency} a year", "cheapest low > high"
    table = figures_table(first, "low", "high", *labels, flip, texts=(flip,))
    for row in swings[:SHOWN_SWINGS]:
        ends = [a.parts.label if a else "none" for a in (row.cheapest_low, row.cheapest_high)]
        cheapest = ends[0] if ends[0] == ends[1] else f"{ends[0]} > {ends[1]}"
        cells = [f"{row.swing(a):,.0f}" for a in Architecture]
        table.add_row(f"{row.name} ({row.unit})", f"{row.low:g}", f"{row.high:g}", *cells, cheapest)
    return table


def _inputs(plan: Plan) -> Table:
    inputs = plan.inputs
    table = figures_table("input", "value", "kind", "source", texts=("kind", "source"))
    speed = inputs.device.images_per_second
    table.add_row("images per day", f"{inputs.images_per_day:,.0f}", "assumed", "your parameter")
    table.add_row(
        f"speed of {inputs.device.name}", f"{speed.value:g} images/s", str(speed.kind), speed.source
    )
    table.add_row("price book", inputs.book.name, "assumed", f"{inputs.book.provider} {inputs.book.region}")
    for entry in fields(inputs.coefficients):
        figure = getattr(inputs.coefficients, entry.name)
        table.add_row(entry.name, f"{figure.value:g} {figure.unit}", str(figure.kind), figure.source)
    return table


def _missing(plan: Plan) -> list[str]:
    names = sorted({name for row in plan.rows for name in row.yearly.missing})
    book = plan.inputs.book.name
    return [f"price missing in {book}: {name}; totals marked >= are lower bounds" for name in names]


def _devices(row: ArchitecturePlan) -> str:
    return ", ".join(f"{pool.devices} {pool.pool}" for pool in row.pools)


def _money(total: Total) -> str:
    bound = ">= " if total.is_lower_bound else ""
    return f"{bound}{total.amount:,.2f}" if total.amount < 10_000 else f"{bound}{total.amount:,.0f}"
