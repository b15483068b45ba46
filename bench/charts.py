"""What the page of a run draws, as sections of ``result.json``: nobody has to read points off a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from bench.result_section import Rows, section
from bench.statistics.availability import CONFIDENCE, QUERY, Curve

SIGNIFICANT_DIGITS = 8  # of the points of a curve: a lost one of ten million keys is still seen
OF_IMAGE = ("arm", "which", "replicate", "galaxy", "image_signature", "file_name", "online_seconds")


def drawn_sections(rows: Callable[[str], Rows], curves: Iterable[Curve]) -> dict[str, Any]:
    """``charts``: the points of each. ``lives``: single images with their stages.

    ``rows`` gives those of a shipped query. A curve has its points as columns, one value for each step.
    """
    return {
        "charts": {
            "availability": section(QUERY, confidence=CONFIDENCE, series=[_series(c) for c in curves]),
            "percentiles": section("percentile_curve", rows=rows("percentile_curve")),
            "over_time": section("over_time", rows=rows("over_time")),
        },
        "lives": section("lives", images=[_image(stages) for stages in _by_image(rows("lives"))]),
    }


def _series(curve: Curve) -> dict[str, Any]:
    return {
        "arm": curve.arm,
        "consumer": curve.consumer,
        "censored": curve.censored,
        "reasons": {"low": curve.band_reason, "high": curve.band_reason} if curve.low is None else {},
        "seconds": _rounded(curve.seconds),
        "share": _rounded(curve.share),
        "low": _rounded(curve.low),
        "high": _rounded(curve.high),
    }


def _rounded(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in values]


def _by_image(rows: Rows) -> list[list[Mapping[str, Any]]]:
    return [list(stages) for _, stages in groupby(rows, key=itemgetter("arm", "which"))]


def _image(stages: Rows) -> dict[str, Any]:
    of_stage = [{k: value for k, value in row.items() if k not in OF_IMAGE} for row in stages]
    return {**{name: stages[0][name] for name in OF_IMAGE}, "stages": of_stage}
