"""What a planted run left behind, and what a detector makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.ledger_query import open_ledger, sql_text
from bench.validity.rule import figures_text
from bench.verify import verify_run

REFERENCE, PLANTED = "reference", "planted"  # the arms of an audit's runs


@dataclass(frozen=True, slots=True)
class Evidence:
    """One sealed run of an audit: the arm ``planted``, and in most runs ``reference`` beside it."""

    run_dir: Path
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector says. ``text`` names what was measured.

    ``found`` None: it could not tell, and ``text`` says why. That is as wrong where it has to stay silent as
    where it has to find something.
    """

    found: bool | None
    text: str


class Detector(Protocol):
    """Looks at a run for one kind of defect."""

    @property
    def name(self) -> str:
        """What is asked: a validity rule, a check of ``lkbench verify``, or a comparison."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Whether the defect is there."""


@dataclass(frozen=True, slots=True)
class RuleFires:
    """The validity rule ``rule`` does not hold."""

    rule: str

    @property
    def name(self) -> str:
        """The rule."""
        return f"rule {self.rule}"

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if the run is INVALID by this rule."""
        for rule in evidence.result["validity"]["rules"]:
            if rule["id"] == self.rule:
                measured, limit = figures_text(rule["measured"]), figures_text(rule["limit"])
                return Finding(not rule["ok"], f"measured {measured}; limit {limit}")
        return Finding(None, "there is no such rule")


@dataclass(frozen=True, slots=True)
class CheckFails:
    """A check of ``lkbench verify`` whose name starts with ``check`` fails."""

    check: str

    @property
    def name(self) -> str:
        """The check."""
        return f"verify {self.check}"

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if the check fails for any arm."""
        checks = [check for check in verify_run(evidence.run_dir) if check.name.startswith(self.check)]
        if not checks:
            return Finding(None, "there is no such check")
        failed = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
        return Finding(bool(failed), "; ".join(failed) or f"{len(checks)} such checks hold")


@dataclass(frozen=True, slots=True)
class Measures:
    """A detector of its own: ``ask`` is called with the evidence."""

    name: str
    ask: Callable[[Evidence], Finding]

    def __call__(self, evidence: Evidence) -> Finding:
        """What ``ask`` finds."""
        return self.ask(evidence)


def stage_differences(run_dir: Path) -> dict[str, list[float]]:
    """Seconds by which each stage took longer in the planted arm, by pair; see ``stage_difference.sql``."""
    arms = {"reference": REFERENCE, "contender": PLANTED}
    differences: dict[str, list[float]] = {}
    with open_ledger(run_dir) as query:
        for row in query.execute(sql_text("stage_difference"), arms):
            differences.setdefault(row["stage"], []).append(row["difference_seconds"])
    return differences
