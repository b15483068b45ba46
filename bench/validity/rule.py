"""What a rule says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ByArm = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and how the run did. ``measured`` is by arm where it is a mapping; None: not measured.

    ``reason`` and ``advice`` are those of a run that breaks it.
    """

    id: str
    ok: bool
    measured: Any
    limit: Any
    reason: str
    advice: str

    def told(self) -> dict[str, Any]:
        """As a result has it: a broken one has advice, and a reason that says what was measured."""
        if self.ok:
            return {**asdict(self), "reason": "", "advice": ""}
        figures = f"Measured {figures_text(self.measured)}; limit {figures_text(self.limit)}"
        return {**asdict(self), "reason": f"{self.reason}. {figures}"}


def figures_text(value: Any) -> str:
    """What a rule measured, or its limit, in words."""
    if value is None:
        return "not measured"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {figures_text(of)}" for name, of in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
