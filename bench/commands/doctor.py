"""``lkbench doctor``."""

from __future__ import annotations

import sys

import click

from bench.commands.results_console import results_console
from bench.doctor import run_checks
from bench.exit_codes import ExitCode


@click.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it."""
    console = results_console()
    checks = run_checks()
    for check in checks:
        console.print(
            f"{'ok     ' if check.ok else 'MISSING'}  {check.name}: {check.found}",
            highlight=False,
            markup=False,
        )
        if check.advice:
            console.print(f"         {check.advice}", highlight=False, markup=False)
    if not all(check.ok for check in checks):
        sys.exit(ExitCode.MISSING_REQUIREMENT)
