"""``lkbench throughput``: how close each path comes to the bare loop, and what its plumbing costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click

from bench.commands.options import FiniteRange, Names, json_option
from bench.commands.outcome import check_option, hold
from bench.commands.results_console import results_console, stderr_lines
from bench.commands.throughput_tables import drain_line, latency_line, tables
from bench.config import HarnessConfig
from bench.images import load_dataset
from bench.limit.measure import find_layout, usual_layout
from bench.limit.worker import Layout, Work
from bench.setup import DEFAULT_DATASET, prepare
from bench.throughput.conversions import ROWS, measure_conversions
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM, Drain
from bench.throughput.findings import Findings
from bench.throughput.gss import measure_gss
from bench.throughput.latency import ARRIVALS, LatencyRound
from bench.throughput.overhead import Overhead
from bench.throughput.rounds import Plan, measure_rounds
from bench.throughput.stand import Progress, Stand, stand
from signals.near_free import build_near_free_model

PATHS = (ONLINE, NIGHTLY, STREAM)
ROUNDS = 7  # the pace of a machine changes from one to the next; five gave medians that did, too
GSS_SECONDS = 3.0
NEAR_FREE_WINDOW_SECONDS = 2.0  # in which it does more images than the configured model in a whole window


@click.command()
@click.option("--images", default=DEFAULT_DATASET, show_default=True, help="A data set by name, or a folder.")
@click.option("--count", type=click.IntRange(1), default=2000, show_default=True, help="Images per drain.")
@click.option(
    "--warm-up",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Images before the drains of an arm that do not count.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True, help="Drains of each path."
)
@click.option(
    "--paths", type=Names(PATHS), default=",".join(PATHS), show_default=True, help="What is drained."
)
@click.option(
    "--model",
    type=click.Choice(["both", "configured", "near-free"]),
    default="both",
    show_default=True,
    help="The near-free model leaves little but the plumbing.",
)
@click.option("--latency/--no-latency", default=False, help="Also at 30, 50, 80 % of each sustained rate.")
@click.option(
    "--arrivals",
    type=click.IntRange(1),
    default=ARRIVALS,
    show_default=True,
    help="Of each measurement of the latency at half load.",
)
@click.option("--parts/--no-parts", default=True, show_default=True, help="GSS and the conversions.")
@click.option(
    "--gss-seconds", type=FiniteRange(0.5), default=GSS_SECONDS, show_default=True, help="Of each test."
)
@click.option(
    "--conversion-rows", type=click.IntRange(1), default=ROWS, show_default=True, help="Signals re-encoded."
)
@click.option("--search/--no-search", default=False, help="Search the bare loop's layout first.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="TOML file.")
@json_option
@check_option
def throughput(
    images: str,
    count: int,
    warm_up: int,
    rounds: int,
    paths: tuple[str, ...],
    model: str,
    latency: bool,
    arrivals: int,
    parts: bool,
    gss_seconds: float,
    conversion_rows: int,
    search: bool,
    config_path: Path | None,
    json_path: Path | None,
    check: bool,
) -> None:
    """Drain backlogs through each path, in rounds, with windows of the bare loop in between.

    The bare loop fetches from the same object store, so the ratio is that of the architecture to none at
    all on this machine. Medians of the rounds are shown. Leave the machine alone meanwhile. Where it is
    allowed (as root), cores are kept from sleeping, so that a wake-up is no part of a latency. Cut off,
    it prints what it has measured so far.
    """
    note = stderr_lines()
    plan = Plan(count, warm_up, rounds, paths, arrivals if latency else 0)
    config = HarnessConfig.load(config_path)
    configured = prepare(config, note).model_dir
    dataset = load_dataset(images, note)
    dataset = dataclasses.replace(dataset, images=dataset.images[:count])
    found = Findings(usual_layout(config.inference), usual_layout(config.inference, ahead=False))

    def keep() -> None:
        if json_path is not None:
            found.save(json_path)

    try:
        with stand(config, dataset, note) as servers:
            found.cores_awake = servers.cores_awake
            if model != "near-free":
                if search:
                    found.layout, _ = find_layout(servers.material(configured), Work.S3, note)
                _measure_paths(servers, configured, found.layout, plan, found, found.drains, keep, note)
            if model != "configured":
                note("near-free model")
                plumbing = dataclasses.replace(
                    plan, latency_arrivals=0, window_seconds=NEAR_FREE_WINDOW_SECONDS
                )
                near_free = build_near_free_model()
                if search:
                    found.near_free_layout, _ = find_layout(servers.material(near_free), Work.S3, note)
                _measure_paths(
                    servers, near_free, found.near_free_layout, plumbing, found, found.near_free, keep, note
                )
        if parts:
            _measure_parts(gss_seconds, conversion_rows, found, keep, note)
        found.is_complete = True
    finally:
        if not found.is_empty:
            results_console().print(tables(found))
            keep()
    if check:
        hold(found.targets())


def _measure_paths(
    servers: Stand,
    model_dir: Path,
    layout: Layout,
    plan: Plan,
    found: Findings,
    drains: list[Drain],
    keep: Callable[[], None],
    note: Progress,
) -> None:
    def measured(item: Drain | LatencyRound | Overhead) -> None:
        if isinstance(item, Drain):
            drains.append(item)
            note(drain_line(item))
        elif isinstance(item, LatencyRound):
            found.latencies.append(item)
            note(latency_line(item))
        else:
            found.overhead = item
        keep()

    with servers.bare_loop(model_dir, layout) as loop:
        measure_rounds(servers, model_dir, loop, plan, measured)


def _measure_parts(
    gss_seconds: float, conversion_rows: int, found: Findings, keep: Callable[[], None], note: Progress
) -> None:
    note("GSS")
    found.gss = measure_gss(gss_seconds)
    note(
        f"GSS: {found.gss.multi_get_values_per_second:,.0f} values/s, "
        f"single get p99 {found.gss.single_get_p99_seconds * 1e3:.2f} ms"
    )
    keep()
    note("the conversions")
    found.conversions = measure_conversions(conversion_rows)
    for item in found.conversions:
        note(f"{item.name}: {item.rows_per_second:,.0f} rows/s, {item.ratio:.2f} of PyArrow's writing")
