"""Rules about what came out: every arrival ended once, and the arms computed the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.validity.rule import ByArm, Rule


def outcome_rules(
    status: str, arms: ByArm, agreement: Mapping[str, Any], conditions: ByArm, poisoned_images: int
) -> list[Rule]:
    """Completeness, uniqueness and agreement. ``poisoned_images``: broken ones of the workload."""
    return [
        _completed(status),
        _did_work(arms),
        *_zero_rules(arms),
        _same_workload(conditions),
        _same_verdicts(conditions),
        _poison_refused(conditions, poisoned_images),
        _agreement(agreement),
    ]


def _completed(status: str) -> Rule:
    return Rule(
        id="completed",
        ok=status == "complete",
        measured=status,
        limit="complete",
        reason=f"the run is {status}: its figures cover only a part",
        advice="run it again; the logs folder says what ended it",
    )


def _did_work(arms: ByArm) -> Rule:
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


def _zero_rules(arms: ByArm) -> list[Rule]:
    rules = []
    for rule_id, names, reason, advice in _ZERO:
        measured = {arm: sum(_count(content, name) for name in names) for arm, content in arms.items()}
        ok = not any(measured.values())
        rules.append(Rule(rule_id, ok, measured, 0, reason, advice))
    return rules


def _same_workload(conditions: ByArm) -> Rule:
    same = {arm: bool(row["same_workload"]) for arm, row in conditions.items()}
    return Rule(
        id="same_workload",
        ok=all(same.values()),
        measured=same,
        limit=True,
        reason="not every replicate of every arm was offered the same arrivals",
        advice="compare only arms of one run that ended",
    )


def _same_verdicts(conditions: ByArm) -> Rule:
    measured = max((row["differing_verdicts"] for row in conditions.values()), default=0)
    return Rule(
        id="same_verdicts",
        ok=measured == 0,
        measured=measured,
        limit=0,
        reason="an image became a dead letter in one arm only, or for another reason",
        advice="look at the dead letters of both arms: a store that fails now and then is the usual cause",
    )


def _poison_refused(conditions: ByArm, poisoned_images: int) -> Rule:
    accepted = {arm: max(poisoned_images - row["dead_images"], 0) for arm, row in conditions.items()}
    return Rule(
        id="poison_refused",
        ok=not any(accepted.values()),
        measured=accepted,
        limit=0,
        reason="fewer images became dead letters than the workload has broken ones",
        advice="a broken file became a signal: look at the reasons of the dead letters of both arms",
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


def _count(content: Mapping[str, Any], name: str) -> int:
    return int(content["completeness"].get(name) or 0)
