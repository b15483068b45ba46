"""When a run counts: each rule with what was measured, its limit, and what to do where it is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.validity.conditions import GENERATOR_LATE_SECONDS, condition_rules
from bench.validity.machine import machine_rules
from bench.validity.outcome import outcome_rules
from bench.validity.rule import ByArm, Rule
from bench.validity.samples import sample_rules

__all__ = ["GENERATOR_LATE_SECONDS", "Rule", "judge"]


def judge(
    manifest: Mapping[str, Any],
    *,
    arms: ByArm,
    agreement: Mapping[str, Any],
    conditions: ByArm,
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """All rules over a result: ``{"valid", "verdict", "rules"}``. A run that did nothing is INVALID.

    ``conditions`` and ``machine`` are rows of the queries of these names, the former by arm.
    """
    claimed: Sequence[str] = manifest.get("claimed_percentiles") or ("p50",)
    poisoned_images = int(manifest.get("poisoned_images") or 0)
    rules: list[Rule] = [
        *outcome_rules(str(manifest.get("status")), arms, agreement, conditions, poisoned_images),
        *condition_rules(arms, conditions, str(manifest.get("device", ""))),
        *sample_rules(arms, claimed),
        *machine_rules(machine),
    ]
    valid = all(rule.ok for rule in rules)
    return {
        "valid": valid,
        "verdict": "VALID" if valid else "INVALID",
        "rules": [rule.told() for rule in rules],
    }
