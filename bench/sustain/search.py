"""Doubles the rate until the arm no longer sustains it, then bisects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.sustain.lag import LagSlope

LONGER = 2.0  # times the window, once, where the slope is undecided


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate that was tried for one window."""

    rate_per_second: float
    window_seconds: float
    slope: LagSlope
    p50_seconds: float | None = None
    run: str = ""  # its folder

    @property
    def verdict(self) -> str:
        """``sustained``, ``grows``, ``undecided`` or ``unmeasured``; only the first counts as sustained."""
        if self.slope.sustained:
            return "sustained"
        if self.slope.value is None:
            return "unmeasured"
        return "undecided" if self.slope.undecided else "grows"


@dataclass(slots=True)
class Search:
    """All probes. ``sustained``: the highest rate that was; ``unsustained``: the lowest that was not."""

    probes: list[Probe] = field(default_factory=list)

    @property
    def sustained(self) -> float | None:
        """Images per second, None if no rate was sustained."""
        limit = self.unsustained or float("inf")
        rates = [p.rate_per_second for p in self.probes if p.slope.sustained and p.rate_per_second < limit]
        return max(rates, default=None)

    @property
    def unsustained(self) -> float | None:
        """Images per second, None if every rate was sustained: the limit lies above what was tried."""
        last = {probe.rate_per_second: probe for probe in self.probes}  # the longer window has the word
        return min((rate for rate, probe in last.items() if not probe.slope.sustained), default=None)


def search(
    probe: Callable[[float, float], Probe],
    *,
    start_rate: float,
    lowest_rate: float,
    highest_rate: float,
    window_seconds: float,
    precision: float,
) -> Search:
    """Find the highest rate that ``probe(rate, window_seconds)`` sustains, to a share of ``precision``.

    Starts at ``start_rate``; halves down to ``lowest_rate`` or doubles up to ``highest_rate`` until it has a
    rate that is sustained and one that is not, then bisects. A slope that is undecided is measured once more
    over a longer window; if it still is, the rate counts as not sustained.
    """
    found = Search()

    def is_sustained(rate: float) -> bool:
        found.probes.append(probe(rate, window_seconds))
        if found.probes[-1].slope.undecided:
            found.probes.append(probe(rate, LONGER * window_seconds))
        return found.probes[-1].slope.sustained

    low = high = start_rate
    if is_sustained(start_rate):
        while low < highest_rate:
            high = min(2 * low, highest_rate)
            if not is_sustained(high):
                break
            low = high
        else:
            return found
    else:
        while True:
            if high <= lowest_rate:
                return found
            low = max(high / 2, lowest_rate)
            if is_sustained(low):
                break
            high = low
    while high - low > precision * low:
        middle = (low + high) / 2
        if is_sustained(middle):
            low = middle
        else:
            high = middle
    return found
