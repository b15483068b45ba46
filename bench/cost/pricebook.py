"""Price books: TOML files in which every line has a price, a unit, a source and a date.

A price that a book does not have is *missing*, never 0: ``PriceBook.price`` returns a ``MissingPrice``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from signals.errors import ConfigurationError

DEFAULT_BOOK = "aws-us-east-1-2026-07-20"
ON_DEMAND = "on-demand"
UNITS = ("hour", "1000 requests", "GB-month")


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One price. ``devices`` counts accelerators (0 for a machine without any)."""

    price: float  # in the book's currency, per unit
    unit: str
    service: str
    category: str  # a FOCUS ServiceCategory
    source: str
    date: str
    devices: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class PurchaseFactor:
    """What another way to buy costs, as a multiple of on demand. ``applies_to`` names lines."""

    multiplier: float
    applies_to: tuple[str, ...]
    pricing_category: str  # FOCUS: Dynamic (spot) or Committed (reserved)
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Price:
    """A price that was found, after the factor of the way it was bought."""

    unit_price: float
    list_unit_price: float
    unit: str
    line: PriceLine
    pricing_category: str


@dataclass(frozen=True, slots=True)
class MissingPrice:
    """A price that the book lacks; ``name`` says which."""

    name: str
    book: str


@dataclass(frozen=True)
class PriceBook:
    """All prices of one place at one date."""

    name: str
    provider: str
    region: str
    currency: str
    date: str
    lines: Mapping[str, PriceLine]
    factors: Mapping[str, PurchaseFactor]

    @classmethod
    def load(cls, name_or_path: str = DEFAULT_BOOK) -> PriceBook:
        """A book that ships with the project, by name, or a TOML file.

        Raises ConfigurationError for an unknown name, an unknown or absent key, or a price out of range.
        """
        shipped = files("bench.cost") / "prices" / f"{name_or_path}.toml"
        if shipped.is_file():
            return _parse(name_or_path, shipped.read_text())
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigurationError(
                f"no price book {name_or_path!r}: give a TOML file, or one of {', '.join(cls.names())}"
            )
        return _parse(path.stem, path.read_text())

    @staticmethod
    def names() -> list[str]:
        """The books that ship with the project."""
        folder = files("bench.cost") / "prices"
        return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())

    def price(self, line: str, unit: str, purchase: str = ON_DEMAND) -> Price | MissingPrice:
        """The price of ``line`` per ``unit``.

        Missing if the line, or the factor of ``purchase`` for it, is not in the book. Only machines are
        bought as spot or reserved: for other units ``purchase`` is ignored. Raises ConfigurationError if the
        book prices the line in another unit.
        """
        found = self.lines.get(line)
        if found is None:
            return MissingPrice(line, self.name)
        if found.unit != unit:
            raise ConfigurationError(
                f"price book {self.name}: {line} is priced per {found.unit}, expected per {unit}"
            )
        if purchase == ON_DEMAND or unit != "hour":
            return Price(found.price, found.price, unit, found, "Standard")
        factor = self.factors.get(purchase)
        if factor is None or line not in factor.applies_to:
            return MissingPrice(f"{purchase} factor of {line}", self.name)
        return Price(found.price * factor.multiplier, found.price, unit, found, factor.pricing_category)

    def require_purchase(self, *names: str) -> None:
        """Raise ConfigurationError unless the book knows each of these ways to buy."""
        known = [ON_DEMAND, *sorted(self.factors)]
        for name in names:
            if name not in known:
                raise ConfigurationError(
                    f"price book {self.name} has no way to buy {name!r}; it has {', '.join(known)}"
                )

    def require_instance(self, name: str) -> None:
        """Raise ConfigurationError unless the book has a price per hour of this machine."""
        known = sorted(line for line, found in self.lines.items() if found.unit == "hour")
        if name not in known:
            raise ConfigurationError(
                f"price book {self.name} has no machine {name!r}; it has {', '.join(known)}"
            )

    def without(self, line: str) -> PriceBook:
        """A copy that lacks ``line``."""
        return replace(self, lines={name: found for name, found in self.lines.items() if name != line})

    def with_price(self, line: str, price: float) -> PriceBook:
        """A copy in which an existing ``line`` has another price; its source says so."""
        changed = replace(self.lines[line], price=price, source="varied by the caller", date=self.date)
        return replace(self, lines={**self.lines, line: changed})


def _parse(name: str, text: str) -> PriceBook:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"price book {name}: {error}") from error
    head = ("provider", "region", "currency", "date")
    _check_keys(name, "", raw, required=(*head, "lines"), optional=("factors", "note"))
    for table in ("lines", "factors"):
        if not isinstance(raw.get(table, {}), dict):
            raise ConfigurationError(f"price book {name}: {table} is a table")
    lines = {key: _line(name, key, value) for key, value in raw["lines"].items()}
    factors = {key: _factor(name, key, value, lines) for key, value in raw.get("factors", {}).items()}
    return PriceBook(name=name, lines=lines, factors=factors, **{key: str(raw[key]) for key in head})


def _line(book: str, key: str, raw: Mapping[str, Any]) -> PriceLine:
    names = [field.name for field in fields(PriceLine)]
    _check_keys(book, f"lines.{key}.", raw, required=names[:6], optional=names[6:])
    line = PriceLine(**raw)
    if not math.isfinite(line.price) or line.price < 0:
        raise ConfigurationError(f"price book {book}: lines.{key}.price is a number of 0 or more")
    if line.unit not in UNITS:
        raise ConfigurationError(f"price book {book}: lines.{key}.unit is one of {', '.join(UNITS)}")
    if not line.source or not line.date:
        raise ConfigurationError(f"price book {book}: lines.{key} needs a source and a date")
    return line


def _factor(book: str, key: str, raw: Mapping[str, Any], lines: Mapping[str, PriceLine]) -> PurchaseFactor:
    names = [field.name for field in fields(PurchaseFactor)]
    _check_keys(book, f"factors.{key}.", raw, required=names, optional=())
    factor = PurchaseFactor(**{**raw, "applies_to": tuple(raw["applies_to"])})
    if not 0 < factor.multiplier <= 1:
        raise ConfigurationError(f"price book {book}: factors.{key}.multiplier is above 0 and at most 1")
    if unknown := sorted(set(factor.applies_to) - set(lines)):
        raise ConfigurationError(f"price book {book}: factors.{key} applies to {', '.join(unknown)}: no line")
    if not factor.source or not factor.date:
        raise ConfigurationError(f"price book {book}: factors.{key} needs a source and a date")
    return factor


def _check_keys(book: str, prefix: str, raw: object, *, required: Any, optional: Any) -> None:
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"price book {book}: {prefix.rstrip('.')} is a table")
    if absent := [key for key in required if key not in raw]:
        raise ConfigurationError(f"price book {book}: {prefix}{absent[0]} is absent")
    if unknown := sorted(set(raw) - set(required) - set(optional)):
        raise ConfigurationError(f"price book {book}: unknown key {prefix}{unknown[0]}")
