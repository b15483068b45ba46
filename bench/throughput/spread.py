"""Several measurements of one figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, extremes and number of rounds."""

    median: float
    smallest: float
    largest: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None where there is no value."""
        found = list(values)
        if not found:
            return None
        return cls(statistics.median(found), min(found), max(found), len(found))

    def shown(self, digits: int) -> str:
        """The median, and the extremes where there are several rounds."""
        middle = f"{self.median:.{digits}f}"
        if self.rounds == 1:
            return middle
        return f"{middle} ({self.smallest:.{digits}f}-{self.largest:.{digits}f})"
