"""``lkbench generator``: how many arrivals a second the generator sustains, and how late it is."""

from __future__ import annotations

import dataclasses
import sys

import click
import orjson
from rich.console import Console

from bench.commands.options import FiniteRange
from bench.durations import duration_text
from bench.exit_codes import ExitCode
from bench.generator_report import measure_generator


@click.command()
@click.option("--rate", type=FiniteRange(1), default=20_000.0, show_default=True, help="Arrivals per second.")
@click.option("--seconds", type=FiniteRange(0.1, 600), default=10.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def generator(rate: float, seconds: float, as_json: bool) -> None:
    """Submit Poisson arrivals to an arm that does nothing, with the ledger that a run keeps.

    A generator that is later than the validity rule allows makes a run INVALID; this says from which rate
    on it would be. Ends with the exit code of an INVALID run if it is late here.
    """
    found = measure_generator(rate, seconds)
    if as_json:
        content = {**dataclasses.asdict(found), "on_time": found.on_time}
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    else:
        console = Console(highlight=False)
        console.print(
            f"{found.arrivals} arrivals, {found.asked_per_second:.0f} per second asked, "
            f"{found.reached_per_second:.0f} reached"
        )
        console.print(
            f"delay: median {duration_text(found.delay_p50_seconds)}, "
            f"p99 {duration_text(found.delay_p99_seconds)}, longest {duration_text(found.delay_max_seconds)}"
        )
        verdict = "on time" if found.on_time else "LATE: a run at this rate would be INVALID"
        console.print(f"limit of the p99: {duration_text(found.limit_seconds)}; {verdict}")
    if not found.on_time:
        sys.exit(ExitCode.INVALID_RUN)
