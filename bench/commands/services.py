"""``lkbench services``."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from bench.commands.options import config_option, output_option
from bench.config import HarnessConfig
from bench.services.standalone import standalone_stack


@click.command()
@config_option
@output_option
def services(config_path: Path | None, output: Path) -> None:
    """Start every server that a run can use, print them as a configuration file, keep them up.

    The printed TOML works as --config of a run: the same way, a run uses servers of your own. It holds
    secrets. Stop with Ctrl-C.
    """
    stderr = Console(stderr=True)
    with standalone_stack(output, HarnessConfig.load(config_path), stderr.print) as servers:
        click.echo(servers.toml)
        stderr.print("services are up; Ctrl-C stops them")
        while True:
            time.sleep(1.0)
            servers.check()
