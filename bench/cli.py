"""The command line, ``lkbench``: the group of all commands, and the exit code of each error.

stdout carries results only and can be piped; progress and errors go to stderr.
"""

from __future__ import annotations

import errno
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from bench.arms import arm_names
from bench.commands.audit import audit
from bench.commands.calibrate import calibrate
from bench.commands.ci import ci
from bench.commands.compare import compare_runs, tag
from bench.commands.cost import cost
from bench.commands.export import export_run
from bench.commands.gate import gate
from bench.commands.generator import generator
from bench.commands.history import history
from bench.commands.import_model import import_model
from bench.commands.limit import limit
from bench.commands.options import config_option, output_option, run_argument
from bench.commands.peers import peers
from bench.commands.plan import plan
from bench.commands.report import report
from bench.commands.results_console import results_console
from bench.commands.run import run
from bench.commands.simulate import simulate
from bench.commands.sustain import sustain
from bench.commands.throughput import throughput
from bench.config import HarnessConfig
from bench.exit_codes import ExitCode, describe
from bench.run_folder import find_run
from bench.workload import Workload
from signals.errors import LkbenchError


@click.group(epilog="\b\nExit codes:\n" + describe())
@click.version_option(package_name="lambda-kappa-bench")
def cli() -> None:
    """Run a Lambda and a Kappa visual-signal pipeline side by side, on real parts, and compare them.

    Start with `lkbench doctor`, then `lkbench run`.
    """


@cli.command()
@click.argument("run")
@click.argument("signature")
@output_option
def explain(run: str, signature: str, output: Path) -> None:
    """Print one image's way through each arm, with times. SIGNATURE may be a prefix."""
    from bench.explain import explain_signature

    results_console().print(explain_signature(find_run(run, output), signature))


@cli.command()
@run_argument
@output_option
def verify(run: str, output: Path) -> None:
    """Check completeness and agreement again, from the run folder alone."""
    from bench.verify import verify_run

    checks = verify_run(find_run(run, output))
    console = results_console()
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

    console = results_console()
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

    console = results_console()
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
cli.add_command(history)
cli.add_command(import_model)
cli.add_command(limit)
cli.add_command(throughput)
cli.add_command(peers)
cli.add_command(plan)
cli.add_command(report)
cli.add_command(run)
cli.add_command(simulate)
cli.add_command(sustain)
cli.add_command(tag)


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
