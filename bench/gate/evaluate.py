"""Whether thresholds hold. What was not measured does not hold, and an INVALID run passes no gate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.arms import arm_names
from bench.compare.comparison import Comparison, MetricComparison, Verdict, compare
from bench.compare.sides import Side, StoredRun
from bench.compare.texts import change_text, value_text, verdict_text
from bench.exit_codes import ExitCode
from bench.gate.threshold import Threshold, known_metrics, parse_threshold
from bench.metrics import Noise
from signals.errors import ConfigurationError


class Outcome(StrEnum):
    """How one threshold did."""

    HOLDS = "ok"
    BREACHED = "BREACHED"
    REGRESSED = "REGRESSED"
    NOT_MEASURED = "NOT MEASURED"
    NOT_DECIDABLE = "NOT DECIDABLE"


# What a reviewer does about it.
ADVICE = {
    Outcome.BREACHED: "BREACHED: the limit is absolute. Mend the cause, or change the threshold on purpose, "
    "in this change, for everyone to see.",
    Outcome.NOT_MEASURED: "NOT MEASURED: the note says why. Run longer days or more of them for a percentile "
    "that the sample can't carry; leave out a threshold on what these runs can't have.",
    Outcome.REGRESSED: "REGRESSED: look at that metric's parts in both sides' report.html. A slowdown that "
    "is meant needs a threshold that allows it.",
    Outcome.NOT_DECIDABLE: "NOT DECIDABLE: neither good nor bad. Measure again with --replicates; the note "
    "says how many.",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold with what was found. All texts are for people."""

    threshold: Threshold
    outcome: Outcome
    actual: str
    note: str = ""

    @property
    def limit(self) -> str:
        """Operator and limit."""
        threshold = self.threshold
        if threshold.is_relative:
            return f"{threshold.operator} {100 * threshold.limit:+.4g} % vs base"
        return f"{threshold.operator} {value_text(threshold.limit, threshold.definition.unit)}"


@dataclass(frozen=True, slots=True)
class GateReport:
    """All checks of one gate; none where a run is ``invalid``, whose figures don't count."""

    head: str
    checks: tuple[Check, ...]
    invalid: StoredRun | None = None
    comparison: Comparison | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The gravest finding first."""
        outcomes = {check.outcome for check in self.checks}
        if self.invalid is not None:
            return ExitCode.INVALID_RUN
        if outcomes & {Outcome.BREACHED, Outcome.NOT_MEASURED}:
            return ExitCode.THRESHOLD_BREACHED
        if Outcome.REGRESSED in outcomes:
            return ExitCode.REGRESSION
        if Outcome.NOT_DECIDABLE in outcomes:
            return ExitCode.NOT_DECIDABLE
        return ExitCode.OK

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do about what does not hold, one sentence per kind; none where all holds."""
        outcomes = {check.outcome for check in self.checks}
        return tuple(text for outcome, text in ADVICE.items() if outcome in outcomes)


def run_gate(
    texts: Sequence[str],
    head: Side,
    base: Side | None = None,
    *,
    again: Side | None = None,
    is_paired: bool = False,
    detect: float,
) -> GateReport:
    """Check every threshold on ``head``; those against a base need one.

    Raises ConfigurationError for a threshold that is not understood or lacks a base, UnlikeRuns for a base
    that differs in more than the code.
    """
    measured = head.metric_ids() | (base.metric_ids() if base else {})
    found = {metric_id: measurement.definition for metric_id, measurement in measured.items()}
    arms = dict.fromkeys([*arm_names(), *(arm for run in head.runs for arm in run.result["arms"])])
    thresholds = [parse_threshold(text, known_metrics(found, arms)) for text in texts]
    if base is None and (relative := [t.text for t in thresholds if t.is_relative]):
        raise ConfigurationError(f"threshold {relative[0]!r} needs a base: use --base RUN")
    runs = [run for side in (head, base, again) if side is not None for run in side.runs]
    if (invalid := next((run for run in runs if not run.is_valid), None)) is not None:
        return GateReport(head.label, (), invalid=invalid)
    comparison = compare(base, head, again=again, is_paired=is_paired, detect=detect) if base else None
    checks = tuple(_check(threshold, head, comparison) for threshold in thresholds)
    return GateReport(head.label, checks, comparison=comparison)


def _check(threshold: Threshold, head: Side, comparison: Comparison | None) -> Check:
    is_count = threshold.definition.noise is Noise.COUNT
    # A count is what it is in each replicate: one that is wrong is no outlier that others make up for.
    readings = (head.replicates if is_count else head.readings)(threshold.metric_id)
    values = [reading.value for reading in readings if reading.value is not None]
    if threshold.is_relative and comparison is not None:
        return _check_change(threshold, comparison.metrics.get(threshold.metric_id), values)
    if len(values) < len(readings) or not values:
        reasons = (reading.reason for reading in readings)
        return Check(threshold, Outcome.NOT_MEASURED, "not measured", next(filter(None, reasons), ""))
    value = threshold.worst(values) if is_count else statistics.median(values)
    outcome = Outcome.HOLDS if threshold.holds(value) else Outcome.BREACHED
    note = f"the worst of {len(values)} replicates" if is_count else f"median of {len(values)} runs"
    return Check(
        threshold,
        outcome,
        value_text(value, threshold.definition.unit),
        note if len(values) > 1 else "",
    )


def _check_change(threshold: Threshold, metric: MetricComparison | None, heads: Sequence[float]) -> Check:
    """``heads``: the values of the head, of a count those of its replicates."""
    if metric is None or metric.verdict is Verdict.NOT_MEASURED or metric.base is None or metric.head is None:
        reason = metric.reason if metric is not None else "neither run has it"
        return Check(threshold, Outcome.NOT_MEASURED, "not measured", reason)
    effect = metric.effect
    if effect is None:
        if metric.verdict is Verdict.NOT_DECIDABLE:
            return Check(threshold, Outcome.NOT_DECIDABLE, "", metric.reason)
        worst = threshold.worst(heads)
        holds = threshold.holds(_change(metric.base, worst))
        note = f"the worst of {len(heads)} replicates" if len(heads) > 1 else ""
        actual = _values(replace(metric, head=worst))
        return Check(threshold, Outcome.HOLDS if holds else Outcome.REGRESSED, actual, note)
    actual = f"{_values(metric)}: {change_text(metric)}"
    if effect.p_value is None:
        return Check(threshold, Outcome.NOT_DECIDABLE, actual, verdict_text(metric))
    if threshold.holds(effect.ratio - 1):
        return Check(threshold, Outcome.HOLDS, actual)
    if metric.is_significant:
        return Check(threshold, Outcome.REGRESSED, actual, f"p {effect.p_value:.2g}")
    changes = None if effect.bound is None else [ratio - 1 for ratio in effect.bound]
    if threshold.holds(0.0):
        note = "the change can't be told from noise"
        if changes is not None:
            note += f"; with 95 % confidence it is {_beyond(threshold.is_upper, changes)}"
        return Check(threshold, Outcome.HOLDS, actual, note)
    # A change for the better is asked for: that none is seen is not enough.
    if changes is not None and not any(map(threshold.holds, changes)):
        note = f"with 95 % confidence the change is {_beyond(not threshold.is_upper, changes)}"
        return Check(threshold, Outcome.REGRESSED, actual, note)
    return Check(threshold, Outcome.NOT_DECIDABLE, actual, verdict_text(metric))


def _beyond(is_upper: bool, changes: Sequence[float]) -> str:
    return f"below {100 * max(changes):+.1f} %" if is_upper else f"above {100 * min(changes):+.1f} %"


def _change(base: float, head: float) -> float:
    if base == 0:
        return 0.0 if head == 0 else math.inf
    return head / base - 1


def _values(metric: MetricComparison) -> str:
    unit = metric.definition.unit
    return f"{value_text(metric.base, unit)} -> {value_text(metric.head, unit)}"
