"""Result section ``cost``: what a run took, at the prices of the default book, line by line.

Quantities are measured (or projected from what was counted), prices are assumed, so a cost is projected. Each
line has its quantity, its price and its cost, and says which query gave the quantity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.cost.ledger_cost import CostLine
from bench.cost.pricebook import MissingPrice, PriceBook
from bench.cost.provenance import Kind
from bench.cost.run_cost import ArmCost, arm_cost
from signals.errors import ConfigurationError

FIGURES = ("per_day_usd", "idle_per_day_usd", "per_million_signals_usd")
DEVICES, COUNTED = "device_hours", "resources"


def cost_section(content: Mapping[str, Any], book: PriceBook) -> dict[str, Any]:
    """The section of one arm, or of one of its replicates, from its other sections.

    A line without a price has no cost, and every sum that it belongs to is then a lower bound.
    """
    section: dict[str, Any] = {
        "source": str(Kind.PROJECTED),
        "query": COUNTED,
        "price_book": book.name,
        "missing_prices": [],
        "reasons": {},
    }
    try:
        cost = arm_cost(content, book)
    except ConfigurationError as error:
        empty: dict[str, Any] = {**dict.fromkeys(FIGURES), "stages": [], "lines": []}
        return {**section, **empty, "reasons": dict.fromkeys(FIGURES, str(error))}
    per_million = cost.report.per_million(cost.signals) if cost.signals else None
    if per_million is None:
        section["reasons"]["per_million_signals_usd"] = "the Hive table has no signal"
    return {
        **section,
        "missing_prices": list(cost.report.total().missing),
        "per_day_usd": cost.report.per_day().amount,
        "idle_per_day_usd": cost.report.idle().scaled(1 / cost.report.days).amount,
        "per_million_signals_usd": None if per_million is None else per_million.amount,
        "stages": _stages(cost),
        "lines": [_line(line) for line in cost.report.lines],
    }


def _stages(cost: ArmCost) -> list[dict[str, Any]]:
    """By stage, over all days and for a million signals: what was used, and what was held and not used."""
    sums: dict[str, list[float]] = {}
    for line in cost.report.lines:
        of_stage = sums.setdefault(line.usage.stage, [0.0, 0.0])
        of_stage[line.usage.idle] += line.cost or 0.0
    return [
        {
            "stage": stage,
            "used_usd": used,
            "idle_usd": idle,
            "used_per_million_signals_usd": used * 1e6 / cost.signals if cost.signals else None,
            "idle_per_million_signals_usd": idle * 1e6 / cost.signals if cost.signals else None,
        }
        for stage, (used, idle) in sums.items()
    ]


def _line(line: CostLine) -> dict[str, Any]:
    usage, price = line.usage, line.price
    priced: dict[str, Any] = {"source": str(Kind.ASSUMED), "reasons": {}}
    if isinstance(price, MissingPrice):
        priced |= {"unit_price_usd": None, "reasons": {"unit_price_usd": f"no price for {price.name}"}}
    else:
        priced["unit_price_usd"] = price.unit_price
    return {
        "line": usage.line,
        "stage": usage.stage,
        "idle": usage.idle,
        "query": DEVICES if usage.pool else COUNTED,
        "source": str(usage.kind),
        "quantity": usage.quantity,
        "unit": usage.unit,
        "formula": usage.formula,
        "price": priced,
        "cost": {
            "source": str(line.kind),
            "cost_usd": line.cost,
            "reasons": {} if line.cost is not None else {"cost_usd": f"no price for {usage.line}"},
        },
    }
