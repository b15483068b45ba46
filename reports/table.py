"""The comparison in the terminal: arms side by side, the verdict first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from bench.durations import duration_text
from bench.figures_table import figures_table
from reports.summary import SummaryRow, reasons, summary_rows, warm_up_note


def comparison(result: Mapping[str, Any]) -> RenderableType:
    """The verdict with the rules that are broken, and the figures of all arms, from ``result.json``."""
    arms = list(result["arms"])
    table = figures_table("measured", *arms)
    rows = summary_rows(result)
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            table.add_row(Text(group, style="bold cyan"), *[""] * len(arms))
        table.add_row(Text(f"  {row.label}"), *(_cell(row, arm) for arm in arms))
    return Group(_verdict(result["validity"]), Text(), table, Text(), *_notes(result, rows))


def _cell(row: SummaryRow, arm: str) -> Text:
    cell = row.cells[arm]
    return Text(cell.text, style="dim" if cell.reason else "")


def _verdict(validity: Mapping[str, Any]) -> RenderableType:
    if validity["valid"]:
        return Text(f"VALID: all {len(validity['rules'])} rules hold", style="bold green")
    broken = [rule for rule in validity["rules"] if not rule["ok"]]
    lines: list[RenderableType] = [Text("INVALID: do not rely on these figures", style="bold red")]
    for rule in broken:
        lines.append(Padding(Text(f"{rule['id']}: {rule['reason']}"), (0, 0, 0, 2)))
        lines.append(Padding(Text(rule["advice"], style="dim"), (0, 0, 0, 4)))
    return Group(*lines)


def _notes(result: Mapping[str, Any], rows: Sequence[SummaryRow]) -> list[RenderableType]:
    notes: list[RenderableType] = []
    if result.get("day_seconds"):
        day = duration_text(float(result["day_seconds"]))
        notes.append(Text(f"A day is {day} long here ({result['compression']:.0f} times compressed).", "dim"))
    if note := warm_up_note(result):
        notes.append(Text(note, "dim"))
    notes += [Text(f"- {reason}", "dim") for reason in reasons(rows)]
    return notes
