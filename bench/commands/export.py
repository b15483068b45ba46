"""``lkbench export``: a run in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import output_option
from bench.compare.sides import find_side
from bench.exports.formats import FORMATS, export


@click.command("export")
@click.argument("run", default="latest")
@click.option(
    "--format",
    "names",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help="Repeat it for several. [default: all]",
)
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Folder for the files. [default: RUN/export]"
)
@output_option
def export_run(run: str, names: tuple[str, ...], folder: Path | None, output: Path) -> None:
    """Write a run as Markdown, JSON with its schema, CSV, Parquet, figures, or for other benchmark tools.

    RUN: an id, a folder, a result.json, a tag, latest, or a folder of runs, each of which then gets a folder.
    The paths go to stdout.
    """
    side = find_side(run, output)
    for stored in side.runs:
        target = folder or stored.path.parent / "export"
        if folder is not None and len(side.runs) > 1:
            target = folder / stored.path.parent.name
        for path in export(stored, list(names) or list(FORMATS), target):
            click.echo(path)
