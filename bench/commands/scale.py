"""``lkbench scale``: very many small images through each arm, and large nights, with memory watched."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.text import Text

from bench.commands.options import Names, json_option
from bench.commands.outcome import check_option, hold, keep
from bench.commands.results_console import results_console, stderr_lines
from bench.config import HarnessConfig
from bench.figures_table import figures_table
from bench.scale.measure import CHUNKS, AtScale, dump, send
from bench.scale.small_images import DISTINCT, SIDE_PX, small_images
from bench.setup import prepare
from bench.throughput.stand import stand
from bench.throughput.targets import Target
from signals.near_free import build_near_free_model

COST_LIMIT = 0.10
NIGHT_LIMIT = 0.50  # of memory, where the rows are three times as many


@click.command()
@click.option("--images", type=click.IntRange(CHUNKS), default=40_000, show_default=True, help="Per arm.")
@click.option(
    "--signals",
    type=click.IntRange(0),
    default=1_000_000,
    show_default=True,
    help="In the store that Kappa dumps; about 2.6 KB each.",
)
@click.option(
    "--arms",
    type=Names(),
    default="lambda,kappa",
    show_default=True,
    help="Which of them get the images; '': none.",
)
@click.option("--nights/--no-nights", default=True, show_default=True, help="End the days of the images.")
@json_option
@check_option
def scale(
    images: int, signals: int, arms: tuple[str, ...], nights: bool, json_path: Path | None, check: bool
) -> None:
    """Send very many small images through each arm with the near-free model; dump a large store.

    Cost per image, in images of the bare loop right before and after, and memory of the last fifth are
    compared with those of the first; a night of three times the keys with a smaller one. Takes about a
    quarter of an hour with the numbers it begins with, on two cores. When interrupted, what was measured so
    far is shown and written.
    """
    note = stderr_lines()
    config = HarnessConfig()
    prepare(config, note)
    model_dir = build_near_free_model()
    found: list[AtScale] = []
    is_complete = False
    with tempfile.TemporaryDirectory(prefix="lkbench-scale-") as folder:
        try:
            with stand(config, small_images(Path(folder)), note) as servers:
                for arm in arms:
                    found.append(AtScale(arm))
                    send(servers, found[-1], arm, model_dir, images, nights=nights, progress=note)
                if signals:
                    found.append(AtScale("kappa dump"))
                    dump(servers, found[-1], model_dir, signals, note)
            is_complete = True
        finally:
            if found:
                results_console().print(tables(found))
                keep(json_path, as_plain(found), is_complete=is_complete)
    if check:
        hold(targets(found))


def targets(found: Sequence[AtScale]) -> list[Target]:
    """What was to stay as it began."""
    made: list[Target] = []
    for item in found:
        if item.chunks:
            cost, memory = item.cost_change, item.memory_change
            made += [
                Target(f"{item.name}: cost per image, last fifth", "change", "<=", COST_LIMIT, cost),
                Target(f"{item.name}: memory, last fifth", "change", "<=", COST_LIMIT, memory),
            ]
        if item.nights or not item.chunks:
            night = item.night_memory_change
            made.append(Target(f"{item.name}: memory, night of 3 x keys", "change", "<=", NIGHT_LIMIT, night))
    return made


def as_plain(found: Sequence[AtScale]) -> dict[str, object]:
    """JSON-able; units are in the names."""
    return {
        "paths": [dataclasses.asdict(item) for item in found],
        "targets": [target.as_plain() for target in targets(found)],
    }


def tables(found: Sequence[AtScale]) -> RenderableType:
    """The nights, and what was to stay as it began."""
    nights = figures_table("night", "keys", "seconds", "keys/s", "peak MiB")
    for item in found:
        for night in item.nights:
            nights.add_row(
                f"{item.name}, day {night.day}",
                f"{night.keys:,}",
                f"{night.seconds:.1f}",
                f"{night.keys / night.seconds:,.0f}",
                f"{night.peak_bytes / 2**20:.0f}",
            )
    held = figures_table("target", "limit", "measured", "met")
    for target in targets(found):
        measured = "-" if target.measured is None else f"{target.measured:+.1%}"
        held.add_row(target.name, f"{target.comparison} {target.limit:+.0%}", measured, target.verdict)
    notes = (
        f"{DISTINCT} distinct objects of {SIDE_PX} px in turn, every arrival a key of its own; near-free "
        "model. Memory: without driver, broker, object store, PostgreSQL. keys: images, of a dump signals."
    )
    return Group(nights, Text(), held, Text(notes, style="dim"))
