"""Is a longer day what the fitted parts predict?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.calibration.days import FULL_DAY_SECONDS, Day, Quantity
from bench.calibration.fit import CONFIDENCE, Estimate, Fit
from signals.errors import ConfigurationError

TIMES_LONGER = 4.0
WITHIN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Check:
    """Predicted against measured, for one quantity of one held-out day."""

    quantity: Quantity
    predicted: Estimate
    measured: float

    @property
    def error_share(self) -> float:
        """Relative error of the prediction."""
        return (self.predicted.value - self.measured) / self.measured if self.measured else 0.0

    @property
    def verdict(self) -> str:
        """``within 10%``; ``interval``: further off, but covered by the interval; ``MISSED``."""
        if abs(self.error_share) <= WITHIN_SHARE:
            return f"within {WITHIN_SHARE:.0%}"
        return "interval" if self.predicted.covers(self.measured) else "MISSED"

    @property
    def ok(self) -> bool:
        """Within the share, or covered."""
        return self.verdict != "MISSED"


def check_held_out(
    fits: Mapping[Quantity, Fit], fitted: Iterable[Day], held_out: Iterable[Day]
) -> list[Check]:
    """Predict every quantity of the held-out days from their number of images.

    The intervals hold for all of them together: each is as wide as it takes for a right model to miss none
    with a probability of :data:`CONFIDENCE` (Bonferroni's bound). Of 41 intervals at 95 % each, two would
    miss by chance.

    Raises ConfigurationError unless each is at least four times longer than any day that was fitted on.
    """
    longest = max(day.day_seconds for day in fitted)
    predictable = [(day, fit) for day in held_out if (fit := fits.get(day.quantity)) is not None]
    confidence = 1 - (1 - CONFIDENCE) / max(len(predictable), 1)
    checks = []
    for day, fit in predictable:
        if day.day_seconds < TIMES_LONGER * longest:
            raise ConfigurationError(
                f"a day of {day.day_seconds:g} s is not {TIMES_LONGER:g} times longer than one of "
                f"{longest:g} s that was fitted on: it would prove little"
            )
        predicted = fit.predict(day.images, confidence).shifted(day.known_seconds)
        checks.append(Check(day.quantity, predicted, day.measured))
    return sorted(checks, key=lambda check: check.quantity)


@dataclass(frozen=True, slots=True)
class Projection:
    """One quantity of a full day, with the formula that it comes from."""

    quantity: Quantity
    images: float
    seconds: Estimate
    formula: str


def project_full_day(fits: Mapping[Quantity, Fit], fitted: Iterable[Day]) -> list[Projection]:
    """Seconds of a day of 86,400 s at the rate of the days that were fitted on.

    A consumer's median of batch availability is given without the wait for midnight.
    """
    rates: dict[Quantity, list[float]] = {}
    for day in fitted:
        rates.setdefault(day.quantity, []).append(day.images / day.day_seconds)
    projections = []
    for quantity, fit in sorted(fits.items()):
        images = FULL_DAY_SECONDS * sum(rates[quantity]) / len(rates[quantity])
        fixed, per_image = fit.coefficients
        formula = f"{fixed:.4g} s" + (
            f" + {per_image:.4g} s x {images:,.0f} images" if quantity.grows else ""
        )
        projections.append(Projection(quantity, images, fit.predict(images), formula))
    return projections
