"""Finds the folder of a run that a command names."""

from __future__ import annotations

from pathlib import Path

from signals.errors import ConfigurationError

RUNS = Path("runs")  # holds the run folders, unless a command is told otherwise


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
