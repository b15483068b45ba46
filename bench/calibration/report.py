"""A calibration as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.calibration.days import Quantity
from bench.calibration.fit import CONFIDENCE, Estimate, Fit
from bench.calibration.held_out import Check, Projection
from bench.compare.sides import StoredRun
from bench.durations import duration_text
from bench.figures_table import figures_table

SCHEMA_VERSION = 1


def parts_table(fits: Mapping[Quantity, Fit], projections: Iterable[Projection]) -> Table:
    """Fixed and per-image parts, and the projection to a full day with its formula."""
    columns = ("arm", "what", "fixed", "per image", "24 h = formula", "")
    title = f"fixed and per-image parts, with {CONFIDENCE:.0%} intervals; a day of 24 h is projected"
    table = figures_table(*columns, texts=("what", "24 h = formula"), title=title)
    for projection in projections:
        fit = fits[projection.quantity]
        per_image = _milliseconds(fit.per_image) if projection.quantity.grows else "-"
        table.add_row(
            projection.quantity.arm,
            str(projection.quantity),
            _seconds(fit.fixed),
            per_image,
            projection.formula,
            _interval(projection.seconds),
        )
    return table


def check_table(checks: Sequence[Check], held_out_seconds: float) -> Table:
    """Predicted against measured."""
    count = sum(check.verdict.startswith("within") for check in checks)
    title = (
        f"a day of {held_out_seconds:g} s that was not fitted on, with {CONFIDENCE:.0%} intervals "
        f"for all rows together: {count} of {len(checks)} within 10 %, "
        f"{sum(check.verdict == 'interval' for check in checks)} more covered by their interval, "
        f"{sum(not check.ok for check in checks)} missed"
    )
    columns = ("arm", "what", "predicted", "measured", "error", "verdict")
    table = figures_table(*columns, texts=("what", "verdict"), title=title)
    for check in checks:
        table.add_row(
            check.quantity.arm,
            str(check.quantity),
            _interval(check.predicted),
            duration_text(check.measured),
            f"{check.error_share:+.1%}",
            check.verdict,
        )
    return table


def content(
    runs: Iterable[StoredRun],
    fits: Mapping[Quantity, Fit],
    projections: Iterable[Projection],
    checks: Iterable[Check],
) -> dict[str, Any]:
    """``calibration.json``. Seconds everywhere; ``low`` and ``high`` are the interval at ``confidence``, for
    ``held_out`` the interval that holds for all of its rows together."""
    full_days = {projection.quantity: projection for projection in projections}
    return {
        "schema_version": SCHEMA_VERSION,
        "confidence": CONFIDENCE,
        "runs": [{"run_id": run.name, "verdict": run.result["validity"]["verdict"]} for run in runs],
        "parts": [
            {
                **asdict(quantity),
                "fixed_seconds": asdict(fit.fixed),
                "per_image_seconds": asdict(fit.per_image) if quantity.grows else None,
                "full_day_images": full_days[quantity].images,
                "full_day_seconds": asdict(full_days[quantity].seconds),
                "full_day_formula": full_days[quantity].formula,
                "source": "projected",
            }
            for quantity, fit in fits.items()
        ],
        "held_out": [
            {
                **asdict(check.quantity),
                "predicted_seconds": asdict(check.predicted),
                "measured_seconds": check.measured,
                "error_share": check.error_share,
                "verdict": check.verdict,
            }
            for check in checks
        ],
    }


def _interval(estimate: Estimate) -> str:
    ends = f"[{duration_text(estimate.low)}, {duration_text(estimate.high)}]"
    return f"{duration_text(estimate.value)} {ends}"


def _seconds(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} s [{estimate.low:.3g}, {estimate.high:.3g}]"


def _milliseconds(estimate: Estimate) -> str:
    return f"{estimate.value * 1e3:.3g} ms [{estimate.low * 1e3:.3g}, {estimate.high * 1e3:.3g}]"
