"""The command line, ``lkbench``: the group of all commands, and the exit code of each error.

stdout carries results only and can be piped; progress and errors go to stderr.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click
from rich.console import Console

from bench.commands.lazy_group import LazyGroup, Place
from bench.exit_codes import ExitCode, describe
from signals.errors import LkbenchError

# A model's weights and activations are far more than a TLB reaches in pages of 4 KiB, so glibc's malloc asks
# for large ones. All that is started inherits it: both arms, the bare loop and peers alike.
MALLOC = "glibc.malloc.hugetlb=1"

# Each with the first sentence of its own help, which a test compares.
COMMANDS = {
    "audit": Place(
        "bench.commands.audit:audit",
        "Plant defects of known kind and size, and check that each is found, and that nothing else is.",
    ),
    "calibrate": Place(
        "bench.commands.calibrate:calibrate",
        "Split every stage into a fixed and a per-image part, and predict a longer day with them.",
    ),
    "ci": Place(
        "bench.commands.ci:ci",
        "Measure two commits in turn on this machine and check the head against its thresholds.",
    ),
    "compare": Place(
        "bench.commands.compare:compare_runs", "Compare two runs, metric by metric, replicate by replicate."
    ),
    "cost": Place("bench.commands.cost:cost", "Price what a run took."),
    "datasets": Place(
        "bench.commands.datasets:datasets", "List the data sets and workloads that ship with the project."
    ),
    "doctor": Place(
        "bench.commands.doctor:doctor", "Say what this machine has, what is missing, and how to get it."
    ),
    "explain": Place("bench.commands.explain:explain", "Print one image's way through each arm, with times."),
    "export": Place(
        "bench.commands.export:export_run",
        "Write a run as Markdown, JSON with its schema, CSV, Parquet, figures, or for other benchmark tools.",
    ),
    "gate": Place(
        "bench.commands.gate:gate", "Check a run against thresholds, and fail where one does not hold."
    ),
    "generator": Place(
        "bench.commands.generator:generator",
        "Submit Poisson arrivals to an arm that does nothing, with the ledger that a run keeps.",
    ),
    "history": Place(
        "bench.commands.history:history",
        "Write a page with every metric over the runs of DIR, and where it seems to have shifted.",
    ),
    "import-model": Place(
        "bench.commands.import_model:import_model",
        "Check an ONNX image model of your own and make it usable.",
    ),
    "limit": Place(
        "bench.commands.limit:limit",
        "Measure the bare loop: decode, inference, both, and both with a GET from an S3 endpoint.",
    ),
    "peers": Place(
        "bench.commands.peers:peers",
        "Drain the same images through our paths and through programs that a user would write instead.",
    ),
    "plan": Place(
        "bench.commands.plan:plan",
        "Size, price and simulate each architecture at your numbers, and say where the answer flips.",
    ),
    "report": Place(
        "bench.commands.report:report", "Print the comparison of a finished run and write its reports again."
    ),
    "run": Place("bench.commands.run:run", "Run both architectures on the same images and compare them."),
    "scale": Place(
        "bench.commands.scale:scale",
        "Send very many small images through each arm with the near-free model; dump a large store.",
    ),
    "scale-out": Place(
        "bench.commands.scale_out:scale_out",
        "Drain the same backlogs through one of everything and through the layout of a cluster.",
    ),
    "services": Place(
        "bench.commands.services:services",
        "Start every server that a run can use, print them as a configuration file, keep them up.",
    ),
    "setup": Place(
        "bench.commands.setup:setup",
        "Fetch and build everything a run needs into the cache; a later run needs no network.",
    ),
    "simulate": Place(
        "bench.commands.simulate:simulate",
        "Simulate the workload of one run with the service times of another, and compare with what it "
        "measured.",
    ),
    "sustain": Place(
        "bench.commands.sustain:sustain",
        "Search the highest rate at which the online latency of ARM does not keep growing.",
    ),
    "tag": Place(
        "bench.commands.compare:tag",
        "Give a VALID run a name that `compare` and `gate` understand, such as main.",
    ),
    "throughput": Place(
        "bench.commands.throughput:throughput",
        "Drain backlogs through each path, in rounds, with windows of the bare loop in between.",
    ),
    "verify": Place(
        "bench.commands.verify:verify",
        "Check completeness and agreement again, from the run folder alone.",
    ),
}


@click.command(cls=LazyGroup, places=COMMANDS, epilog="\b\nExit codes:\n" + describe())
@click.version_option(package_name="lambda-kappa-bench")
def cli() -> None:
    """Run a Lambda and a Kappa visual-signal pipeline side by side, on real parts, and compare them.

    Start with `lkbench doctor`, then `lkbench run`.
    """


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number, frame)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: maps errors to one clear line and an exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _interrupt)
    os.environ.setdefault("GLIBC_TUNABLES", MALLOC)
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
        stderr.print(f"error: {error}", style="bold", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        stderr.print(f"error: {error}", style="bold", highlight=False, markup=False, soft_wrap=True)
        full = error.errno == errno.ENOSPC
        sys.exit(ExitCode.MISSING_REQUIREMENT if full else ExitCode.TOOL_ERROR)
