"""``lkbench calibrate``: what a compressed day says about a longer one, and whether that is true."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import orjson

from bench.commands.duration import Duration, Durations
from bench.commands.options import ABOVE_ZERO, Names, config_option, output_option
from bench.commands.results_console import results_console, stderr_lines
from bench.config import HarnessConfig
from bench.exit_codes import ExitCode
from bench.run import RunSettings
from signals.errors import ConfigurationError

DEFAULTS = RunSettings()


@click.command()
@click.option(
    "--days",
    type=Durations(),
    default="15s,30s,60s",
    show_default=True,
    help="Sizes to fit on, three at least.",
)
@click.option(
    "--held-out",
    type=Duration(),
    default="240s",
    show_default=True,
    help="A day that is predicted, then run; at least four times the longest of --days.",
)
@click.option("--rate", type=ABOVE_ZERO, default=10.0, show_default=True, help="Mean arrivals per second.")
@click.option("--replicates", type=click.IntRange(1), default=2, show_default=True, help="Days of each size.")
@click.option("--workload", default=DEFAULTS.workload, show_default=True, help="Name, or a TOML file.")
@click.option(
    "--arms", type=Names(), default=",".join(DEFAULTS.arms), show_default=True, help="Architectures."
)
@click.option(
    "--run",
    "run_dirs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="A run folder to use in place of new runs, several times; the longest day is held out.",
)
@config_option
@output_option
def calibrate(
    days: Sequence[float],
    held_out: float,
    rate: float,
    replicates: int,
    workload: str,
    arms: tuple[str, ...],
    run_dirs: Sequence[Path],
    config_path: Path | None,
    output: Path,
) -> None:
    """Split every stage into a fixed and a per-image part, and predict a longer day with them.

    Days of at least three sizes are run and fitted; then a day at least four times longer is predicted, run
    and compared. All of it holds for this machine and this rate. Every run must be VALID, and they may differ
    in nothing but the size and number of their days, their seed and their arms.
    """
    from bench.calibration.days import fit_all, observe, require_alike
    from bench.calibration.execute import calibration_folder, run_days
    from bench.calibration.fit import MIN_SIZES
    from bench.calibration.held_out import TIMES_LONGER, check_held_out, project_full_day
    from bench.calibration.report import check_table, content, parts_table
    from bench.compare.sides import StoredRun

    if not run_dirs and (len(days) < MIN_SIZES or held_out < TIMES_LONGER * max(days)):
        raise ConfigurationError(
            f"--days needs {MIN_SIZES} sizes, and --held-out {TIMES_LONGER:g} times the longest of them"
        )
    say = stderr_lines()
    folder = calibration_folder(output)
    if not run_dirs:
        config = HarnessConfig.load(config_path)
        settings = RunSettings(
            workload=workload, rate_per_second=rate, replicates=replicates, arms=arms, output=folder
        )
        run_dirs = [
            *run_days(settings, days, config, say),
            *run_days(replace(settings, replicates=1), [held_out], config, say),
        ]
    runs = [StoredRun.load(run_dir / "result.json") for run_dir in run_dirs]
    require_alike(runs)
    found = [day for run_dir in run_dirs for day in observe(run_dir)]
    longest = max((day.day_seconds for day in found), default=0.0)
    fitted = [day for day in found if day.day_seconds < longest]
    if not fitted:
        raise ConfigurationError("there are no days of several sizes to fit on")
    fits = fit_all(fitted)
    checks = check_held_out(fits, fitted, [day for day in found if day.day_seconds == longest])
    projections = project_full_day(fits, fitted)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "calibration.json"
    path.write_bytes(orjson.dumps(content(runs, fits, projections, checks), option=orjson.OPT_INDENT_2))
    console = results_console()
    console.print(parts_table(fits, projections))
    console.print(check_table(checks, longest))
    say(f"written to {path}")
    if not all(check.ok for check in checks):
        sys.exit(ExitCode.VERIFICATION_FAILED)
