"""How a command that measures ends: whether its targets are met, and whether its figures count."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import orjson

from bench.compare.sides import StoredRun
from bench.exit_codes import ExitCode
from bench.throughput.targets import Target
from signals.whole_file import replace_file

check_option = click.option(
    "--check",
    is_flag=True,
    help=f"End with code {ExitCode.THRESHOLD_BREACHED.value} unless every target was measured and met.",
)


def keep(path: Path | None, plain: Mapping[str, object], *, is_complete: bool) -> None:
    """Write what was measured, if there is a file for it."""
    if path is not None:
        whole = {"is_complete": is_complete, **plain}
        replace_file(path, orjson.dumps(whole, option=orjson.OPT_INDENT_2))


def warn_if_invalid(run: StoredRun) -> None:
    """Say on stderr that what the command tells of an INVALID run doesn't count."""
    if not run.is_valid:
        click.echo(run.invalidity, err=True)


def hold(targets: Sequence[Target]) -> None:
    """End the program where a target was missed, or not measured."""
    if short := [target.name for target in targets if not target.met]:
        click.echo(f"not met: {'; '.join(short)}", err=True)
        sys.exit(ExitCode.THRESHOLD_BREACHED)
