"""``lkbench run``: both architectures on the same images."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from bench.commands.duration import Duration
from bench.commands.options import ABOVE_ZERO, Names, config_option, output_option
from bench.commands.report import show_run
from bench.compare.sides import check_tag, tag_run
from bench.config import HarnessConfig
from bench.display import Display
from bench.exit_codes import ExitCode
from bench.profiles import PROFILES, Profile, announcement
from bench.run import Run, RunSettings

DEFAULTS = RunSettings()


@click.command()
@click.option(
    "--images",
    default=DEFAULTS.images,
    show_default=True,
    help="A data set by name (see `lkbench datasets`) or a folder of your own images.",
)
@click.option("--workload", default=DEFAULTS.workload, show_default=True, help="Name, or a TOML file.")
@click.option(
    "--seed", type=click.IntRange(0), default=DEFAULTS.seed, show_default=True, help="Seed of the schedule."
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="quick",
    show_default=True,
    help="Replicates, days and rate together; options below override it. Says first what it can decide.",
)
@click.option(
    "--days", type=click.IntRange(1), help="Compressed days per replicate. [default: the profile's]"
)
@click.option(
    "--day",
    "day_seconds",
    type=Duration(),
    help="Length of a compressed day, e.g. 30s; 24h is the real thing. [default: 30s, or as long as your "
    "images take at --rate]",
)
@click.option(
    "--rate",
    type=ABOVE_ZERO,
    help="Mean arrivals per second. [default: 20, or that of a trace at real speed]",
)
@click.option(
    "--load",
    type=ABOVE_ZERO,
    help="In place of --rate: a share of the inference capacity, which is measured when the run starts.",
)
@click.option("--replicates", type=click.IntRange(1), help="Repeats of each arm. [default: the profile's]")
@click.option(
    "--arms",
    type=Names(),
    default=",".join(DEFAULTS.arms),
    show_default=True,
    help="Architectures to run, in order.",
)
@click.option(
    "--drain-timeout", type=Duration(), default="300s", show_default=True, help="Per wait for an arm."
)
@click.option(
    "--freshness",
    type=Duration(),
    help="Your objective: 95 % of images available to online consumers within this. The report draws it.",
)
@click.option("--tag", "tag_name", help="A name for this run, if it is VALID: see `lkbench compare`.")
@config_option
@output_option
def run(
    images: str,
    workload: str,
    seed: int,
    profile: str,
    days: int | None,
    day_seconds: float | None,
    rate: float | None,
    load: float | None,
    replicates: int | None,
    arms: tuple[str, ...],
    drain_timeout: float,
    freshness: float | None,
    tag_name: str | None,
    config_path: Path | None,
    output: Path,
) -> None:
    """Run both architectures on the same images and compare them.

    \b
    Examples:
      lkbench run                                 the shipped crops, one compressed day of 30 s
      lkbench run --images ~/photos               every image of a folder
      lkbench run --days 2 --day 1m --rate 40     two longer, busier days
      lkbench run --load 0.5                      half of what this machine can infer
    """
    if tag_name is not None:
        check_tag(tag_name)
    chosen = PROFILES[profile]
    settings = RunSettings(
        images=images,
        workload=workload,
        profile=profile,
        claimed_percentiles=chosen.claimed_percentiles,
        seed=seed,
        days=days or chosen.days,
        day_seconds=day_seconds or chosen.day_seconds,
        rate_per_second=rate,
        load_share=load,
        replicates=replicates or chosen.replicates,
        arms=arms,
        output=output,
        drain_timeout_seconds=drain_timeout,
        freshness_seconds=freshness,
    )
    planned = Profile(
        settings.replicates, settings.days, settings.day_seconds, rate or chosen.rate_per_second
    )
    stderr = Console(stderr=True)

    def announce() -> None:
        for line in announcement(planned, len(settings.arms)):
            stderr.print(f"profile {profile}: {line}", highlight=False, markup=False)

    job = Run(settings, HarnessConfig.load(config_path), Display(stderr))
    result = job.execute(announce)
    show_run(job.run_dir, stderr)
    if not result["validity"]["valid"]:
        if tag_name is not None:
            stderr.print(f"not tagged {tag_name}: the run is INVALID", highlight=False, markup=False)
        sys.exit(ExitCode.INVALID_RUN)
    if tag_name is not None:
        tag_run(job.run_dir, tag_name)
