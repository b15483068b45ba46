"""Does latency grow? The slope of the lag over a window of load, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

SECTIONS = 12  # of a window, each a mean: neighbours of one queue are alike, means of sections hardly
WARM_UP_SECTIONS = 2  # the queue finds its level; not counted
MIN_PER_SECTION = 5
CONFIDENCE = 0.95
TOLERANCE = 0.02  # seconds of lag per second of load: what a rate 2 % above capacity gives

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LagSlope:
    """Seconds of latency gained per second of load, with its interval; None and ``reason`` if unknown."""

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""

    @property
    def sustained(self) -> bool:
        """Whether growth beyond :data:`TOLERANCE` is ruled out. What is not known is not sustained."""
        return self.high is not None and self.high <= TOLERANCE

    @property
    def undecided(self) -> bool:
        """Whether the interval holds both growth and none: a longer window would tell."""
        return self.low is not None and not self.sustained and self.low <= TOLERANCE


def lag_slope(scheduled: Seconds, latency: Seconds, window_seconds: float) -> LagSlope:
    """Least squares through the mean latency of the window's sections, after a warm-up.

    ``scheduled``: seconds from the start of the window. ``latency``: seconds, not finite where an arrival was
    lost. A server that is offered ``1 + x`` times its capacity gains ``x`` seconds of lag per second.
    """
    if not np.isfinite(latency).all():
        return _unknown(f"{int((~np.isfinite(latency)).sum())} arrivals never became available")
    section = np.minimum((scheduled / window_seconds * SECTIONS).astype(int), SECTIONS - 1)
    counts = np.bincount(section, minlength=SECTIONS)[WARM_UP_SECTIONS:]
    if counts.min() < MIN_PER_SECTION:
        return _unknown(f"a section of the window has {counts.min()} arrivals, it needs {MIN_PER_SECTION}")
    kept = range(WARM_UP_SECTIONS, SECTIONS)
    means = [float(latency[section == i].mean()) for i in kept]
    moments = [float(scheduled[section == i].mean()) for i in kept]
    line = stats.linregress(moments, means)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(means) - 2) * line.stderr)
    slope = float(line.slope)
    return LagSlope(slope, slope - half, slope + half)


def _unknown(reason: str) -> LagSlope:
    return LagSlope(None, None, None, reason)
