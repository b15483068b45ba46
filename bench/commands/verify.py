"""``lkbench verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.commands.options import output_option, run_argument
from bench.commands.results_console import results_console
from bench.exit_codes import ExitCode
from bench.run_folder import find_run
from bench.verify import verify_run


@click.command()
@run_argument
@output_option
def verify(run: str, output: Path) -> None:
    """Check completeness and agreement again, from the run folder alone."""
    checks = verify_run(find_run(run, output))
    console = results_console()
    for check in checks:
        line = f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not all(check.ok for check in checks):
        sys.exit(ExitCode.VERIFICATION_FAILED)
