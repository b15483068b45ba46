"""Where commands print their tables."""

from __future__ import annotations

from rich.console import Console

PIPED_COLUMNS = 150


def results_console() -> Console:
    """stdout: as wide as the terminal, and wide where there is none, so that nothing piped is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_COLUMNS)
