"""What a process of ours needs around its work: a log on stderr, an exit code for an error of the tree."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

import click

from signals.errors import LkbenchError


def log_to_stderr() -> None:
    """Messages from INFO on go to stderr, with time and place."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


@contextlib.contextmanager
def exits_as(name: str) -> Iterator[None]:
    """An error of the tree ends the process with its exit code, and one line on stderr that begins with
    ``name``."""
    try:
        yield
    except LkbenchError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(error.exit_code)
