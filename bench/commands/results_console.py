"""Where commands print their tables, and what the tables of figures look like."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

PIPED_COLUMNS = 150


def results_console() -> Console:
    """stdout: as wide as the terminal, and wide where there is none, so that nothing piped is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_COLUMNS)


def figures_table(first: str, *others: str) -> Table:
    """A table without lines: names in the ``first`` column, figures, right-justified, in the ``others``."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
