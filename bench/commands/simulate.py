"""``lkbench simulate RUN --against OTHER``: does the simulator say what another run measured?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.table import Table
from rich.text import Text

from bench.commands.options import output_option
from bench.commands.outcome import warn_if_invalid
from bench.commands.results_console import results_console
from bench.compare.sides import StoredRun
from bench.cost.replay import Comparison, Run, replay
from bench.exit_codes import ExitCode
from bench.figures_table import figures_table
from bench.run_folder import find_run


@click.command()
@click.argument("run")
@click.option("--against", required=True, help="The run whose workload is simulated: an id or a folder.")
@click.option("--seed", default=1, show_default=True, help="Seed of the simulation.")
@output_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def simulate(run: str, against: str, seed: int, output: Path, as_json: bool) -> None:
    """Simulate the workload of one run with the service times of another, and compare with what it measured.

    RUN gives service times, --against the arrivals and the measured figures. Device hours have to come out
    within 5 %, median and 95th percentile of both consumers' availability within 10 %; otherwise the exit
    code is 7. Use runs of the same machine, with other rates, days and seeds.
    """
    folders = [find_run(reference, output) for reference in (run, against)]
    for folder in folders:
        warn_if_invalid(StoredRun.load(folder / "result.json"))
    rows = replay(*map(Run.load, folders), seed=seed)
    if as_json:
        document = [{**asdict(row), "error": row.error, "ok": row.ok} for row in rows]
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        results_console().print(_table(rows))
    if not all(row.ok for row in rows):
        sys.exit(ExitCode.VERIFICATION_FAILED)


def _table(rows: list[Comparison]) -> Table:
    columns = ("arm", "figure", "predicted", "measured", "unit", "error", "within", "")
    table = figures_table(*columns, texts=("figure", "unit", ""))
    for row in rows:
        judged = row.tolerance is not None
        verdict = Text("ok" if judged else "", "green") if row.ok else Text("OUTSIDE", "bold red")
        values = [f"{value:,.4g}" for value in (row.predicted, row.measured)]
        cells = [f"{row.error:+.1%}", f"{row.tolerance:.0%}" if row.tolerance is not None else ""]
        table.add_row(row.arm, row.figure, *values, row.unit, *cells, verdict)
    return table
