"""What a rule says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ByArm = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and how the run did. ``measured`` is by arm where it is a mapping; None: not measured."""

    id: str
    ok: bool
    measured: Any
    limit: Any
    reason: str
    advice: str
