"""Options, arguments and types of them that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.run_folder import RUNS


class Names(click.ParamType):
    """``lambda,kappa``: a tuple of names, in order."""

    name = "names"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """The names, without empty ones."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


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
