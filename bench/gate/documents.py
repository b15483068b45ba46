"""The outcome of a gate as a table in the terminal, as Markdown, and as JUnit XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Group, RenderableType
from rich.text import Text

from bench.exit_codes import MEANINGS, ExitCode
from bench.exports.escape import markdown_text, xml_text
from bench.figures_table import figures_table
from bench.gate.evaluate import Check, GateReport, Outcome

_COLUMNS = ("", "threshold", "limit", "actual", "note")


def gate_table(report: GateReport) -> RenderableType:
    """For the terminal: the verdict below every threshold with limit and actual, or above the rules that an
    INVALID run broke."""
    if report.invalid is not None:
        return Group(Text(_verdict(report), style="bold red"), *(Text(text) for text in _reasons(report)))
    table = figures_table(*_COLUMNS, texts=("threshold", "note"))
    for check in report.checks:
        style = "green" if check.outcome is Outcome.HOLDS else "bold red"
        table.add_row(*(Text(cell, style=style if i == 0 else "") for i, cell in enumerate(_cells(check))))
    passed = report.exit_code is ExitCode.OK
    verdict = Text(_verdict(report), style="bold green" if passed else "bold red")
    return Group(table, Text(), verdict, *(Text(text) for text in report.advice))


def gate_markdown(report: GateReport) -> str:
    """For a job summary."""
    icon = "✅" if report.exit_code is ExitCode.OK else "❌"
    lines = [f"## {icon} {markdown_text(_verdict(report))}", ""]
    if report.checks:
        lines += ["| | threshold | limit | actual | note |", "|---|---|---|---|---|"]
        for check in report.checks:
            cells = [markdown_text(cell) for cell in _cells(check)]
            if check.outcome is not Outcome.HOLDS:
                cells[0] = f"**{cells[0]}**"
            lines.append(f"| {' | '.join(cells)} |")
    if texts := [*_reasons(report), *report.advice]:
        lines += ["", *(f"- {markdown_text(text)}" for text in texts)]
    return "\n".join(lines) + "\n"


def write_junit(report: GateReport, path: Path) -> Path:
    """One test case per threshold; an INVALID run is an error, and so is what could not be judged."""
    suite = ET.Element("testsuite", name="lkbench.gate")
    errors = failures = 0
    if report.invalid is not None:
        case = ET.SubElement(suite, "testcase", classname="lkbench.gate", name="the run is VALID")
        ET.SubElement(case, "error", message=xml_text(_verdict(report)), type="INVALID").text = xml_text(
            "\n".join(_reasons(report))
        )
        errors += 1
    for check in report.checks:
        case = ET.SubElement(suite, "testcase", classname="lkbench.gate", name=xml_text(check.threshold.text))
        text = xml_text(
            f"limit {check.limit}, actual {check.actual}{f' ({check.note})' if check.note else ''}"
        )
        if check.outcome is Outcome.HOLDS:
            ET.SubElement(case, "system-out").text = text
        elif check.outcome in (Outcome.NOT_MEASURED, Outcome.NOT_DECIDABLE):
            ET.SubElement(case, "error", message=text, type=check.outcome)
            errors += 1
        else:
            ET.SubElement(case, "failure", message=text, type=check.outcome)
            failures += 1
    counts = {"tests": str(len(suite)), "failures": str(failures), "errors": str(errors), "skipped": "0"}
    suite.attrib.update(counts)
    root = ET.Element("testsuites", counts)
    root.append(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def _cells(check: Check) -> tuple[str, ...]:
    return (str(check.outcome), check.threshold.text, check.limit, check.actual, check.note)


def _verdict(report: GateReport) -> str:
    if report.exit_code is ExitCode.OK:
        return f"gate passed: thresholds that hold: {len(report.checks)}"
    reason = MEANINGS[report.exit_code]
    if report.invalid is not None:
        reason = f"run {report.invalid.name} is INVALID: its figures don't count"
    return f"gate failed ({report.exit_code.value}): {reason}"


def _reasons(report: GateReport) -> list[str]:
    broken = report.invalid.broken_rules if report.invalid is not None else ()
    return [f"{rule['id']}: {rule['reason']}. To do: {rule['advice']}." for rule in broken]
