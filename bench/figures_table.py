"""What tables of figures look like in the terminal, in every command."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table


def figures_table(first: str, *others: str, texts: Collection[str] = (), title: str = "") -> Table:
    """A table without lines: names in the ``first`` column, figures, right-justified, in the ``others``.

    Those of them that ``texts`` names hold text, left-justified. No cell is cut off: what is too long is
    folded.
    """
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name in texts else "right", overflow="fold")
    return table
