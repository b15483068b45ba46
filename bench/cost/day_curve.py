"""The shape of a day: a smooth curve with mean 1 and a given peak, trough at midnight, peak at noon.

rate(x) = exp(k * -cos(2 pi x)) / I0(k) has mean 1 for every k, and peak to mean exp(k) / I0(k), so that every
ratio from 1 upwards has one k. A sine can't exceed 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import i0e

from signals.errors import ConfigurationError

GRID = 1440  # points of a day: one a minute
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DayCurve:
    """Relative arrival rate over a day, mean 1."""

    peak_to_mean: float
    concentration: float

    @classmethod
    def of(cls, peak_to_mean: float) -> DayCurve:
        """The curve with this peak. Raises ConfigurationError below 1 or above 1000."""
        return cls(peak_to_mean, _concentration(peak_to_mean))

    def rate(self, at: Floats) -> Floats:
        """Relative rate at day fractions ``at`` (any real number; the curve repeats every day)."""
        # exp(k(-cos - 1)) / i0e(k) is the same as exp(-k cos) / I0(k), without overflow.
        values: Floats = np.exp(-self.concentration * (1 + np.cos(2 * np.pi * at))) / i0e(self.concentration)
        return values

    def cumulative(self) -> tuple[Floats, Floats]:
        """Day fractions (8193,) in [0, 1], and the share of the day's arrivals until each."""
        return _cumulative(self)

    def arrival_quantile(self, share: float) -> float:
        """The day fraction until which ``share`` of the day's images have arrived."""
        edges, cumulative = self.cumulative()
        return float(np.interp(share, cumulative, edges))


@lru_cache(maxsize=64)
def _cumulative(curve: DayCurve) -> tuple[Floats, Floats]:
    edges = np.linspace(0.0, 1.0, 8193)
    share = np.concatenate([[0.0], np.cumsum(curve.rate((edges[:-1] + edges[1:]) / 2))])
    share /= share[-1]
    edges.flags.writeable = share.flags.writeable = False  # shared by all who ask
    return edges, share


@lru_cache(maxsize=256)
def _concentration(peak_to_mean: float) -> float:
    if not 1 <= peak_to_mean <= 1000:
        raise ConfigurationError(f"peak_to_mean = {peak_to_mean}: give a ratio from 1 to 1000")
    if peak_to_mean == 1:
        return 0.0
    return float(brentq(lambda k: 1 / i0e(k) - peak_to_mean, 0.0, 10.0 * peak_to_mean**2, xtol=1e-12))
