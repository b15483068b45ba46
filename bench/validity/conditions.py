"""Rules about how an arm was measured: the load came on time, was sustained, and ran where it should."""

from __future__ import annotations

from typing import Any

from bench.validity.rule import ByArm, Rule

GENERATOR_LATE_SECONDS = 0.1  # p99 of the delay from schedule to hand-over, in the worst replicate
GENERATOR_WORST_SECONDS = 0.5  # and of any single arrival
OPEN_AT_MIDNIGHT_SHARE = 0.1  # arrivals of a day that may still be on their way at its midnight


def condition_rules(arms: ByArm, conditions: ByArm, device: str) -> list[Rule]:
    """``conditions``: rows of ``bench/sql/conditions.sql`` by arm; ``device``: as configured, cpu or cuda."""
    return [
        *_generator(conditions),
        *_load(conditions),
        _no_restarts(arms),
        _device_as_configured(conditions, device),
    ]


def _by_arm(conditions: ByArm, name: str) -> dict[str, Any]:
    return {arm: row[name] or 0 for arm, row in conditions.items()}


def _generator(conditions: ByArm) -> list[Rule]:
    late = _by_arm(conditions, "generator_p99_seconds")
    worst = _by_arm(conditions, "generator_max_seconds")
    backwards = _by_arm(conditions, "negative_durations")
    return [
        Rule(
            id="generator_on_time",
            ok=max(late.values(), default=0.0) <= GENERATOR_LATE_SECONDS,
            measured=late,
            limit=GENERATOR_LATE_SECONDS,
            reason="the generator fell behind its schedule (99th percentile of a replicate's delays, s)",
            advice="lower --rate, or give the harness more cores",
        ),
        Rule(
            id="generator_never_stalled",
            ok=max(worst.values(), default=0.0) <= GENERATOR_WORST_SECONDS,
            measured=worst,
            limit=GENERATOR_WORST_SECONDS,
            reason="the generator stood still: an arrival was handed over long after its time (seconds)",
            advice="something else kept the harness from running; stop it, and run again",
        ),
        Rule(
            id="clocks_run_forward",
            ok=not any(backwards.values()),
            measured=backwards,
            limit=0,
            reason="events end before they start: a clock was set back, or a stage is stamped wrongly",
            advice="check time synchronisation of this machine",
        ),
    ]


def _load(conditions: ByArm) -> list[Rule]:
    still_open = _by_arm(conditions, "open_at_midnight_share")
    undrained = _by_arm(conditions, "undrained_arrivals")
    return [
        Rule(
            id="load_was_sustained",
            ok=max(still_open.values(), default=0.0) <= OPEN_AT_MIDNIGHT_SHARE,
            measured=still_open,
            limit=OPEN_AT_MIDNIGHT_SHARE,
            reason="too large a share of a day's arrivals was still on its way at midnight: the queue grew",
            advice="lower --rate or add workers: latency under overload says how long the day was",
        ),
        Rule(
            id="backlog_drained",
            ok=not any(undrained.values()),
            measured=undrained,
            limit=0,
            reason="arrivals of a day were still on their way when the next day began, or when the run ended",
            advice="lower --rate or add workers: the days of this run are not independent of each other",
        ),
    ]


def _no_restarts(arms: ByArm) -> Rule:
    restarts = {arm: content["restarts"]["total"] for arm, content in arms.items()}
    return Rule(
        id="no_restarts",
        ok=not any(restarts.values()),
        measured=restarts,
        limit=0,
        reason="a process died and was started again: latencies include its recovery",
        advice="the logs folder says why it died; a run with injected faults is not a benchmark",
    )


def _device_as_configured(conditions: ByArm, device: str) -> Rule:
    on_cpu = _by_arm(conditions, "cpu_batches") if device == "cuda" else {}
    return Rule(
        id="device_as_configured",
        ok=not any(on_cpu.values()),
        measured=on_cpu if device == "cuda" else None,
        limit=0,
        reason="batches ran on the CPU although a CUDA device is configured",
        advice="lkbench doctor says what CUDA lacks on this machine; or configure the CPU",
    )
