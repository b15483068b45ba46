"""``lkbench scale-out``: what the layout of a cluster costs per image, beside one of everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.commands.options import Names, json_option
from bench.commands.outcome import check_option, hold, keep
from bench.commands.results_console import results_console, stderr_lines
from bench.commands.throughput_tables import targets_table
from bench.config import HarnessConfig
from bench.figures_table import figures_table
from bench.images import load_dataset
from bench.scale.layout import SCALED_OUT, SINGLE
from bench.scale.scale_out import ARMS, LayoutDrain, Plan, ScaleOut, measure_scale_out
from bench.setup import DEFAULT_DATASET, prepare
from bench.throughput.drains import NIGHTLY
from signals.near_free import build_near_free_model

DISTINCT = 400  # objects, which repeat; every arrival is a key of its own
SHOWN_CORE_MS = 0.05  # what a process needs at least to be named


@click.command("scale-out")
@click.option("--count", type=click.IntRange(1), default=600, show_default=True, help="Images per drain.")
@click.option(
    "--warm-up",
    type=click.IntRange(1),
    default=1500,
    show_default=True,
    help="Images before those of an arm: brokers are slow at first.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of each path and layout."
)
@click.option("--arms", type=Names(ARMS), default=",".join(ARMS), show_default=True, help="Which of them.")
@click.option(
    "--model",
    type=click.Choice(["configured", "near-free"]),
    default="configured",
    show_default=True,
    help="The near-free model leaves little but the plumbing.",
)
@json_option
@check_option
def scale_out(
    count: int,
    warm_up: int,
    rounds: int,
    arms: tuple[str, ...],
    model: str,
    json_path: Path | None,
    check: bool,
) -> None:
    """Drain the same backlogs through one of everything and through the layout of a cluster.

    Both layouts are up all the time, and each path is drained through them by turns: three brokers, a Spark
    master with two workers, two inference services and two workers of each pool against one of each.
    Throughput per core is images by CPU second of all processes of a layout. Leave the machine alone
    meanwhile. When interrupted, what was measured so far is shown and written.
    """
    note = stderr_lines()
    config = HarnessConfig()
    model_dir = prepare(config, note).model_dir
    if model == "near-free":
        model_dir = build_near_free_model()
    dataset = load_dataset(DEFAULT_DATASET, note)
    dataset = dataclasses.replace(dataset, images=dataset.images[:DISTINCT])
    found, is_complete = ScaleOut(), False
    try:
        measure_scale_out(
            *(config, dataset, model_dir, Plan(count, warm_up, rounds, arms), found),
            measured=lambda drain: note(drain_line(drain)),
            progress=note,
        )
        is_complete = True
    finally:
        if found.drains:
            results_console().print(tables(found))
            keep(json_path, as_plain(found), is_complete=is_complete)
    if check:
        hold(found.targets())


def drain_line(drain: LayoutDrain) -> str:
    """One drain in one line."""
    return (
        f"{drain.path}, {drain.layout}: {drain.images_per_second:.1f} images/s, "
        f"{drain.images_per_core_second:.1f} per core"
    )


def as_plain(found: ScaleOut) -> dict[str, object]:
    """JSON-able; units are in the names."""
    return {
        "drains": [
            {
                **dataclasses.asdict(drain),
                "images_per_second": drain.images_per_second,
                "images_per_core_second": drain.images_per_core_second,
            }
            for drain in found.drains
        ],
        "idle_core_ms_per_second": found.idle_core_ms,
        "targets": [target.as_plain() for target in found.targets()],
    }


def tables(found: ScaleOut) -> RenderableType:
    """All drains, the nights' Spark steps, the idle layouts, and the targets."""
    parts: list[RenderableType] = [_drains(found.drains), Text()]
    if nights := [drain for drain in found.drains if drain.path == NIGHTLY]:
        parts += [_spark_steps(nights), Text()]
    parts += [_idle(found), Text(), targets_table(found.targets())]
    notes = "per core: images by CPU second of all processes of the layout; the other layout is up and idle"
    return Group(*parts, Text(notes, style="dim"))


def _drains(drains: list[LayoutDrain]) -> Table:
    figures = ("images/s", "busy cores", "core-ms", "per core", "core-ms by process")
    table = figures_table("path, layout", *figures, texts=figures[-1:])
    for drain in sorted(drains, key=lambda drain: (drain.path, drain.layout == SCALED_OUT)):
        table.add_row(
            f"{drain.path}, {drain.layout}",
            f"{drain.images_per_second:.1f}",
            f"{drain.used.cpu_seconds / drain.used.seconds:.2f}",
            f"{1e3 / drain.images_per_core_second:.2f}",
            f"{drain.images_per_core_second:.1f}",
            ", ".join(_largest(drain)),
        )
    return table


def _largest(drain: LayoutDrain) -> Iterator[str]:
    for name, seconds in sorted(drain.used.cpu_seconds_by_process.items(), key=lambda item: -item[1]):
        if (core_ms := 1e3 * seconds / drain.images) >= SHOWN_CORE_MS:
            yield f"{name.split('.', 1)[-1]} {core_ms:.2f}"


def _spark_steps(nights: list[LayoutDrain]) -> Table:
    table = figures_table("the night's other steps, on Spark", "seconds", "core-s")
    for night in nights:
        used = night.used
        table.add_row(night.layout, f"{used.spark_seconds:.1f}", f"{used.spark_cpu_seconds:.1f}")
    return table


def _idle(found: ScaleOut) -> Table:
    table = figures_table("idle, core-ms per second", SINGLE, SCALED_OUT)
    for arm, by_layout in found.idle_core_ms.items():
        table.add_row(arm, *(f"{by_layout[name]:.0f}" for name in (SINGLE, SCALED_OUT) if name in by_layout))
    return table
