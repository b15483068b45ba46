"""A comparison as a table in the terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
from rich.console import Group, RenderableType
from rich.text import Text

from bench.compare.comparison import Comparison, MetricComparison, Verdict
from bench.compare.sides import Side
from bench.compare.texts import (
    chance_text,
    change_text,
    confidence_text,
    hidden_text,
    shown_metrics,
    value_text,
    verdict_text,
)
from bench.exports.escape import markdown_text
from bench.figures_table import figures_table

_STYLES = {Verdict.WORSE: "bold red", Verdict.BETTER: "bold green", Verdict.DIFFERS: "bold yellow"}
_COLUMNS = ("metric", "base", "head", "change [95 %]", "confidence", "verdict")


def comparison_table(comparison: Comparison, *, is_complete: bool = False) -> RenderableType:
    """For the terminal."""
    table = figures_table(*_COLUMNS, texts=_COLUMNS[3:])
    shown = shown_metrics(comparison, is_complete=is_complete)
    for metric in shown:
        table.add_row(*(Text(cell, style=_STYLES.get(metric.verdict, "")) for cell in _row(metric)))
    lines = [Text(line, style="dim") for line in _notes(comparison, shown)]
    return Group(Text(_head(comparison), style="bold"), Text(), table, Text(), *lines)


def comparison_markdown(comparison: Comparison, *, is_complete: bool = False) -> str:
    """For a pull request or a job summary."""
    shown = shown_metrics(comparison, is_complete=is_complete)
    lines = [f"### {markdown_text(_head(comparison))}", "", *_markdown_row(_COLUMNS)]
    lines.append("|---|--:|--:|---|---|---|")
    for metric in shown:
        cells = [markdown_text(cell) for cell in _row(metric)]
        if metric.is_significant:
            cells[-1] = f"**{cells[-1]}**"
        lines += _markdown_row((f"`{metric.id}`", *cells[1:]))
    lines += ["", *(f"{markdown_text(note)}  " for note in _notes(comparison, shown))]
    return "\n".join(lines) + "\n"


def comparison_json(comparison: Comparison) -> str:
    """Everything: every metric with values, effect, interval, test, noise floor, verdict."""
    document = {
        "base": _side_json(comparison.base),
        "head": _side_json(comparison.head),
        "again": None if comparison.again is None else _side_json(comparison.again),
        "paired": comparison.is_paired,
        "detect": comparison.detect,
        "metrics": [_metric_json(metric) for metric in comparison.metrics.values()],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _metric_json(metric: MetricComparison) -> dict[str, Any]:
    definition = metric.definition
    return {
        "id": metric.id,
        "unit": definition.unit,
        "direction": definition.direction,
        "noise": definition.noise,
        "base": metric.base,
        "head": metric.head,
        "base_replicates": metric.base_replicates,
        "head_replicates": metric.head_replicates,
        "effect": None if metric.effect is None else dataclasses.asdict(metric.effect),
        "noise_floor": metric.noise_floor,
        "verdict": metric.verdict,
        "within": metric.within,
        "more_replicates": metric.more_replicates,
        "reason": metric.reason or None,
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {"label": side.label, "runs": [run.name for run in side.runs]}


def _head(comparison: Comparison) -> str:
    return f"{_side_text(comparison.base)} against {_side_text(comparison.head)}"


def _side_text(side: Side) -> str:
    if len(side.runs) == 1:
        return side.label if side.label == side.runs[0].name else f"{side.label} ({side.runs[0].name})"
    return f"{side.label} ({len(side.runs)} runs)"


def _row(metric: MetricComparison) -> tuple[str, ...]:
    unit = metric.definition.unit
    return (
        metric.id,
        value_text(metric.base, unit),
        value_text(metric.head, unit),
        change_text(metric),
        confidence_text(metric),
        verdict_text(metric),
    )


def _notes(comparison: Comparison, shown: list[MetricComparison]) -> list[str]:
    hidden = hidden_text(comparison, shown)
    notes = [chance_text(comparison)]
    if hidden:
        notes.append(f"Not shown: {hidden}.")
    if comparison.again is None:
        notes.append("Noise floor: the odd replicates of the base against its even ones, at least 1 %.")
    else:
        notes.append(f"Noise floor: the base against itself ({_side_text(comparison.again)}), at least 1 %.")
    return notes


def _markdown_row(cells: tuple[str, ...]) -> list[str]:
    return [f"| {' | '.join(cells)} |"]
