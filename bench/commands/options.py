"""Options, arguments and types of them that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from bench.run_folder import RUNS
from signals.errors import ConfigurationError


class Names(click.ParamType):
    """``lambda,kappa``: a tuple of names, in order; where ``known`` is given, one of them at least and no
    others."""

    name = "names"

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """The names, without empty ones. Raises ConfigurationError for one that is not known."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(",") if name.strip())
        if self._known and (not names or set(names) - set(self._known)):
            option = param.opts[0] if param is not None else "names"
            problem = ", ".join(sorted(set(names) - set(self._known))) or "''"
            raise ConfigurationError(f"{option}: unknown {problem}; known are {', '.join(self._known)}")
        return names


class FiniteRange(click.FloatRange):
    """A range of finite numbers: click's own takes nan for a number within any bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


ABOVE_ZERO = FiniteRange(min=0, min_open=True)


class OutputFile(click.Path):
    """A file to write, in a folder that is there; where ``endings`` are given, its name has one of them.

    Whatever takes long must not find out at its end that there is nowhere to write.
    """

    def __init__(self, *endings: str) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path. Raises ConfigurationError for another ending and for a missing folder."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        option = param.opts[0] if param is not None else "file"
        if self._endings and path.suffix not in self._endings:
            raise ConfigurationError(
                f"{option} {path}: write a file that ends in {' or '.join(self._endings)}"
            )
        if not path.absolute().parent.is_dir():
            raise ConfigurationError(f"{option} {path}: there is no such folder")
        return path


json_option = click.option(
    "--json",
    "json_path",
    type=OutputFile(),
    help="Also write a JSON file. Of a command that was cut off it holds what there is.",
)
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
