"""``lkbench datasets``."""

from __future__ import annotations

import click

from bench.arms import arm_names
from bench.commands.results_console import results_console
from bench.images import dataset_descriptions
from bench.workload import Workload


@click.command()
def datasets() -> None:
    """List the data sets and workloads that ship with the project."""
    console = results_console()
    console.print("[bold]data sets[/] (--images)")
    for name, text in dataset_descriptions().items():
        console.print(f"  {name:<14} {text}", highlight=False)
    console.print("[bold]workloads[/] (--workload)")
    for name in Workload.names():
        console.print(f"  {name:<14} {Workload.load(name).description}", highlight=False)
    console.print(f"[bold]arms[/] (--arms)\n  {', '.join(arm_names())}")
