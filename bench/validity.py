"""When a run counts: each rule with what was measured, its limit, and what to do where it is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

GENERATOR_LATE_SECONDS = 0.1  # p99 of the delay between the schedule and the hand-over
OPEN_AT_MIDNIGHT_SHARE = 0.1  # arrivals of a day that may still be on their way at its midnight


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and how the run did. ``measured`` is by arm where it is a mapping; None: not measured."""

    id: str
    ok: bool
    measured: Any
    limit: Any
    reason: str
    advice: str


def judge(
    *,
    status: str,
    arms: Mapping[str, Mapping[str, Any]],
    agreement: Mapping[str, Any],
    conditions: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """All rules over a result: ``{"valid", "verdict", "rules"}``. A run that did nothing is INVALID."""
    rules = [
        _completed(status),
        _did_work(arms),
        *_zero_rules(arms),
        _same_workload(conditions),
        _same_verdicts(conditions),
        _agreement(agreement),
        *_condition_rules(arms, conditions),
        _samples(arms),
    ]
    valid = all(rule.ok for rule in rules)
    return {
        "valid": valid,
        "verdict": "VALID" if valid else "INVALID",
        "rules": [asdict(rule) for rule in rules],
    }


def _completed(status: str) -> Rule:
    return Rule(
        id="completed",
        ok=status == "complete",
        measured=status,
        limit="complete",
        reason=f"the run is {status}: its figures cover only a part",
        advice="run it again; the logs folder says what ended it",
    )


def _did_work(arms: Mapping[str, Mapping[str, Any]]) -> Rule:
    ended = {arm: _count(content, "batch_keys") for arm, content in arms.items()}
    return Rule(
        id="every_arm_produced_signals",
        ok=bool(ended) and all(n > 0 for n in ended.values()),
        measured=ended,
        limit="> 0",
        reason="an arm made no signal available to the batch consumer",
        advice="check the dead letters and the log of the nightly workflow",
    )


# id, figures that must add up to zero, reason, advice
_ZERO = (
    (
        "no_lost_arrivals",
        ("lost_arrivals",),
        "arrivals ended neither as a signal nor as a dead letter for the online consumer",
        "lkbench explain RUN SIGNATURE shows how far one came",
    ),
    (
        "no_lost_keys",
        ("lost_keys",),
        "keys ended neither in the Hive table nor as a dead letter",
        "lkbench explain RUN SIGNATURE shows how far one came; look at the nightly steps",
    ),
    (
        "no_duplicates",
        ("duplicated_signals",),
        "the Hive table holds a signal more than once",
        "a retried write was not keyed, or a partition was written twice",
    ),
    (
        "no_phantoms",
        ("phantom_keys",),
        "the Hive table holds signals of images that never arrived",
        "stores of an earlier run were not empty when this one started",
    ),
    (
        "one_outcome_each",
        ("contradicted_arrivals", "contradicted_keys"),
        "the same image ended both as a signal and as a dead letter",
        "an image that fails must fail on every attempt: look at the reasons of its dead letters",
    ),
    (
        "announced_is_readable",
        ("unreadable_announcements",),
        "an availability event came before all signals could be fetched",
        "the announcement must follow the write",
    ),
)


def _zero_rules(arms: Mapping[str, Mapping[str, Any]]) -> list[Rule]:
    rules = []
    for rule_id, names, reason, advice in _ZERO:
        measured = {arm: sum(_count(content, name) for name in names) for arm, content in arms.items()}
        ok = not any(measured.values())
        rules.append(Rule(rule_id, ok, measured, 0, reason, advice))
    return rules


def _same_workload(conditions: Mapping[str, Mapping[str, Any]]) -> Rule:
    same = {arm: bool(row["same_workload"]) for arm, row in conditions.items()}
    return Rule(
        id="same_workload",
        ok=all(same.values()),
        measured=same,
        limit=True,
        reason="the arms were not offered the same arrivals",
        advice="compare only arms of one run that ended",
    )


def _same_verdicts(conditions: Mapping[str, Mapping[str, Any]]) -> Rule:
    measured = max((row["differing_verdicts"] for row in conditions.values()), default=0)
    return Rule(
        id="same_verdicts",
        ok=measured == 0,
        measured=measured,
        limit=0,
        reason="an image became a dead letter in one arm only, or for another reason",
        advice="look at the dead letters of both arms: a store that fails now and then is the usual cause",
    )


def _agreement(agreement: Mapping[str, Any]) -> Rule:
    agrees = agreement["agrees"]
    kinds = ("missing", "extra", "duplicated", "wrong_day", "mismatched")
    found = {kind: sum(pair[kind] for pair in agreement["pairs"]) for kind in kinds}
    single = agreement["reason"] == "only one arm ran"
    return Rule(
        id="arms_agree",
        ok=agrees is True or single,
        measured=found if agrees is not None else None,
        limit=f"same keys and schema, cosine >= {agreement['threshold']}",
        reason=agreement["reason"]
        or "the arms' Hive tables differ: two systems that compute different things",
        advice="lkbench verify RUN names keys that differ",
    )


def _condition_rules(
    arms: Mapping[str, Mapping[str, Any]], conditions: Mapping[str, Mapping[str, Any]]
) -> list[Rule]:
    def by_arm(name: str) -> dict[str, float]:
        return {arm: row[name] or 0 for arm, row in conditions.items()}

    late, backwards = by_arm("generator_p99_seconds"), by_arm("negative_durations")
    still_open = by_arm("open_at_midnight_share")
    restarts = {arm: content["restarts"]["total"] for arm, content in arms.items()}
    return [
        Rule(
            id="generator_on_time",
            ok=max(late.values(), default=0.0) <= GENERATOR_LATE_SECONDS,
            measured=late,
            limit=GENERATOR_LATE_SECONDS,
            reason="the generator fell behind its schedule (99th percentile of its delay, in seconds)",
            advice="lower --rate, or give the harness more cores",
        ),
        Rule(
            id="clocks_run_forward",
            ok=not any(backwards.values()),
            measured=backwards,
            limit=0,
            reason="events end before they start: a clock was set back, or a stage is stamped wrongly",
            advice="check time synchronisation of this machine",
        ),
        Rule(
            id="load_was_sustained",
            ok=max(still_open.values(), default=0.0) <= OPEN_AT_MIDNIGHT_SHARE,
            measured=still_open,
            limit=OPEN_AT_MIDNIGHT_SHARE,
            reason="too large a share of a day's arrivals was still on its way at midnight: the queue grew",
            advice="lower --rate or add workers: latency under overload says how long the day was",
        ),
        Rule(
            id="no_restarts",
            ok=not any(restarts.values()),
            measured=restarts,
            limit=0,
            reason="a process died and was started again: latencies include its recovery",
            advice="the logs folder says why it died; a run with injected faults is not a benchmark",
        ),
    ]


def _samples(arms: Mapping[str, Mapping[str, Any]]) -> Rule:
    missing = {
        arm: sorted(
            consumer
            for consumer in ("online", "batch")
            if content["latency"].get(consumer, {}).get("p50_seconds") is None
        )
        for arm, content in arms.items()
    }
    return Rule(
        id="enough_samples",
        ok=not any(missing.values()),
        measured=missing,
        limit="a median for both consumers of every arm",
        reason="too few samples to carry even a median",
        advice="use more images or a longer --day",
    )


def _count(content: Mapping[str, Any], name: str) -> int:
    return int(content["completeness"].get(name) or 0)
