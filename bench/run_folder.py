"""Names the folder of a run, finds the one that a command names, and reads its JSON files."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from signals.errors import ConfigurationError

RUNS = Path("runs")  # holds the run folders, unless a command is told otherwise


def new_token() -> str:
    """Six hex characters: what tells folders of the same second apart, and names on shared servers."""
    return secrets.token_hex(3)


def folder_name(token: str, kind: str = "") -> str:
    """``20261127-120000-a1b2c3``, with the ``kind`` in front if there is one: they sort by time (UTC)."""
    return f"{kind}{'-' if kind else ''}{datetime.now(UTC):%Y%m%d-%H%M%S}-{token}"


def find_run(run: str, output: Path) -> Path:
    """The run folder meant by an id, a path, or ``latest``. Raises ConfigurationError."""
    if run == "latest":
        return latest_run(output)
    for candidate in (Path(run), output / run):
        if (candidate / "manifest.json").is_file():
            return candidate.resolve()
    raise ConfigurationError(f"{run} is neither a run folder nor a run in {output}")


def latest_run(output: Path) -> Path:
    """The newest run folder below ``output``. Raises ConfigurationError if there is none."""
    manifests = sorted(output.glob("*/manifest.json"))
    if not manifests:
        raise ConfigurationError(f"there is no run in {output}; start one with: lkbench run")
    return manifests[-1].parent


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file of a run folder holds.

    Raises FileNotFoundError, and ConfigurationError for a file that was cut off or changed.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} is no JSON object")
    return content
