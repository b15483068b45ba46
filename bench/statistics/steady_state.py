"""Is latency steady over a replicate, or does it grow (a queue that never drains) or still fall (warm-up)?

The series of online latencies, in order of arrival, is cut into 20 batches of as many arrivals each: medians
of batches are nearly independent where single latencies are not (batch means; Law, "Simulation Modeling and
Analysis", chapter 9). They have a trend if Mann's test says so (Kendall's tau against time, exact; Mann,
"Nonparametric tests against trend", 1945) *and* the change it amounts to matters: Theil and Sen's slope over
the whole replicate, in shares of the median, is beyond a limit with both ends of its 95 % interval. A day
that gets busy and quiet again has no trend; a system that can't sustain its load has one (Karimov et al.,
"Benchmarking Distributed Stream Data Processing Systems", 2018, call it unsustainable).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from scipy import stats

QUERY = "steady_state"
FALSE_ALARMS = 0.01  # of a whole run: divided by the number of series that are tested
GROWTH_LIMIT = 0.25  # change over a replicate, as a share of the median
MIN_ARRIVALS = 100


def steady_state(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By arm, what each replicate's series says. ``rows`` come from ``bench/sql/steady_state.sql``.

    ``is_steady`` is None where the series can't be judged; ``reason`` then says why.
    """
    series = {
        key: list(group) for key, group in groupby(rows, key=lambda row: (row["arm"], row["replicate"]))
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for (arm, replicate), of_series in series.items():
        arrivals = int(of_series[0]["arrivals"])
        medians = [float(row["median_seconds"]) for row in of_series]
        verdict = judge_series(medians, arrivals, FALSE_ALARMS / len(series))
        found.setdefault(arm, []).append({"replicate": replicate, "arrivals": arrivals, **verdict})
    return found


def judge_series(medians_seconds: Sequence[float], arrivals: int, significance: float) -> dict[str, Any]:
    """Whether medians of consecutive batches of ``arrivals`` latencies are steady.

    ``growth_share`` is the change from the first batch to the last over the median, with its 95 % interval.
    """
    unknown = dict.fromkeys(("is_steady", "p_value", "growth_share", "growth_low_share", "growth_high_share"))
    if arrivals < MIN_ARRIVALS:
        return {**unknown, "reason": f"needs {MIN_ARRIVALS} arrivals, has {arrivals}"}
    if not all(map(math.isfinite, medians_seconds)):
        return {**unknown, "is_steady": False, "reason": "half of a batch or more never became available"}
    at = np.arange(len(medians_seconds))
    p_value = float(stats.kendalltau(at, medians_seconds).pvalue)
    slope = stats.theilslopes(medians_seconds, at, 0.95)
    scale = (len(medians_seconds) - 1) / float(np.median(medians_seconds))
    growth, low, high = (float(s) * scale for s in (slope.slope, slope.low_slope, slope.high_slope))
    matters = low > GROWTH_LIMIT or high < -GROWTH_LIMIT
    return {
        "is_steady": not (p_value < significance and matters),
        "p_value": p_value if math.isfinite(p_value) else 1.0,  # all medians the same
        "growth_share": growth,
        "growth_low_share": low,
        "growth_high_share": high,
        "reason": None,
    }
