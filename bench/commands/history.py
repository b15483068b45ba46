"""``lkbench history``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import click

from bench.commands.options import OutputFile
from bench.history import History, load_history


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", "target", type=OutputFile(), help="[default: DIR/history.html]")
def history(folder: Path, target: Path | None) -> None:
    """Write a page with every metric over the runs of DIR, and where it seems to have shifted.

    Only VALID runs count, and only runs of the same workload, model and machine share a chart. A shift is
    advice, not a gate: see `lkbench gate`. The path goes to stdout.
    """
    found = load_history(folder)
    for group in found.groups:
        for trend, change in group.changes():
            since = group.runs[change.run - 1].stored.name
            click.echo(f"advice: {trend.id} is {change.verdict} since run {since!r}", err=True)
    for point in sorted(entry_points(group="lkbench.histories"), key=lambda p: p.name):
        write: Callable[[History, Path], Path] = point.load()
        click.echo(write(found, target or folder / "history.html"))
