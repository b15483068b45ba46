"""The verdict on every metric: better, worse, the same within x %, or not decidable as yet."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from bench.compare.alike import require_alike
from bench.compare.sides import Side
from bench.compare.statistics import ALPHA, MIN_REPLICATES, Effect, estimate, replicates_needed
from bench.metrics import Definition, Direction, Measurement, Noise
from signals.errors import ConfigurationError

SMALLEST_FLOOR = 0.01  # a change of a time by less is never called one
DETECT = 0.10  # the change that a comparison is meant to find or to rule out


class Verdict(StrEnum):
    """What can be said about one metric."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERS = "differs"  # where neither direction is better
    SAME = "same"
    NOT_DECIDABLE = "not decidable"
    NOT_MEASURED = "not measured"
    CONTEXT = "context"  # of a metric that describes conditions: no verdict


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of both sides. ``base`` and ``head`` are medians over the replicates."""

    id: str
    label: str
    definition: Definition
    base: float | None
    head: float | None
    base_replicates: int
    head_replicates: int
    verdict: Verdict
    effect: Effect | None = None
    noise_floor: float | None = None  # share; a smaller effect is noise
    within: float | None = None  # share; with SAME: the true change is smaller, with 95 % confidence
    more_replicates: int | None = None  # with NOT_DECIDABLE: on each side; None if it can't be said
    reason: str = ""

    @property
    def is_significant(self) -> bool:
        """Whether the change is told apart from noise."""
        return self.verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.DIFFERS)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Base against head, metric by metric. ``detect`` is the change that it was to find or to rule out."""

    base: Side
    head: Side
    again: Side | None
    is_paired: bool
    detect: float
    metrics: dict[str, MetricComparison]


def compare(
    base: Side, head: Side, *, again: Side | None = None, is_paired: bool = False, detect: float = DETECT
) -> Comparison:
    """Compare every metric that both sides have.

    ``again`` is a second set of runs of the base (an A/A pair): what those two differ by is noise. Without
    it, the odd replicates of the base are held against its even ones. ``is_paired``: replicates of both
    sides ran in turn. Raises InvalidRun, UnlikeRuns; ConfigurationError for pairs that do not match up.
    """
    require_alike([run for side in (base, head, again) if side is not None for run in side.runs])
    counts = [
        sum(len(next(iter(run.metrics.values())).replicates) for run in side.runs) for side in (base, head)
    ]
    if is_paired and counts[0] != counts[1]:
        raise ConfigurationError(
            f"replicates were to be paired, but the base has {counts[0]} and the head {counts[1]}"
        )
    known = {**base.metric_ids(), **head.metric_ids()}
    metrics = {
        metric_id: _compare_metric(measurement, base, head, again, is_paired, detect)
        for metric_id, measurement in known.items()
    }
    return Comparison(base, head, again, is_paired, detect, metrics)


def _compare_metric(
    measurement: Measurement, base: Side, head: Side, again: Side | None, is_paired: bool, detect: float
) -> MetricComparison:
    sides = [side.replicates(measurement.id) for side in (base, head)]
    before, after = ([r.value for r in readings if r.value is not None] for readings in sides)
    metric = MetricComparison(
        id=measurement.id,
        label=measurement.label,
        definition=measurement.definition,
        base=statistics.median(before) if before else None,
        head=statistics.median(after) if after else None,
        base_replicates=len(before),
        head_replicates=len(after),
        verdict=Verdict.NOT_MEASURED,
    )
    if len(before) < len(sides[0]) or len(after) < len(sides[1]) or not before or not after:
        reasons = [r.reason for readings in sides for r in readings if r.value is None]
        return replace(
            metric, verdict=Verdict.NOT_MEASURED, reason=next(filter(None, reasons), "not in both sides")
        )
    if measurement.definition.direction is Direction.CONTEXT:
        return replace(metric, verdict=Verdict.CONTEXT)
    if measurement.definition.noise is Noise.COUNT:
        return _judge_counts(metric, before, after)
    same_code = [r.value for r in again.replicates(measurement.id) if r.value is not None] if again else None
    return judge_times(metric, before, after, same_code, is_paired=is_paired, detect=detect)


def _judge_counts(
    metric: MetricComparison, before: Sequence[float], after: Sequence[float]
) -> MetricComparison:
    """Counts are compared as they are: they differ if no replicate of one side is in the other's range."""
    if max(before) >= min(after) and max(after) >= min(before):
        same = len({*before, *after}) == 1
        return replace(metric, verdict=Verdict.SAME, within=0.0 if same else None)
    return replace(metric, verdict=_direction(metric.definition, min(after) > max(before)))


def judge_times(
    metric: MetricComparison,
    before: Sequence[float],
    after: Sequence[float],
    again: Sequence[float] | None,
    *,
    is_paired: bool,
    detect: float,
) -> MetricComparison:
    """The verdict on a metric that varies from replicate to replicate: effect, test and noise floor."""
    if min(*before, *after) <= 0:
        if {*before, *after} == {0}:
            return replace(metric, verdict=Verdict.SAME, within=0.0)
        return replace(
            metric, verdict=Verdict.NOT_DECIDABLE, reason="a replicate has 0, from which there is no ratio"
        )
    base, head = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    effect, floor = estimate(base, head, is_paired=is_paired), noise_floor(before, again)
    metric = replace(metric, effect=effect, noise_floor=floor)
    needed, fewest = replicates_needed(base, head, detect), min(len(base), len(head))
    if effect.p_value is None:
        return replace(
            metric,
            verdict=Verdict.NOT_DECIDABLE,
            more_replicates=None if needed is None else max(1, needed - fewest),
            reason=f"{fewest} replicates a side, a test needs {MIN_REPLICATES}",
        )
    if effect.p_value < ALPHA and abs(math.log(effect.ratio)) > math.log1p(floor):
        return replace(metric, verdict=_direction(metric.definition, effect.ratio > 1))
    within = None if effect.bound is None else max(1 / effect.bound[0], effect.bound[1]) - 1
    if within is not None and within <= detect:
        return replace(metric, verdict=Verdict.SAME, within=within)
    return replace(
        metric,
        verdict=Verdict.NOT_DECIDABLE,
        more_replicates=max(1, (needed or 0) - fewest),
        reason=f"a change by {detect:.0%} can be neither seen nor ruled out",
    )


def noise_floor(before: Sequence[float], again: Sequence[float] | None) -> float:
    """The share by which runs of the same code differ here, at least 1 %."""
    left, right = (before, again) if again else (before[::2], before[1::2])
    if len(right) < 2 or min(*left, *right) <= 0:
        return SMALLEST_FLOOR
    shifts = np.subtract.outer(np.log(right), np.log(left))
    return max(SMALLEST_FLOOR, math.expm1(abs(float(np.median(shifts)))))


def _direction(definition: Definition, is_bigger: bool) -> Verdict:
    if definition.direction is Direction.EXACT:
        return Verdict.DIFFERS
    return Verdict.BETTER if is_bigger == (definition.direction is Direction.BIGGER) else Verdict.WORSE
