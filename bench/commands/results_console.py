"""Where commands print: their tables to stdout, what they are doing to stderr."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

PIPED_COLUMNS = 150


def results_console() -> Console:
    """stdout: as wide as the terminal, and wide where there is none, so that nothing piped is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_COLUMNS)


def stderr_lines() -> Callable[[str], None]:
    """Prints lines to stderr as they are: no markup, no colour, no break that is not in them."""
    console = Console(stderr=True)
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)
