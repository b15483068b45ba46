"""``lkbench setup``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from bench.commands.options import config_option
from bench.config import HarnessConfig
from bench.setup import DEFAULT_DATASET, prepare


@click.command()
@config_option
def setup(config_path: Path | None) -> None:
    """Fetch and build everything a run needs into the cache; a later run needs no network."""
    stderr = Console(stderr=True)

    def say(text: str) -> None:
        stderr.print(text, highlight=False, markup=False)

    prepare(HarnessConfig.load(config_path), say, [DEFAULT_DATASET])
