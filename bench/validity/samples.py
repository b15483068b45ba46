"""Rules about what the sample can say: it carries the percentiles that are claimed, of a steady state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.statistics.steady_state import GROWTH_LIMIT
from bench.validity.rule import ByArm, Rule


def sample_rules(arms: ByArm, claimed: Sequence[str]) -> list[Rule]:
    """``claimed``: percentiles (p50, p99, …) that the run was meant to carry."""
    missing = {arm: _missing(content["latency"], claimed) for arm, content in arms.items()}
    unsteady = {arm: _unsteady(content["steady_state"]) for arm, content in arms.items()}
    return [
        Rule(
            id="enough_samples",
            ok=not any(missing.values()),
            measured=missing,
            limit=f"{', '.join(claimed)} for both consumers of every arm",
            reason="too few samples to carry the percentiles that this run was to show",
            advice="use more images, a longer --day, or a profile that claims less",
        ),
        Rule(
            id="steady_state",
            ok=not any(unsteady.values()),
            measured=unsteady,
            limit=GROWTH_LIMIT,
            reason="online latency had a trend over a replicate: its change, as a share of the median",
            advice="growing: lower --rate or add workers; falling: the machine was not warm, run again",
        ),
    ]


def _missing(latency: Mapping[str, Any], claimed: Sequence[str]) -> list[str]:
    return [
        f"{consumer} {statistic}"
        for consumer in ("online", "batch")
        for statistic in claimed
        if latency.get(consumer, {}).get(f"{statistic}_seconds") is None
    ]


def _unsteady(section: Mapping[str, Any]) -> dict[str, float | None]:
    """Replicates with a trend, and how much their latency changed."""
    return {
        str(series["replicate"]): series["growth_share"]
        for series in section["series"]
        if series["is_steady"] is False
    }
