"""Rules about the machine during the run: its clocks, and the time that was taken from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.validity.rule import Rule

CLOCK_STEP_SECONDS = 0.01
STEAL_SHARE = 0.05
OTHERS_SHARE = 0.15


def machine_rules(machine: Mapping[str, Any]) -> list[Rule]:
    """``machine``: the row of ``bench/sql/machine.sql``; its figures are None where nothing was sampled."""
    step = machine["largest_clock_step_seconds"]
    stolen = machine["steal_share"]
    others = machine["others_share"]
    return [
        Rule(
            id="no_clock_steps",
            ok=step is None or step <= CLOCK_STEP_SECONDS,
            measured=step,
            limit=CLOCK_STEP_SECONDS,
            reason="the wall clock was set during the run, against the monotonic one (seconds)",
            advice="let the clock be slewed, not stepped, and run again",
        ),
        Rule(
            id="nothing_stolen",
            ok=stolen is None or stolen <= STEAL_SHARE,
            measured=stolen,
            limit=STEAL_SHARE,
            reason="the hypervisor gave too large a share of this machine's CPU time to others",
            advice="use a machine of your own, or one whose cores are not oversold",
        ),
        Rule(
            id="machine_quiet",
            ok=others is None or others <= OTHERS_SHARE,
            measured=others,
            limit=OTHERS_SHARE,
            reason="processes that are no part of the run took too large a share of this machine's CPU time",
            advice="stop what else runs here, and run again",
        ),
    ]
