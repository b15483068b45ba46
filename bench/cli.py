"""The command line: ``lkbench run|report|explain|verify|doctor|services|datasets|setup``.

stdout carries results only and can be piped; progress and errors go to stderr.
"""

from __future__ import annotations

import errno
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType

import click
import orjson
from rich.console import Console

from bench.arms import arm_names
from bench.commands.audit import audit
from bench.commands.calibrate import calibrate
from bench.commands.ci import ci
from bench.commands.compare import compare_runs, tag
from bench.commands.cost import cost
from bench.commands.duration import Duration
from bench.commands.export import export_run
from bench.commands.gate import gate
from bench.commands.generator import generator
from bench.commands.import_model import import_model
from bench.commands.limit import limit
from bench.commands.plan import plan
from bench.commands.simulate import simulate
from bench.commands.sustain import sustain
from bench.commands.throughput import throughput
from bench.compare.sides import check_tag, find_side, tag_run
from bench.config import HarnessConfig
from bench.display import Display
from bench.exit_codes import ExitCode, describe
from bench.exports.run_markdown import run_markdown
from bench.manifest import read_manifest
from bench.profiles import PROFILES, Profile, announcement
from bench.run import Run, RunSettings
from bench.run_folder import find_run
from bench.workload import Workload
from signals.errors import ConfigurationError, LkbenchError

DEFAULTS = RunSettings()

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="TOML file with external services, the model, the device. Without it, everything runs here.",
)
run_argument = click.argument("run", default="latest")
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=DEFAULTS.output,
    show_default=True,
    help="Folder that holds the run folders.",
)


@click.group(epilog="\b\nExit codes:\n" + describe())
@click.version_option(package_name="lambda-kappa-bench")
def cli() -> None:
    """Run a Lambda and a Kappa visual-signal pipeline side by side, on real parts, and compare them.

    Start with `lkbench doctor`, then `lkbench run`.
    """


@cli.command()
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
@click.option("--days", type=int, help="Compressed days per replicate. [default: the profile's]")
@click.option(
    "--day",
    "day_seconds",
    type=Duration(),
    help="Length of a compressed day, e.g. 30s; 24h is the real thing. [default: 30s, or as long as your "
    "images take at --rate]",
)
@click.option(
    "--rate",
    type=float,
    help="Mean arrivals per second. [default: 20, or that of a trace at real speed]",
)
@click.option(
    "--load",
    type=float,
    help="In place of --rate: a share of the inference capacity, which is measured when the run starts.",
)
@click.option("--replicates", type=int, help="Repeats of each arm. [default: the profile's]")
@click.option(
    "--arms",
    default=",".join(DEFAULTS.arms),
    show_default=True,
    help="Architectures to run, in order.",
)
@click.option(
    "--drain-timeout", type=Duration(), default="300s", show_default=True, help="Per wait for an arm."
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
    arms: str,
    drain_timeout: float,
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
        arms=tuple(name.strip() for name in arms.split(",") if name.strip()),
        output=output,
        drain_timeout_seconds=drain_timeout,
    )
    stderr = Console(stderr=True)
    planned = Profile(
        settings.replicates, settings.days, settings.day_seconds, rate or chosen.rate_per_second
    )
    for line in announcement(planned, len(settings.arms)):
        stderr.print(f"profile {profile}: {line}", highlight=False, markup=False)
    display = Display(stderr)
    job = Run(settings, HarnessConfig.load(config_path), display)
    display.refresh = job.refresh
    with display:
        result = job.execute()
    _show(job.run_dir, stderr)
    if not result["validity"]["valid"]:
        sys.exit(ExitCode.INVALID_RUN)
    if tag_name is not None:
        tag_run(job.run_dir, tag_name)


@cli.command()
@run_argument
@output_option
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
def report(run: str, output: Path, as_json: bool, as_markdown: bool) -> None:
    """Print the comparison of a finished run and write its reports again. RUN: an id, a folder or latest."""
    if as_markdown:
        for stored in find_side(run, output).runs:
            click.echo(run_markdown(stored.result))
        return
    run_dir = find_run(run, output)
    _show(run_dir, Console(stderr=True), as_json=as_json)


@cli.command()
@click.argument("run")
@click.argument("signature")
@output_option
def explain(run: str, signature: str, output: Path) -> None:
    """Print one image's way through each arm, with times. SIGNATURE may be a prefix."""
    from bench.explain import explain_signature

    Console().print(explain_signature(find_run(run, output), signature))


@cli.command()
@run_argument
@output_option
def verify(run: str, output: Path) -> None:
    """Check completeness and agreement again, from the run folder alone."""
    from bench.verify import verify_run

    checks = verify_run(find_run(run, output))
    console = Console()
    for check in checks:
        console.print(
            f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}", highlight=False, markup=False
        )
    if not all(check.ok for check in checks):
        sys.exit(ExitCode.VERIFICATION_FAILED)


@cli.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it."""
    from bench.doctor import run_checks

    console = Console()
    checks = run_checks()
    for check in checks:
        console.print(
            f"{'ok     ' if check.ok else 'MISSING'}  {check.name}: {check.found}",
            highlight=False,
            markup=False,
        )
        if check.advice:
            console.print(f"         {check.advice}", highlight=False, markup=False)
    if not all(check.ok for check in checks):
        sys.exit(ExitCode.MISSING_REQUIREMENT)


@cli.command()
@config_option
def setup(config_path: Path | None) -> None:
    """Fetch and build everything a run needs into the cache; a later run needs no network."""
    from bench.setup import DEFAULT_DATASET, prepare

    stderr = Console(stderr=True)

    def say(text: str) -> None:
        stderr.print(text, highlight=False, markup=False)

    prepare(HarnessConfig.load(config_path), say, [DEFAULT_DATASET])


@cli.command()
@config_option
@output_option
def services(config_path: Path | None, output: Path) -> None:
    """Start every server that a run can use, print them as a configuration file, keep them up.

    The printed TOML works as --config of a run: the same way, a run uses servers of your own. It holds
    secrets. Stop with Ctrl-C.
    """
    from bench.services.standalone import standalone_stack

    stderr = Console(stderr=True)
    with standalone_stack(output, HarnessConfig.load(config_path), stderr.print) as servers:
        click.echo(servers.toml)
        stderr.print("services are up; Ctrl-C stops them")
        while True:
            time.sleep(1.0)
            servers.check()


@cli.command()
def datasets() -> None:
    """List the data sets and workloads that ship with the project."""
    from bench.images import dataset_descriptions

    console = Console()
    console.print("[bold]data sets[/] (--images)")
    for name, text in dataset_descriptions().items():
        console.print(f"  {name:<14} {text}", highlight=False)
    console.print("[bold]workloads[/] (--workload)")
    for name in Workload.names():
        console.print(f"  {name:<14} {Workload.load(name).description}", highlight=False)
    console.print(f"[bold]arms[/] (--arms)\n  {', '.join(arm_names())}")


cli.add_command(audit)
cli.add_command(calibrate)
cli.add_command(ci)
cli.add_command(compare_runs)
cli.add_command(generator)
cli.add_command(cost)
cli.add_command(export_run)
cli.add_command(gate)
cli.add_command(import_model)
cli.add_command(limit)
cli.add_command(throughput)
cli.add_command(plan)
cli.add_command(simulate)
cli.add_command(sustain)
cli.add_command(tag)


def _show(run_dir: Path, stderr: Console, *, as_json: bool = False) -> None:
    """Print the table (or JSON) to stdout and write every installed report; their paths go to stderr."""
    if not (run_dir / "result.json").is_file():
        raise ConfigurationError(f"{run_dir} has no result: its run did not end; {_how_it_ended(run_dir)}")
    result = orjson.loads((run_dir / "result.json").read_bytes())
    if as_json:
        click.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    else:
        for point in entry_points(group="lkbench.tables"):
            Console().print(point.load()(result))
    for point in sorted(entry_points(group="lkbench.reports"), key=lambda p: p.name):
        write: Callable[[Path], Path] = point.load()
        stderr.print(f"{point.name} report: {write(run_dir)}", highlight=False, markup=False)
    stderr.print(f"run folder: {run_dir}", highlight=False, markup=False)


def _how_it_ended(run_dir: Path) -> str:
    manifest = read_manifest(run_dir)
    return f"it is marked {manifest.get('status')} ({manifest.get('error') or 'no reason given'})"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number, frame)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: maps errors to one clear line and an exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _interrupt)
    stderr = Console(stderr=True)
    try:
        code = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.BAD_CONFIGURATION)
    except (KeyboardInterrupt, click.Abort):
        stderr.print("interrupted", style="bold")
        sys.exit(ExitCode.INTERRUPTED)
    except LkbenchError as error:
        stderr.print(f"error: {error}", style="bold", highlight=False, markup=False)
        sys.exit(error.exit_code)
    except OSError as error:
        stderr.print(f"error: {error}", style="bold", highlight=False, markup=False)
        full = error.errno == errno.ENOSPC
        sys.exit(ExitCode.MISSING_REQUIREMENT if full else ExitCode.TOOL_ERROR)
