"""Where a figure comes from. No figure about cost or capacity travels without it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a figure came about."""

    MEASURED = "measured"  # counted or timed in a run
    PROJECTED = "projected"  # computed from at least one measurement, with a formula
    ASSUMED = "assumed"  # a price book, a publication or a user's parameter; nothing here was measured


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its unit, its kind and its source (or formula). The band is low <= value <= high."""

    value: float
    unit: str
    kind: Kind
    source: str
    low: float | None = None
    high: float | None = None

    @property
    def band(self) -> tuple[float, float]:
        """The range to sweep; the value itself where no band is known."""
        return (
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )


def derived(kinds: Iterable[Kind]) -> Kind:
    """The kind of a figure computed from others: projected as soon as one of them was measured.

    Raises ValueError for no inputs.
    """
    found = set(kinds)
    if not found:
        raise ValueError("a derived figure needs inputs")
    return Kind.ASSUMED if found == {Kind.ASSUMED} else Kind.PROJECTED
