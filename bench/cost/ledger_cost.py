"""From resource counts to cost: by service, by stage, idle apart, and honest about missing prices.

Semantics follow OpenCost: an allocated resource costs what it is allocated for, and what nobody used of it is
*idle*, a line of its own. A used machine hour and an idle one have the same price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bench.cost.pricebook import ON_DEMAND, MissingPrice, Price, PriceBook
from bench.cost.provenance import Kind
from signals.errors import ConfigurationError

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of one priced thing was, or will be, taken: ``quantity`` in units of ``unit``."""

    line: str  # name in a price book, e.g. g4dn.xlarge
    unit: str
    quantity: float
    stage: str  # e.g. stream, nightly inference, dump
    kind: Kind
    formula: str  # how the quantity came about
    pool: str = ""  # the device pool it belongs to, if any
    idle: bool = False  # allocated and not used
    purchase: str = ON_DEMAND

    def __post_init__(self) -> None:
        if not self.quantity >= 0:
            raise ConfigurationError(f"{self.stage}: a quantity of {self.line} is 0 or more")


@dataclass(frozen=True, slots=True)
class CostLine:
    """A usage with its price; ``cost`` is None where the price is missing."""

    usage: Usage
    price: Price | MissingPrice

    @property
    def cost(self) -> float | None:
        """In the book's currency."""
        return None if isinstance(self.price, MissingPrice) else self.usage.quantity * self.price.unit_price

    @property
    def kind(self) -> Kind:
        """A price is assumed, so a cost is never *measured*: a counted quantity makes it *projected*."""
        return Kind.ASSUMED if self.usage.kind is Kind.ASSUMED else Kind.PROJECTED

    @property
    def service(self) -> str:
        """The service that bills it; a missing price is its own service."""
        return "price missing" if isinstance(self.price, MissingPrice) else self.price.line.service


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of costs; a lower bound as soon as one price in it is missing."""

    amount: float
    missing: tuple[str, ...]
    kind: Kind

    @property
    def is_lower_bound(self) -> bool:
        """Whether something that was used has no price."""
        return bool(self.missing)

    def scaled(self, factor: float) -> Total:
        """The total times ``factor``; stays a lower bound."""
        return replace(self, amount=self.amount * factor)

    def text(self, currency: str = "USD") -> str:
        """For people: ``>= 12.30 USD (price missing: s3.put)`` where it is a lower bound."""
        number = f"{self.amount:,.2f} {currency}"
        return f">= {number} (price missing: {', '.join(self.missing)})" if self.missing else number


@dataclass(frozen=True)
class CostReport:
    """Cost of everything that one architecture took in a period of ``days``."""

    lines: tuple[CostLine, ...]
    currency: str
    book: str
    days: float = 1.0

    def total(self, keep: Callable[[CostLine], bool] = lambda _: True) -> Total:
        """The sum of the lines for which ``keep`` holds."""
        lines = [line for line in self.lines if keep(line)]
        missing = {
            line.price.name
            for line in lines
            if isinstance(line.price, MissingPrice) and line.usage.quantity > 0
        }
        kinds = {line.kind for line in lines}
        kind = Kind.PROJECTED if Kind.PROJECTED in kinds else Kind.ASSUMED
        return Total(sum(line.cost or 0.0 for line in lines), tuple(sorted(missing)), kind)

    def per_day(self) -> Total:
        """The sum over a day."""
        return self.total().scaled(1 / self.days)

    def per_million(self, signals: float) -> Total | None:
        """Cost of a million available signals, given how many became available in the period; None for 0."""
        return self.total().scaled(1e6 / signals) if signals > 0 else None

    def by_service(self) -> dict[str, Total]:
        """By the service that bills; idle machine time is a line of its own."""
        return self._by(lambda line: IDLE if line.usage.idle else line.service)

    def by_stage(self) -> dict[str, Total]:
        """By stage of the pipeline; idle machine time is a line of its own."""
        return self._by(lambda line: IDLE if line.usage.idle else line.usage.stage)

    def idle(self) -> Total:
        """What was allocated and not used."""
        return self.total(lambda line: line.usage.idle)

    def _by(self, key: Callable[[CostLine], str]) -> dict[str, Total]:
        names = dict.fromkeys(key(line) for line in self.lines)
        return {name: self.total(lambda line, name=name: key(line) == name) for name in names}  # type: ignore[misc]


def cost_of(usages: Iterable[Usage], book: PriceBook, *, days: float = 1.0) -> CostReport:
    """Price every usage. Usages of nothing are dropped."""
    lines = tuple(
        CostLine(usage, book.price(usage.line, usage.unit, usage.purchase))
        for usage in usages
        if usage.quantity > 0
    )
    return CostReport(lines, book.currency, book.name, days)


def machine_usages(
    *,
    line: str,
    allocated_hours: float,
    busy_hours: float,
    stage: str,
    kind: Kind,
    formula: str,
    pool: str = "",
    purchase: str = ON_DEMAND,
) -> list[Usage]:
    """A machine's hours as a used and an idle usage: cost is max(allocated, busy), idle is the difference.

    The same call prices a measured run (``allocated_hours`` and ``busy_hours`` of a device ledger) and a
    projection. For a machine with several devices, both are hours of the machine.
    """
    used = Usage(line, "hour", busy_hours, stage, kind, formula, pool, False, purchase)
    idle_hours = max(allocated_hours - busy_hours, 0.0)
    idle = Usage(line, "hour", idle_hours, stage, kind, formula, pool, True, purchase)
    return [used, idle]
