"""``lkbench audit``: does the harness find what is wrong with an arm?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.table import Table

from bench.commands.options import Names, config_option, output_option
from bench.commands.results_console import results_console, stderr_lines
from bench.config import HarnessConfig
from bench.exit_codes import ExitCode
from bench.figures_table import figures_table
from signals.errors import ConfigurationError

if TYPE_CHECKING:  # each command loads what it needs when it runs: SciPy alone takes a second
    from bench.audit.execute import Row
    from bench.audit.plan import PlanItem

FOUND = {True: "yes", False: "no", None: "unknown"}


@click.command()
@click.option("--only", type=Names(), default="", help="Items of the plan, separated by commas; see --list.")
@click.option("--list", "show_plan", is_flag=True, help="Print the plan and end.")
@config_option
@output_option
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON on stdout, in place of the table.")
def audit(
    only: tuple[str, ...], show_plan: bool, config_path: Path | None, output: Path, as_json: bool
) -> None:
    """Plant defects of known kind and size, and check that each is found, and that nothing else is.

    Every defect runs in an arm that does next to nothing else, through the harness's real generator, servers,
    consumers and queries. Each detector is also asked about a run without a defect, and must stay silent.
    """
    from bench.audit.execute import Auditor

    items = _chosen(only)
    if show_plan:
        results_console().print(_plan_table(items))
        return
    say = stderr_lines()
    with Auditor(output, HarnessConfig.load(config_path), say) as auditor:
        rows = list(auditor.rows(items))
    content = [{**asdict(row), "ok": row.ok} for row in rows]
    encoded = orjson.dumps({"schema_version": 1, "rows": content}, option=orjson.OPT_INDENT_2)
    (auditor.folder / "audit.json").write_bytes(encoded)
    if as_json:
        click.echo(encoded)
    else:
        results_console().print(_table(rows))
    say(f"audit folder: {auditor.folder}")
    if not all(row.ok for row in rows):
        sys.exit(ExitCode.VERIFICATION_FAILED)


def _chosen(names: tuple[str, ...]) -> list[PlanItem]:
    from bench.audit.plan import PLAN

    known = {item.name: item for item in PLAN}
    if unknown := sorted(set(names) - set(known)):
        raise ConfigurationError(f"the audit has no item {', '.join(unknown)}; it has {', '.join(known)}")
    return [known[name] for name in names] or list(PLAN)


def _plan_table(items: list[PlanItem]) -> Table:
    columns = ("item", "what is planted", "what has to find it")
    table = figures_table(*columns, texts=columns)
    for item in items:
        table.add_row(item.name, item.description, ", ".join(detector.name for detector in item.detectors))
    return table


def _table(rows: list[Row]) -> Table:
    unknown = sum(row.finding.found is None for row in rows)
    wrong = sum(not row.ok for row in rows) - unknown
    counts = {"were wrong": wrong, "could not tell": unknown}
    failed = ", ".join(f"{count} detectors {what}" for what, count in counts.items() if count)
    title = failed or "every detector said what is true"
    columns = ("item", "expected detector", "found", "verdict", "measured")
    table = figures_table(*columns, texts=columns, title=title)
    for row in rows:
        found = FOUND[row.finding.found]
        table.add_row(row.item, row.detector, found, "ok" if row.ok else "FAIL", row.finding.text)
    return table
