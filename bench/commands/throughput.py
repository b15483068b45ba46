"""``lkbench throughput``: how close each path comes to the bare loop, and what its plumbing costs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from bench.commands.results_console import results_console
from bench.commands.throughput_tables import drain_line, tables
from bench.config import HarnessConfig
from bench.images import load_dataset
from bench.limit.loop import BareLoop
from bench.limit.measure import find_layout
from bench.limit.worker import Layout, Work
from bench.setup import DEFAULT_DATASET, prepare
from bench.throughput.conversions import ROWS, measure_conversions
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM, Backlog, Drain, drain_all
from bench.throughput.findings import Findings
from bench.throughput.gss import measure_gss
from bench.throughput.latency import LEVEL_SECONDS, measure_latency
from bench.throughput.stand import Progress, Stand, stand
from signals.errors import ConfigurationError
from signals.near_free import build_near_free_model

PATHS = (ONLINE, NIGHTLY, STREAM)
GSS_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """What to measure."""

    backlog: Backlog
    rounds: int
    paths: tuple[str, ...]
    model: str
    latency: bool
    level_seconds: float
    gss_seconds: float
    conversion_rows: int


@click.command()
@click.option("--images", default=DEFAULT_DATASET, show_default=True, help="A data set by name, or a folder.")
@click.option("--count", type=click.IntRange(1), default=2000, show_default=True, help="Images per drain.")
@click.option(
    "--warm-up",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Images before each drain that do not count.",
)
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="Drains of each path.")
@click.option("--paths", default=",".join(PATHS), show_default=True, help="What is drained.")
@click.option(
    "--model",
    type=click.Choice(["both", "configured", "near-free"]),
    default="both",
    show_default=True,
    help="The near-free model leaves little but the plumbing.",
)
@click.option("--latency/--no-latency", default=False, help="Also at 30, 50, 80 % of each sustained rate.")
@click.option(
    "--level-seconds",
    type=click.FloatRange(1.0),
    default=LEVEL_SECONDS,
    show_default=True,
    help="Length of each of those loads.",
)
@click.option("--parts/--no-parts", default=True, show_default=True, help="GSS and the conversions.")
@click.option(
    "--gss-seconds", type=click.FloatRange(0.5), default=GSS_SECONDS, show_default=True, help="Of each test."
)
@click.option(
    "--conversion-rows", type=click.IntRange(1), default=ROWS, show_default=True, help="Signals re-encoded."
)
@click.option("--search/--no-search", default=False, help="Search the bare loop's layout first.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="TOML file.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep what was measured in this file, up to date after each measurement.",
)
def throughput(
    images: str,
    count: int,
    warm_up: int,
    rounds: int,
    paths: str,
    model: str,
    latency: bool,
    level_seconds: float,
    parts: bool,
    gss_seconds: float,
    conversion_rows: int,
    search: bool,
    config_path: Path | None,
    json_file: Path | None,
) -> None:
    """Drain a backlog through each path, with windows of the bare loop right before and after.

    The bare loop fetches from the same object store, so the ratio is that of the architecture to none at
    all on this machine. Leave the machine alone meanwhile. Cut off, it prints what it has measured so far.
    """
    stderr = Console(stderr=True)

    def note(text: str) -> None:
        stderr.print(text, highlight=False, markup=False, soft_wrap=True)

    chosen = tuple(name.strip() for name in paths.split(","))
    if unknown := sorted(set(chosen) - set(PATHS)):
        raise ConfigurationError(f"--paths: unknown {', '.join(unknown)}; known are {', '.join(PATHS)}")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigurationError(f"--json {json_file}: there is no such folder")
    backlog = Backlog(count, warm_up)
    plan = _Plan(backlog, rounds, chosen, model, latency, level_seconds, gss_seconds, conversion_rows)
    config = HarnessConfig.load(config_path)
    configured = prepare(config, note).model_dir
    dataset = load_dataset(images, note)
    if backlog.images_needed > len(dataset.images):
        raise ConfigurationError(
            f"--count {count} and --warm-up {warm_up}: the data set has {len(dataset.images)} images"
        )
    if not latency:
        dataset = dataclasses.replace(dataset, images=dataset.images[: backlog.images_needed])
    found = Findings(Layout(config.inference.workers, 1, 2, config.inference.max_batch))

    def keep() -> None:
        if json_file is not None:
            found.save(json_file)

    try:
        with stand(config, dataset, note) as servers:
            if search:
                found.layout, _ = find_layout(servers.material(configured), Work.S3, note)
            _measure_paths(plan, servers, configured, found, keep, note)
        if parts:
            _measure_parts(plan, found, keep, note)
        found.is_complete = True
    finally:
        if not found.is_empty:
            keep()
            results_console().print(tables(found))


def _measure_paths(
    plan: _Plan, servers: Stand, configured: Path, found: Findings, keep: Callable[[], None], note: Progress
) -> None:
    if plan.model != "near-free":
        _drain(plan, servers, configured, found, found.drains, keep, note)
    if plan.model != "configured":
        note("near-free model")
        _drain(plan, servers, build_near_free_model(), found, found.near_free, keep, note)
    if not plan.latency:
        return
    for path in (ONLINE, STREAM):
        if rates := [drain.images_per_second for drain in found.drains if drain.path == path]:
            found.latencies.append(
                measure_latency(servers, path, configured, statistics.median(rates), plan.level_seconds, note)
            )
            keep()


def _drain(
    plan: _Plan,
    servers: Stand,
    model_dir: Path,
    found: Findings,
    drains: list[Drain],
    keep: Callable[[], None],
    note: Progress,
) -> None:
    def measured(drain: Drain) -> None:
        drains.append(drain)
        note(drain_line(drain))
        keep()

    with BareLoop(servers.material(model_dir), found.layout, servers.s3_processes) as loop:
        for _ in range(plan.rounds):
            overhead = drain_all(
                servers, model_dir, loop, backlog=plan.backlog, paths=plan.paths, measured=measured
            )
            found.overhead = overhead or found.overhead


def _measure_parts(plan: _Plan, found: Findings, keep: Callable[[], None], note: Progress) -> None:
    note("GSS")
    found.gss = measure_gss(plan.gss_seconds)
    note(
        f"GSS: {found.gss.multi_get_values_per_second:,.0f} values/s, "
        f"single get p99 {found.gss.single_get_p99_seconds * 1e3:.2f} ms"
    )
    keep()
    note("the conversions")
    found.conversions = measure_conversions(plan.conversion_rows)
    for item in found.conversions:
        note(f"{item.name}: {item.rows_per_second:,.0f} rows/s, {item.ratio:.2f} of PyArrow's writing")
