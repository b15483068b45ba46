"""What the pages share: how their templates are read, and how a finished page gets to its place."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.image_names import printable
from signals.whole_file import replace_file


def page_environment() -> Environment:
    """Templates that escape all text, and in which a name that is not defined is an error."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = lambda text: printable(str(text))
    return environment


def write_page(page: str, path: Path) -> Path:
    """Write it so that a reader sees the old page or the new one whole. Returns ``path``."""
    replace_file(path, page.encode())
    return path
