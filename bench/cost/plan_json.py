"""A plan as a JSON document: every figure with its unit in the name and its kind beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from bench.cost.ledger_cost import CostReport, Total
from bench.cost.plan import ArchitecturePlan, Plan, Sensitivity
from bench.cost.simulator import Availability

SCHEMA_VERSION = 1


def plan_document(plan: Plan, swings: Sequence[Sensitivity], scales: Sequence[Plan] = ()) -> dict[str, Any]:
    """The whole plan; ``scales`` are plans of the same inputs at other numbers of images."""
    best = plan.cheapest
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": plan.verdict,
        "cheapest": None if best is None else str(best.architecture),
        "inputs": _inputs(plan),
        "architectures": {str(row.architecture): _row(row) for row in plan.rows},
        "cost_per_day_over_provisioning_band": {
            str(a): {"low": total_document(low), "high": total_document(high)}
            for a, (low, high) in plan.provisioning_range.items()
        },
        "break_even_images_per_second": {
            "device_hours_one_always_on_device": plan.device_hours_break_even,
            "smallest_live_pool_carries_peak": plan.one_instance_speed,
            "cost_kappa_equals_nightly_only": plan.cost_break_even,
        },
        "sensitivity_yearly_cost": [_swing(row) for row in swings],
        "scales": [
            {
                "images_per_day": other.inputs.images_per_day,
                "cheapest": None if other.cheapest is None else str(other.cheapest.architecture),
                "architectures": {str(row.architecture): _row(row) for row in other.rows},
            }
            for other in scales
        ],
    }


def _inputs(plan: Plan) -> dict[str, Any]:
    inputs = plan.inputs
    return {
        "images_per_day": inputs.images_per_day,
        "freshness_p95_seconds": inputs.freshness_seconds,
        "table_required": inputs.batch_table,
        "pool_policy": str(inputs.pool_policy),
        "min_devices": inputs.min_devices,
        "purchase": {"live": inputs.online_purchase, "nightly": inputs.nightly_purchase},
        "device": {**asdict(inputs.device), "per_image_seconds": inputs.device.per_image_seconds},
        "price_book": {"name": inputs.book.name, "date": inputs.book.date, "currency": inputs.book.currency},
        "coefficients": {
            f.name: asdict(getattr(inputs.coefficients, f.name)) for f in fields(inputs.coefficients)
        },
    }


def _row(row: ArchitecturePlan) -> dict[str, Any]:
    simulated = row.simulated
    return {
        "qualifies": row.qualifies,
        "reasons": list(row.reasons),
        "device_hours_per_day": {
            pool.pool: {
                "devices": pool.devices,
                "allocated": pool.allocated_hours,
                "busy": pool.busy_hours,
                "idle": pool.idle_hours,
                "formula": pool.formula,
            }
            for pool in row.pools
        },
        "cost_per_day": report_document(row.daily),
        "cost_per_million_signals": total_document(row.per_million_signals),
        "cost_per_backfill": report_document(row.backfill),
        "cost_per_year": total_document(row.yearly),
        "simulated": {
            "device_hours_per_day": {p.pool: asdict(p) for p in simulated.pools.values()},
            "online": _availability(simulated.online),
            "table": None if simulated.table is None else _availability(simulated.table),
        },
    }


def report_document(report: CostReport) -> dict[str, Any]:
    """A cost report: total, idle, by service, by stage."""
    return {
        "total": total_document(report.total()),
        "idle": total_document(report.idle()),
        "by_service": {name: total_document(total) for name, total in report.by_service().items()},
        "by_stage": {name: total_document(total) for name, total in report.by_stage().items()},
    }


def total_document(total: Total) -> dict[str, Any]:
    """A sum with its kind, and which prices it lacks."""
    return {
        "amount": total.amount,
        "is_lower_bound": total.is_lower_bound,
        "missing_prices": list(total.missing),
        "kind": str(total.kind),
    }


def _availability(availability: Availability) -> dict[str, Any]:
    return asdict(availability)


def _swing(row: Sensitivity) -> dict[str, Any]:
    return {
        "input": row.name,
        "unit": row.unit,
        "low": row.low,
        "high": row.high,
        "cost_at_low": {str(a): cost for a, cost in row.cost_low.items()},
        "cost_at_high": {str(a): cost for a, cost in row.cost_high.items()},
        "cheapest_at_low": None if row.cheapest_low is None else str(row.cheapest_low),
        "cheapest_at_high": None if row.cheapest_high is None else str(row.cheapest_high),
    }
