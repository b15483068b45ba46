"""``lkbench explain``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import output_option
from bench.commands.results_console import results_console
from bench.explain import explain_signature
from bench.run_folder import find_run


@click.command()
@click.argument("run")
@click.argument("signature")
@output_option
def explain(run: str, signature: str, output: Path) -> None:
    """Print one image's way through each arm, with times. SIGNATURE may be a prefix."""
    results_console().print(explain_signature(find_run(run, output), signature))
