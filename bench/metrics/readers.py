"""How a metric is read from a section of ``result.json``: ``where`` says the place, ``read`` takes the value.

``content`` is the content of one arm or, for metrics of the run as a whole, the result itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Value = float | int | None
NOT_RECORDED = "not recorded in this result"


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, or None with the reason. ``names`` fill the placeholders of the metric's name."""

    value: Value
    reason: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)


class Reader(Protocol):
    """Reads the instances of one family of metrics."""

    @property
    def where(self) -> str:
        """The place, for people."""

    def read(self, content: Mapping[str, Any]) -> Iterator[Reading]:
        """Every instance that ``content`` has; a figure that is missing is a reading without a value."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at a dotted path. The reason of a null stands in ``reasons`` beside it."""

    where: str

    def read(self, content: Mapping[str, Any]) -> Iterator[Reading]:
        """Exactly one reading."""
        section: Any = content
        *path, name = self.where.split(".")
        for key in path:
            section = section.get(key) if isinstance(section, Mapping) else None
        if not isinstance(section, Mapping):
            yield Reading(None, NOT_RECORDED)
            return
        reasons = section.get("reasons") or {}
        yield _reading(section.get(name), reasons.get(name) or section.get("reason"))


@dataclass(frozen=True, slots=True)
class Pools:
    """A column of the device pools, summed over the devices of each pool."""

    column: str
    is_per_day: bool = True

    @property
    def where(self) -> str:
        """The place, for people."""
        return f"device_hours.pools[pool={{pool}}].{self.column}{' / days' if self.is_per_day else ''}"

    def read(self, content: Mapping[str, Any]) -> Iterator[Reading]:
        """One reading per pool."""
        pools = content["device_hours"]["pools"]
        for name in dict.fromkeys(pool["pool"] for pool in pools):
            of_name = [pool for pool in pools if pool["pool"] == name]
            yield _sum_of_pools(of_name, self.column, self.is_per_day, {"pool": name})


@dataclass(frozen=True, slots=True)
class AllPools:
    """A column of the device pools, summed over all pools, or over those that are booked in ``unit``."""

    column: str
    unit: str | None = None

    @property
    def where(self) -> str:
        """The place, for people."""
        which = f"unit={self.unit}" if self.unit else "*"
        return f"device_hours.pools[{which}].{self.column} / days"

    def read(self, content: Mapping[str, Any]) -> Iterator[Reading]:
        """Exactly one reading: no pool of that unit is no zero, it was not measured."""
        pools = [p for p in content["device_hours"]["pools"] if self.unit in (None, p["unit"])]
        if pools:
            yield _sum_of_pools(pools, self.column, is_per_day=True, names={})
        else:
            held = f"no device is booked in {self.unit}" if self.unit else "no device session was recorded"
            yield Reading(None, held)


@dataclass(frozen=True, slots=True)
class Rows:
    """A column of a table, one metric per value of ``keys``; the median where a key has several rows.

    ``only`` is a (column, value) that rows must have.
    """

    section: str
    column: str
    keys: tuple[str, ...]
    only: tuple[str, str] | None = None

    @property
    def where(self) -> str:
        """The place, for people."""
        fixed = [f"{self.only[0]}={self.only[1]}"] if self.only else []
        keys = ", ".join([*(f"{key}={{{key}}}" for key in self.keys), *fixed])
        return f"{self.section}.rows[{keys}].{self.column}"

    def read(self, content: Mapping[str, Any]) -> Iterator[Reading]:
        """One reading per key."""
        values: dict[tuple[str, ...], list[float]] = {}
        for row in (content.get(self.section) or {}).get("rows", []):
            if self.only and row[self.only[0]] != self.only[1]:
                continue
            found = values.setdefault(tuple(str(row[key]) for key in self.keys), [])
            if row[self.column] is not None:
                found.append(row[self.column])
        for key, of_key in values.items():
            names = dict(zip(self.keys, key, strict=True))
            yield (
                Reading(statistics.median(of_key), None, names)
                if of_key
                else Reading(None, NOT_RECORDED, names)
            )


@dataclass(frozen=True, slots=True)
class Pairs:
    """A figure over the pairs of arms that were compared, by ``how``: ``sum``, ``min`` or ``all``."""

    column: str
    how: str

    @property
    def where(self) -> str:
        """The place, for people."""
        return f"{self.how}(agreement.pairs[*].{self.column})"

    def read(self, content: Mapping[str, Any]) -> Iterator[Reading]:
        """Exactly one reading."""
        agreement = content["agreement"]
        values = [pair[self.column] for pair in agreement["pairs"]]
        if agreement["agrees"] is None or not values or None in values:
            yield Reading(None, agreement["reason"] or "nothing was compared")
        elif self.how == "all":
            yield Reading(int(all(values)))
        else:
            yield Reading(sum(values) if self.how == "sum" else min(values))


def _sum_of_pools(
    pools: list[Mapping[str, Any]], column: str, is_per_day: bool, names: Mapping[str, str]
) -> Reading:
    values = [pool[column] for pool in pools]
    if None in values:
        reasons = (pool["reasons"].get(column) for pool in pools)
        return Reading(None, next(filter(None, reasons), NOT_RECORDED), names)
    days = [max(pool["days"] or 1, 1) if is_per_day else 1 for pool in pools]
    return Reading(
        sum(value / n if n > 1 else value for value, n in zip(values, days, strict=True)), None, names
    )


def _reading(value: Any, reason: str | None) -> Reading:
    if value is None:
        return Reading(None, reason or NOT_RECORDED)
    return Reading(int(value) if isinstance(value, bool) else value)
