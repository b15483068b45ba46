"""The four charts over time and percentiles, from the queries of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from reports.curves import DASHES, SHORTEST_SECONDS, Curve
from reports.plot import Band, Objective, Plot, Series
from reports.scales import Scale, linear_scale, log_scale

Rows = Sequence[Mapping[str, Any]]
OBJECTIVE_SHARE = 0.95  # of the images that a freshness objective is about, as in lkbench plan
SECOND_DASH = "2 3"


def availability_plot(curves: Sequence[Curve], freshness_seconds: float | None) -> Plot | None:
    """The fraction of keys that is available, over the time since they arrived. None without any."""
    if not curves:
        return None
    longest = max(curve.seconds[-1] for curve in curves)
    shortest = min(curve.seconds[0] for curve in curves)
    log = log_scale("seconds", shortest, max(longest, freshness_seconds or 0.0))
    share = Scale("linear", "share", 0.0, 1.0)
    series = []
    for curve in curves:
        x, y = zip(*curve.points(log.high), strict=True)
        dash = DASHES.get(curve.consumer, "")
        band = None if curve.band is None else Band(curve.seconds, *curve.band)
        series.append(Series(curve.label, curve.colour, dash, x, y, is_step=True, band=band))
    objectives: tuple[Objective, ...] = ()
    if freshness_seconds is not None:
        text = f"{share.text(OBJECTIVE_SHARE)} within {log.text(freshness_seconds)}"
        objectives = (
            Objective("x", freshness_seconds, f"objective: {text}"),
            Objective("y", OBJECTIVE_SHARE, ""),
        )
    return Plot(
        id="availability",
        title="Fraction of keys available",
        x_label="time since the scheduled arrival",
        y_label="fraction of keys available",
        scales=((log, share), (linear_scale("seconds", longest), share)),
        series=tuple(series),
        objectives=objectives,
    )


def percentile_plot(rows: Rows, arms: Sequence[str]) -> Plot | None:
    """Time to availability by percentile, each further nine as wide as the one before. None without rows."""
    if not rows:
        return None
    seconds = [max(row["seconds"], SHORTEST_SECONDS) for row in rows]
    highest = max(row["fraction"] for row in rows)
    nines = Scale("nines", "share", 0.0, max(highest, 0.9))
    series = tuple(
        Series(
            f"{arm}, {consumer}",
            arms.index(arm),
            DASHES.get(consumer, ""),
            tuple(row["fraction"] for row in points),
            tuple(max(row["seconds"], SHORTEST_SECONDS) for row in points),
        )
        for (arm, consumer), points in sorted(
            _grouped(rows, "arm", "consumer"), key=lambda of: (of[0][0], list(DASHES).index(of[0][1]))
        )
    )
    return Plot(
        id="percentiles",
        title="Time to availability by percentile",
        x_label="percentile of the keys",
        y_label="time to availability",
        scales=(
            (nines, log_scale("seconds", min(seconds), max(seconds))),
            (nines, linear_scale("seconds", max(seconds))),
        ),
        series=series,
        switched="y",
    )


def latency_plot(rows: Rows, arms: Sequence[str]) -> Plot | None:
    """Online latency by the time of arrival: the median and the slowest of each interval."""
    measured = [row for row in rows if row["median_seconds"] is not None]
    if not measured:
        return None
    series = [
        Series(
            f"{arm}, {name}",
            arms.index(arm),
            dash,
            tuple(row["seconds"] for row in points),
            tuple(max(row[column], SHORTEST_SECONDS) for row in points),
        )
        for (arm,), points in _grouped(measured, "arm")
        for name, column, dash in (
            ("median", "median_seconds", ""),
            ("slowest", "slowest_seconds", SECOND_DASH),
        )
    ]
    values = [value for s in series for value in s.y]
    time = linear_scale("seconds", max(row["end_seconds"] for row in measured))
    return Plot(
        id="latency",
        title="Online latency over time",
        x_label="scheduled arrival, after the start of the first day",
        y_label="time to availability, online consumer",
        scales=(
            (time, log_scale("seconds", min(values), max(values))),
            (time, linear_scale("seconds", max(values))),
        ),
        series=tuple(series),
        switched="y",
    )


def backlog_plot(rows: Rows, arms: Sequence[str]) -> Plot | None:
    """Arrivals that a consumer still waits for, over time."""
    if not rows:
        return None
    series = []
    for (arm,), points in _grouped(rows, "arm"):
        for consumer, dash in DASHES.items():
            known = [row for row in points if row[f"{consumer}_backlog"] is not None]
            if known:
                x = (0.0, *(row["end_seconds"] for row in known))
                y = (0.0, *(float(row[f"{consumer}_backlog"]) for row in known))
                series.append(Series(f"{arm}, {consumer}", arms.index(arm), dash, x, y))
    if not series:
        return None
    highest = max(1.0, *(value for s in series for value in s.y))
    count = linear_scale("count", 1.05 * highest)  # a plateau is seen as one
    time = linear_scale("seconds", max(row["end_seconds"] for row in rows))
    return Plot(
        id="backlog",
        title="Backlog over time",
        x_label="after the start of the first day",
        y_label="arrivals that a consumer waits for",
        scales=((time, count),),
        series=tuple(series),
        switched="y",
    )


def _grouped(rows: Iterable[Mapping[str, Any]], *columns: str) -> list[tuple[tuple[Any, ...], Rows]]:
    by_key = groupby(rows, key=lambda row: tuple(row[column] for column in columns))
    return [(key, list(group)) for key, group in by_key]
