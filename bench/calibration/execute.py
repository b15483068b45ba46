"""Runs the days of a calibration: each size as a run of its own, so that nothing is carried over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.compare.sides import StoredRun
from bench.config import HarnessConfig
from bench.display import Display
from bench.run import Run, RunSettings
from bench.run_folder import folder_name, new_token


def calibration_folder(output: Path) -> Path:
    """A new folder below ``output``."""
    return output / folder_name(new_token(), "calibration")


def run_days(
    settings: RunSettings,
    sizes_seconds: Sequence[float],
    config: HarnessConfig,
    progress: Callable[[str], None],
) -> Iterator[Path]:
    """Run ``settings`` with each length of a day; yields the run folders.

    Raises an error of the tree: InvalidRun as soon as a run is INVALID, since nothing can be fitted to it.
    """
    for number, size in enumerate(sizes_seconds, 1):
        progress(f"day of {size:g} s ({number} of {len(sizes_seconds)}), {settings.replicates} replicates")
        run = Run(replace(settings, day_seconds=size), config, Display(Console(stderr=True)))
        result = run.execute()
        progress(f"{run.run_dir.name}: {result['validity']['verdict']}")
        StoredRun(run.run_dir / "result.json", result).require_valid()
        yield run.run_dir
