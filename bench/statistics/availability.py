"""The share of images that are available t seconds after they should have arrived, with a confidence band.

The curve is Kaplan and Meier's estimate ("Nonparametric estimation from incomplete observations", 1958) of
one minus the survival function: an image that was never served is right-censored when its replicate ended.

The band is pointwise, at 95 %. With at least :data:`MIN_CYCLES` nightly cycles (replicate, day) the cycle is
the sampling unit, because images of one night share its fate: the variance is that between cycles (the ratio
estimator of cluster sampling, Cochran, "Sampling Techniques", 1977; Student's t). With fewer, the online
consumer's band is that of independent images (Greenwood's variance on the log-log scale), and the batch
consumer has none.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.ledger_query import LedgerQuery

QUERY = "survival"
CONSUMERS = ("online", "batch")
CONFIDENCE = 0.95
MIN_CYCLES = 4  # below, Student's t of so few cycles bounds nothing; bench/sql/percentiles.sql has the same
MAX_POINTS = 800
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Share of keys available within ``seconds``, both ascending; ``low`` and ``high`` bound it pointwise.

    ``low`` and ``high`` are None where the run carries no band; ``band_reason`` says why. ``censored`` counts
    the keys that were never served: they keep the curve below 1.
    """

    arm: str
    consumer: str
    seconds: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    censored: int
    band_reason: str = ""


def curves_of(ledger: LedgerQuery) -> list[Curve]:
    """One curve per arm and consumer (online, batch) that served any key, of at most 800 points each."""
    curves = {
        (key["arm"], key["consumer"]): _curve(
            key["arm"],
            key["consumer"],
            columns["seconds"].astype(np.float64),
            columns["is_censored"].astype(bool),
            columns["cycle"].astype(np.intp),
        )
        for key, columns in ledger.columns(QUERY, by=("arm", "consumer"))
        if not columns["is_censored"].all()
    }
    arms = sorted({arm for arm, _ in curves})
    return [curves[arm, name] for arm in arms for name in CONSUMERS if (arm, name) in curves]


def _curve(
    arm: str, consumer: str, seconds: Floats, is_censored: npt.NDArray[np.bool_], cycle: npt.NDArray[np.intp]
) -> Curve:
    estimate = _estimate(seconds, is_censored)
    steps = np.flatnonzero(_steps(estimate))
    # Of a million steps nobody sees more than some hundred.
    kept = steps[_thinned(len(steps))]
    at, share = estimate.quantiles[kept], estimate.probabilities[kept]
    cycles = int(cycle.max()) + 1
    band: tuple[Floats, Floats] | None
    reason = ""
    if cycles >= MIN_CYCLES:
        band = cycle_band(at, share, np.where(is_censored, np.inf, seconds), cycle)
    elif consumer == "batch":
        band, reason = None, f"images of one night share its fate: needs {MIN_CYCLES} nights, has {cycles}"
    else:
        low, high = _greenwood(estimate)
        band = low[kept], high[kept]
    return Curve(
        arm=arm,
        consumer=consumer,
        seconds=tuple(at.tolist()),
        share=tuple(share.tolist()),
        low=None if band is None else tuple(band[0].tolist()),
        high=None if band is None else tuple(band[1].tolist()),
        censored=int(is_censored.sum()),
        band_reason=reason,
    )


def kaplan_meier(
    seconds: Floats, is_censored: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Times at which something became available, the share by then, and its 95 % band for independent images.

    Where the formula is undefined (everything is available), the band reaches from its last value to 1.
    """
    estimate = _estimate(seconds, is_censored)
    steps = _steps(estimate)
    low, high = _greenwood(estimate)
    return estimate.quantiles[steps], estimate.probabilities[steps], low[steps], high[steps]


def _estimate(seconds: Floats, is_censored: npt.NDArray[np.bool_]) -> Any:
    return stats.ecdf(stats.CensoredData.right_censored(seconds, is_censored)).cdf


def _steps(estimate: Any) -> npt.NDArray[np.bool_]:
    """Where it rises: not where a key was only lost from sight."""
    rises: npt.NDArray[np.bool_] = np.diff(estimate.probabilities, prepend=0.0) > 0
    return rises


def _greenwood(estimate: Any) -> tuple[Floats, Floats]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # says that it is undefined at some points
        interval = estimate.confidence_interval(CONFIDENCE, method="log-log")
    low, high = interval.low.probabilities, interval.high.probabilities
    low = np.maximum.accumulate(np.where(np.isfinite(low), low, 0.0))
    return low, np.where(np.isfinite(high), high, 1.0)


def cycle_band(
    at: Floats, share: Floats, seconds: Floats, cycle: npt.NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """The 95 % band of ``share`` at the times ``at``, from how much cycles differ.

    ``seconds`` (infinite: never served) and ``cycle`` (from 0) are by key.
    """
    sizes = np.bincount(cycle).astype(np.float64)
    cycles = len(sizes)
    served = np.stack(
        [np.searchsorted(np.sort(seconds[cycle == c]), at, side="right") for c in range(cycles)]
    )
    # Residuals of the ratio estimator: they sum to zero over the cycles.
    residuals = (served - sizes[:, None] * (served.sum(axis=0) / sizes.sum())) * cycles / sizes.sum()
    error = np.sqrt((residuals**2).sum(axis=0) / (cycles - 1) / cycles)
    width = float(stats.t.ppf((1 + CONFIDENCE) / 2, cycles - 1)) * error
    return np.clip(share - width, 0.0, 1.0), np.clip(share + width, 0.0, 1.0)


def _thinned(points: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, points - 1, min(points, MAX_POINTS)).round().astype(np.intp))
