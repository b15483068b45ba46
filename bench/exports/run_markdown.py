"""A run as Markdown, for a pull request or a job summary: verdict, figures side by side, dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.compare.texts import HEADLINES, value_text
from bench.exports.escape import markdown_text
from bench.image_names import printable
from bench.metrics import Measurement, measure

_DEAD_LETTERS_SHOWN = 10


def run_markdown(result: Mapping[str, Any], *, is_complete: bool = False) -> str:
    """The page. Every text that a user's files brought along shows as text.

    ``is_complete``: every metric, in place of the headlines.
    """
    arms = list(result["arms"])
    metrics = measure(result)
    return "\n".join(
        [
            *_verdict(result),
            "",
            *_figures(metrics, arms, is_complete),
            "",
            *_missing(metrics, is_complete),
            *_dead_letters(result),
            *_made_from(result),
            "",
        ]
    )


def _verdict(result: Mapping[str, Any]) -> Iterator[str]:
    validity = result["validity"]
    yield f"## {'✅' if validity['valid'] else '❌'} {validity['verdict']}: run {_text(result['run_id'])}"
    yield ""
    broken = [rule for rule in validity["rules"] if not rule["ok"]]
    if not broken:
        yield f"All {len(validity['rules'])} rules hold."
    for rule in broken:
        yield f"- **{_text(rule['id'])}**: {_text(rule['reason'])}. {_text(rule['advice'])}"


def _figures(metrics: list[Measurement], arms: list[str], is_complete: bool) -> Iterator[str]:
    yield f"| measured | {' | '.join(_text(arm) for arm in arms)} |"
    yield f"|---|{'--:|' * len(arms)}"
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for metric in metrics:
        if metric.arm is not None and (is_complete or _name(metric) in HEADLINES):
            text = "—" if metric.value is None else value_text(metric.value, metric.definition.unit)
            rows.setdefault((_name(metric), metric.label), {})[metric.arm] = text
    for (_, label), cells in rows.items():
        yield f"| {_text(label)} | {' | '.join(_text(cells.get(arm, '—')) for arm in arms)} |"
    yield ""
    for metric in metrics:
        if metric.arm is None and (is_complete or metric.id.startswith("agreement")):
            value = value_text(metric.value, metric.definition.unit)
            yield f"- {_text(metric.label)}: {_text(value)}"


def _missing(metrics: list[Measurement], is_complete: bool) -> Iterator[str]:
    shown = [m for m in metrics if is_complete or _name(m) in HEADLINES or m.arm is None]
    for metric in shown:
        if metric.value is None:
            yield f"- `{metric.id}` was not measured: {_text(str(metric.reason))}"
    yield ""


def _dead_letters(result: Mapping[str, Any]) -> Iterator[str]:
    rows = [(arm, row) for arm, content in result["arms"].items() for row in content["dead_letters"]["rows"]]
    if not rows:
        return
    yield "| dead letters | path | reason | keys | files |"
    yield "|---|---|---|--:|---|"
    for arm, row in rows[:_DEAD_LETTERS_SHOWN]:
        files = ", ".join(_text(printable(name)) for name in row.get("files") or [])
        yield f"| {_text(arm)} | {_text(row['path'])} | {_text(row['reason'])} | {row['keys']} | {files} |"
    if len(rows) > _DEAD_LETTERS_SHOWN:
        yield f"| and {len(rows) - _DEAD_LETTERS_SHOWN} more | | | | |"
    yield ""


def _made_from(result: Mapping[str, Any]) -> Iterator[str]:
    origin = result["provenance"]
    machine, model, commit = (origin.get(name) or {} for name in ("machine", "model", "commit"))
    sha = (
        f"{commit['sha'][:12]}{' with uncommitted changes' if commit['dirty'] else ''}" if commit else "none"
    )
    facts = {
        "commit": sha,
        "machine": f"{machine.get('cpu')}, {machine.get('cores')} cores",
        "device": f"{origin.get('device')}, {origin.get('workers')} workers per pool",
        "model": f"{model.get('name')} {str(model.get('sha256'))[:12]}",
        "workload": f"{origin.get('workload')}, data set {origin.get('dataset')}, seed {origin.get('seed')}",
    }
    yield " · ".join(f"{name} {_text(fact)}" for name, fact in facts.items())


def _name(metric: Measurement) -> str:
    return metric.id.partition(".")[2]


def _text(text: str) -> str:
    return markdown_text(str(text))
