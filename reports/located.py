"""Values of ``result.json`` that know where they stand in it, so that every number on the page can say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Located:
    """A value with its JSON Pointer (RFC 6901). Indexing gives the values inside it, located too."""

    value: Any
    pointer: str = ""

    def __getitem__(self, key: str | int) -> Located:
        token = str(key).replace("~", "~0").replace("/", "~1")
        return Located(self.value[key], f"{self.pointer}/{token}")

    def get(self, key: str) -> Located:
        """The value of a key, or one that holds None where the object has no such key."""
        return self[key] if key in self.value else Located(None)

    def __contains__(self, key: object) -> bool:
        return key in self.value

    def __iter__(self) -> Iterator[Any]:
        """Located elements of a list, keys of an object."""
        if isinstance(self.value, list):
            return (self[i] for i in range(len(self.value)))
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a result. ``value`` is None where it could not be measured; ``reason`` then says why."""

    pointer: str
    value: float | None
    unit: str
    tag: str  # measured, projected or assumed
    query: str  # of bench/sql, or "" where it comes from Parquet files beside the ledger
    reason: str


NOT_FIGURES = frozenset(("source", "query", "reasons", "schema_version"))
DRAWN = frozenset(("charts", "lives"))  # stand in the result for what the page draws of them
UNITS = {
    "_seconds": "s",
    "_hours": "h",
    "_per_second": "1/s",
    "_per_busy_second": "1/s",
    "_share": "share",
    "_bytes": "B",
}


def figures(node: Located, tag: str = "", query: str = "", reason: str = "") -> Iterator[Figure]:
    """All numbers below ``node`` but the points of drawings, in order, each with the tag and the query of the
    section that holds it."""
    value = node.value
    if isinstance(value, dict):
        tag, query = str(value.get("source", tag)), str(value.get("query", query))
        why = value.get("reasons") or {}
        for key in value:
            if key not in NOT_FIGURES | DRAWN:
                yield from figures(node[key], tag, query, str(why.get(key, "")))
    elif isinstance(value, list):
        for element in node:
            yield from figures(element, tag, query)
    elif (isinstance(value, int | float) and not isinstance(value, bool)) or (value is None and reason):
        name = node.pointer.rpartition("/")[2]
        unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
        yield Figure(node.pointer, value, unit, tag, query, reason)
