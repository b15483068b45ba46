"""Least squares for ``seconds = fixed + per_image * images``, with Student's intervals.

Neither part can be negative: a day without images takes no less than nothing, and an image saves no time.
The value is the best line among those (Lawson and Hanson, Solving Least Squares Problems, chapter 23).
Intervals are those of the free line, cut off at 0, which covers the truth as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from signals.errors import ConfigurationError

CONFIDENCE = 0.95
MIN_SIZES = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval at :data:`CONFIDENCE`."""

    value: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies in the interval."""
        return self.low <= value <= self.high

    def shifted(self, by: float) -> Estimate:
        """The estimate of the sum with a known number."""
        return Estimate(self.value + by, self.low + by, self.high + by)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted line (or constant) and what is needed to predict with it.

    ``free``: the coefficients if they might be negative, which intervals lie around. ``covariance``: of these
    two, (fixed, per image). ``noise``: variance of one day's seconds, per image where ``sums`` over images
    were fitted.
    """

    coefficients: tuple[float, float]
    free: tuple[float, float]
    covariance: npt.NDArray[np.float64]
    noise: float
    degrees: int
    sums: bool

    @property
    def fixed(self) -> Estimate:
        """Seconds that a day takes however many images it has."""
        return self._estimate(np.array([1.0, 0.0]), 0.0)

    @property
    def per_image(self) -> Estimate:
        """Seconds that each image adds."""
        return self._estimate(np.array([0.0, 1.0]), 0.0)

    def predict(self, images: float, confidence: float = CONFIDENCE) -> Estimate:
        """Seconds of one further day with ``images``: a prediction interval, so its own noise is included."""
        at = np.array([1.0, images])
        return self._estimate(at, self.noise * (images if self.sums else 1.0), confidence)

    def _estimate(
        self, at: npt.NDArray[np.float64], noise: float, confidence: float = CONFIDENCE
    ) -> Estimate:
        value, middle = float(at @ np.array(self.coefficients)), float(at @ np.array(self.free))
        t = float(stats.t.ppf((1 + confidence) / 2, self.degrees))
        half = t * float(np.sqrt(at @ self.covariance @ at + noise))
        low, high = max(0.0, middle - half), max(0.0, middle + half)
        return Estimate(value, min(low, value), max(high, value))


def fit_line(images: Sequence[float], seconds: Sequence[float], *, sums: bool) -> Fit:
    """Fit a line through days of at least three sizes.

    ``sums``: each value is a sum over images, so its variance grows with their number and the weights are its
    inverse; otherwise all days weigh the same. Source: Draper and Smith, Applied Regression Analysis,
    chapters 1 and 9. Raises ConfigurationError for fewer than three sizes.
    """
    n, y = np.asarray(images, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if len(np.unique(n)) < MIN_SIZES:
        raise ConfigurationError(f"a line with an interval needs days of at least {MIN_SIZES} sizes")
    return _solve(np.column_stack([np.ones_like(n), n]), y, n, sums=sums)


def fit_constant(images: Sequence[float], seconds: Sequence[float]) -> Fit:
    """For what does not grow with the day: a per-image part of exactly 0. Needs two days."""
    n, y = np.asarray(images, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if len(n) < 2:
        raise ConfigurationError("a mean with an interval needs at least two days")
    return _solve(np.ones((len(n), 1)), y, n, sums=False)


def _solve(
    design: npt.NDArray[np.float64], y: npt.NDArray[np.float64], n: npt.NDArray[np.float64], *, sums: bool
) -> Fit:
    root = 1 / np.sqrt(n) if sums else np.ones_like(n)
    weighted = design * root[:, None]
    found, *_ = np.linalg.lstsq(weighted, y * root, rcond=None)
    allowed, _ = optimize.nnls(weighted, y * root)
    residuals = y * root - weighted @ found
    degrees = len(y) - design.shape[1]
    noise = float(residuals @ residuals / degrees)
    covariance = np.zeros((2, 2))
    size = design.shape[1]
    covariance[:size, :size] = noise * np.linalg.inv(weighted.T @ weighted)
    return Fit(_pair(allowed), _pair(found), covariance, noise, degrees, sums)


def _pair(coefficients: npt.NDArray[np.floating]) -> tuple[float, float]:
    fixed, per_image = (*coefficients.tolist(), 0.0)[:2]
    return fixed, per_image
