"""Which commit runs when, and with which command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from signals.errors import ConfigurationError

BASE, HEAD = "base", "head"
# Its --help, since `bench` alone is in every commit: it makes the environment and fills the cache first.
PREPARE = "nox -s bench -- --help"
RUN = ".nox/env/bin/lkbench run"


def order_of_runs(replicates: int) -> list[str]:
    """Base head head base base head …: ``replicates`` of each, so that drift falls on both alike."""
    return [side for pair in range(replicates) for side in ((HEAD, BASE) if pair % 2 else (BASE, HEAD))]


def run_arguments(command: str, options: Sequence[str], output: Path) -> list[str]:
    """The command of one replicate. The options of the user come first, so that they can't undo ours."""
    return [*command_words(command), *options, "--replicates", "1", "--output", str(output)]


def command_words(command: str) -> list[str]:
    """A command as a list of words. Raises ConfigurationError for quotes that do not close."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"the command {command!r} can't be split into words: {error}") from error
