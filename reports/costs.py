"""What the run would have cost, by arm and stage, for the bars of the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.cost.pricebook import DEFAULT_BOOK, PriceBook
from bench.cost.run_cost import run_costs
from signals.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage of one arm, over the whole run; ``idle`` is the part that paid for unused devices."""

    arm: str
    stage: str
    used: float
    idle: float


@dataclass(frozen=True, slots=True)
class RunCost:
    """All stages at the prices of ``book``, in ``currency``, or ``reason`` why there is no cost."""

    book: str
    currency: str
    stages: tuple[StageCost, ...]
    missing: tuple[str, ...]  # lines without a price: the cost is a lower bound
    reason: str = ""


def cost_by_stage(result: Mapping[str, Any]) -> RunCost:
    """Quantities are measured and prices assumed: the cost is projected."""
    book = PriceBook.load(DEFAULT_BOOK)
    try:
        found = run_costs(result, book)
    except ConfigurationError as error:
        return RunCost(book.name, book.currency, (), (), str(error))
    stages = []
    missing: set[str] = set()
    for arm, of in found.items():
        amounts: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for line in of.report.lines:
            if line.cost is None:
                missing.add(line.usage.line)
            else:
                amounts[line.usage.stage][bool(line.usage.idle)] += line.cost
        stages += [StageCost(arm, stage, used, idle) for stage, (used, idle) in amounts.items()]
    return RunCost(book.name, book.currency, tuple(stages), tuple(sorted(missing)))
