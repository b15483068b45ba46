"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from bench.run_folder import RUNS

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="TOML file with external services, the model, the device. Without it, everything runs here.",
)
run_argument = click.argument("run", default="latest")
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=RUNS,
    show_default=True,
    help="Folder that holds the run folders.",
)
