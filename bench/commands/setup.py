"""``lkbench setup``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import config_option
from bench.commands.results_console import stderr_lines
from bench.config import HarnessConfig
from bench.setup import DEFAULT_DATASET, prepare


@click.command()
@config_option
def setup(config_path: Path | None) -> None:
    """Fetch and build everything a run needs into the cache; a later run needs no network."""
    prepare(HarnessConfig.load(config_path), stderr_lines(), [DEFAULT_DATASET])
