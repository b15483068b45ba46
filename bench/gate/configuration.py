"""Where thresholds are written: ``[tool.lkbench.gate]`` of a pyproject.toml, or a file of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from signals.errors import ConfigurationError

PROJECT_FILE = Path("pyproject.toml")
_HOW = 'write thresholds = ["kappa.online.p95 < 2 s"] in [tool.lkbench.gate] of pyproject.toml, or use -t'


def load_thresholds(path: Path | None) -> list[str]:
    """The texts of all thresholds in order. Without a path, those of the pyproject.toml of this folder.

    A ``.toml`` file holds ``thresholds`` in ``[tool.lkbench.gate]`` or at its top; any other file one
    threshold per line, with ``#`` comments. Raises ConfigurationError, also where there is none: a gate
    without thresholds would let everything pass.
    """
    source = path or PROJECT_FILE
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source} can't be read: {error}; {_HOW}") from error
    thresholds = _from_toml(text, source) if source.suffix == ".toml" else _from_lines(text)
    if not thresholds:
        raise ConfigurationError(f"{source} names no threshold: {_HOW}")
    return thresholds


def _from_lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _from_toml(text: str, source: Path) -> list[str]:
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    table: Any = content
    for key in ("tool", "lkbench", "gate"):
        table = table.get(key) if isinstance(table, dict) else None
    if table is None:
        table = {} if source.name == PROJECT_FILE.name else content
    if not isinstance(table, dict) or set(table) - {"thresholds"}:
        raise ConfigurationError(f"{source}: a gate has one key, thresholds, a list of strings")
    thresholds = table.get("thresholds", [])
    if not isinstance(thresholds, list) or not all(isinstance(item, str) for item in thresholds):
        raise ConfigurationError(
            f"{source}: thresholds is a list of strings such as 'kappa.online.p95 < 2 s'"
        )
    return thresholds
