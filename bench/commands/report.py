"""``lkbench report``: what a finished run says, printed and written."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import click
import orjson
from rich.console import Console

from bench.commands.options import output_option, run_argument
from bench.commands.results_console import results_console
from bench.compare.sides import StoredRun, find_side
from bench.exports.run_markdown import run_markdown
from bench.manifest import how_it_ended, read_manifest
from bench.run_folder import find_run
from signals.errors import ConfigurationError


@click.command()
@run_argument
@output_option
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
def report(run: str, output: Path, as_json: bool, as_markdown: bool) -> None:
    """Print the comparison of a finished run and write its reports again. RUN: an id, a folder or latest."""
    if as_markdown:
        for stored in find_side(run, output).runs:
            click.echo(run_markdown(stored.result))
        return
    run_dir = find_run(run, output)
    show_run(run_dir, Console(stderr=True), as_json=as_json)


def show_run(run_dir: Path, stderr: Console, *, as_json: bool = False) -> None:
    """Print the table (or JSON) to stdout and write every installed report; their paths go to stderr."""
    if not (run_dir / "result.json").is_file():
        raise ConfigurationError(f"{run_dir} has no result: {how_it_ended(read_manifest(run_dir))}")
    result = StoredRun.load(run_dir / "result.json").result
    if as_json:
        click.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    else:
        for point in entry_points(group="lkbench.tables"):
            results_console().print(point.load()(result))
    for point in sorted(entry_points(group="lkbench.reports"), key=lambda p: p.name):
        write: Callable[[Path], Path] = point.load()
        stderr.print(f"{point.name} report: {write(run_dir)}", highlight=False, markup=False, soft_wrap=True)
    stderr.print(f"run folder: {run_dir}", highlight=False, markup=False, soft_wrap=True)
