"""What every section of ``result.json`` is made of: its source, its query, figures with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cost.provenance import Kind

Rows = Sequence[Mapping[str, Any]]
MEASURED = str(Kind.MEASURED)


def section(query: str, **content: Any) -> dict[str, Any]:
    """A section with what the query of that name measured."""
    return {"source": MEASURED, "query": query, **content}


def add_figure(figures: dict[str, Any], name: str, value: float | None, reason: str | None) -> None:
    """Add one figure; one that is None has a reason, beside it in ``reasons``."""
    figures[name] = value
    if value is None:
        figures["reasons"][name] = reason
