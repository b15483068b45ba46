"""``lkbench export``: a run in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import output_option
from bench.commands.outcome import warn_if_invalid
from bench.compare.sides import find_side
from bench.exports.formats import FORMATS, WITHOUT_VERDICT, export


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
    The paths go to stdout. Of an INVALID run there is nothing for other tools, which know no verdict.
    """
    side = find_side(run, output)
    for stored in side.runs:
        target = folder or stored.path.parent / "export"
        if folder is not None and len(side.runs) > 1:
            target = folder / stored.path.parent.name
        chosen = names or tuple(FORMATS)
        if not stored.is_valid and (len(side.runs) > 1 or not names):
            warn_if_invalid(stored)
            chosen = tuple(name for name in chosen if name not in WITHOUT_VERDICT)
        for path in export(stored, chosen, target):
            click.echo(path)
