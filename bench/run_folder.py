"""Finds the folder of a run that a command names."""

from __future__ import annotations

from pathlib import Path

from bench.run import latest_run
from signals.errors import ConfigurationError


def find_run(run: str, output: Path) -> Path:
    """The run folder meant by an id, a path, or ``latest``. Raises ConfigurationError."""
    if run == "latest":
        return latest_run(output)
    for candidate in (Path(run), output / run):
        if (candidate / "manifest.json").is_file():
            return candidate.resolve()
    raise ConfigurationError(f"{run} is neither a run folder nor a run in {output}")
