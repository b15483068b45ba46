"""``lkbench compare`` and ``lkbench tag``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.commands.options import output_option
from bench.commands.results_console import results_console
from bench.compare.comparison import DETECT, Comparison, compare
from bench.compare.documents import comparison_json, comparison_markdown, comparison_table
from bench.compare.sides import find_side, tag_run

Command = Callable[..., Any]


class Share(click.ParamType):
    """``10%`` or ``0.1``, as a share above 0 and at most 1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a float."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            self.fail(f"{value!r} is not a share such as 10%", param, ctx)
        return share


detect_option = click.option(
    "--detect",
    type=Share(),
    default=f"{DETECT:.0%}",
    show_default=True,
    help="The change to find or to rule out.",
)
again_option = click.option("--aa", "again", help="A second set of runs of the base: the noise floor.")
paired_option = click.option(
    "--paired", "is_paired", is_flag=True, help="Replicates of both sides ran in turn: base head base head …"
)


@click.command("compare")
@click.argument("base")
@click.argument("head")
@again_option
@paired_option
@detect_option
@click.option("--all", "is_complete", is_flag=True, help="Every metric, not only changes and headlines.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Markdown on stdout, for a pull request.")
@output_option
def compare_runs(
    base: str,
    head: str,
    again: str | None,
    is_paired: bool,
    detect: float,
    is_complete: bool,
    as_json: bool,
    as_markdown: bool,
    output: Path,
) -> None:
    """Compare two runs, metric by metric, replicate by replicate.

    BASE and HEAD: a run id, a run folder, a result.json, a tag, latest, or a folder that holds runs. Refuses
    INVALID runs (exit code 6) and runs that differ in more than the code, saying in what (exit code 11).
    `~` marks a change that can't be told from noise.

    \b
    Examples:
      lkbench compare main latest
      lkbench compare runs/base runs/head --aa runs/again --paired
    """
    sides = [find_side(reference, output) for reference in (base, head)]
    second = find_side(again, output) if again else None
    comparison = compare(sides[0], sides[1], again=second, is_paired=is_paired, detect=detect)
    if as_json:
        click.echo(comparison_json(comparison))
    elif as_markdown:
        click.echo(comparison_markdown(comparison, is_complete=is_complete))
    else:
        _print(comparison, is_complete)


def _print(comparison: Comparison, is_complete: bool) -> None:
    results_console().print(comparison_table(comparison, is_complete=is_complete))


@click.command("tag")
@click.argument("run")
@click.argument("name")
@output_option
def tag(run: str, name: str, output: Path) -> None:
    """Give a VALID run a name that `compare` and `gate` understand, such as main.

    A name belongs to one run of a folder: another run that bears it loses it.
    """
    side = find_side(run, output)
    if len(side.runs) != 1:
        raise click.BadParameter(f"{run} means {len(side.runs)} runs, a tag is for one", param_hint="RUN")
    tag_run(side.runs[0].path.parent, name)
    click.echo(f"{side.runs[0].name} is now {name}", err=True)
