"""``lkbench throughput``: how close each path comes to the bare loop, and what its plumbing costs."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
import orjson
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.config import HarnessConfig
from bench.images import load_dataset
from bench.limit.loop import BareLoop
from bench.limit.measure import find_layout
from bench.limit.worker import Layout, Work
from bench.setup import prepare
from bench.throughput.conversions import ConversionSpeed, measure_conversions
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM, Drain, drain_all
from bench.throughput.gss import GssSpeed, measure_gss
from bench.throughput.latency import Latency, measure_latency
from bench.throughput.overhead import Overhead
from bench.throughput.stand import Progress, Stand, stand
from bench.throughput.targets import Target, targets
from signals.errors import ConfigurationError
from signals.near_free import build_near_free_model

PATHS = (ONLINE, NIGHTLY, STREAM)
GSS_SECONDS = 5.0


@dataclasses.dataclass
class Findings:
    """What was measured so far."""

    layout: Layout
    drains: list[Drain] = dataclasses.field(default_factory=list)
    near_free: list[Drain] = dataclasses.field(default_factory=list)
    latencies: list[Latency] = dataclasses.field(default_factory=list)
    gss: GssSpeed | None = None
    conversions: list[ConversionSpeed] = dataclasses.field(default_factory=list)
    overhead: Overhead | None = None

    def harness_share(self) -> float | None:
        """Part of the cores that the harness took in the fastest drain."""
        fastest = max(self.drains + self.near_free, key=lambda d: d.images_per_second, default=None)
        if fastest is None or self.overhead is None:
            return None
        return self.overhead.share_of_cores(
            rows_per_image=fastest.ledger_rows / fastest.images,
            images_per_second=fastest.images_per_second,
            cores=len(os.sched_getaffinity(0)),
        )

    def targets(self) -> list[Target]:
        """All targets, measured or not."""
        return targets(
            self.drains,
            self.near_free,
            self.gss,
            self.conversions,
            self.latencies,
            self.harness_share(),
        )

    def as_plain(self) -> dict[str, object]:
        """JSON-able; units are in the names."""
        plain = dataclasses.asdict(self)
        for name in ("drains", "near_free"):
            for item, drain in zip(plain[name], getattr(self, name), strict=True):
                item |= {
                    figure: getattr(drain, figure)
                    for figure in ("images_per_second", "ratio", "core_ms_per_image", "plumbing_core_ms")
                }
        plain["harness_share_of_cores"] = self.harness_share()
        plain["targets"] = [{**dataclasses.asdict(t), "met": t.met} for t in self.targets()]
        return plain


@click.command()
@click.option("--count", type=click.IntRange(1), default=2000, show_default=True, help="Images per drain.")
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
@click.option("--parts/--no-parts", default=True, show_default=True, help="GSS and the conversions.")
@click.option("--search/--no-search", default=False, help="Search the bare loop's layout first.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the tables.")
def throughput(
    count: int,
    rounds: int,
    paths: str,
    model: str,
    latency: bool,
    parts: bool,
    search: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Drain a backlog through each path, with windows of the bare loop right before and after.

    The bare loop fetches from the same object store, so the ratio is that of the architecture to none at
    all on this machine. Leave the machine alone meanwhile.
    """
    stderr = Console(stderr=True)

    def note(text: str) -> None:
        stderr.print(text, highlight=False, markup=False)

    chosen = tuple(name.strip() for name in paths.split(","))
    if unknown := sorted(set(chosen) - set(PATHS)):
        raise ConfigurationError(f"--paths: unknown {', '.join(unknown)}; known are {', '.join(PATHS)}")
    config = HarnessConfig.load(config_path)
    configured = prepare(config, note).model_dir
    dataset = load_dataset("crops", note)
    if count > len(dataset.images):
        raise ConfigurationError(f"--count {count}: the data set has {len(dataset.images)} images")
    if not latency:
        dataset = dataclasses.replace(dataset, images=dataset.images[:count])
    with stand(config, dataset, note) as servers:
        layout = Layout(config.inference.workers, 1, 2, config.inference.max_batch)
        if search:
            layout, _ = find_layout(servers.material(configured), Work.S3, note)
        found = Findings(layout)
        if model != "near-free":
            found.drains, found.overhead = _drain(servers, configured, found, count, rounds, chosen, note)
        if model != "configured":
            near_free = build_near_free_model()
            found.near_free, found.overhead = _drain(servers, near_free, found, count, rounds, chosen, note)
        if latency:
            for path in (ONLINE, STREAM):
                if rates := [d.images_per_second for d in found.drains if d.path == path]:
                    sustained = statistics.median(rates)
                    found.latencies.append(measure_latency(servers, path, configured, sustained, note))
    if parts:
        note("GSS and the conversions")
        found.gss, found.conversions = measure_gss(GSS_SECONDS), measure_conversions()
    if as_json:
        click.echo(orjson.dumps(found.as_plain(), option=orjson.OPT_INDENT_2))
    else:
        Console().print(tables(found))


def _drain(
    servers: Stand,
    model_dir: Path,
    found: Findings,
    count: int,
    rounds: int,
    chosen: Sequence[str],
    note: Progress,
) -> tuple[list[Drain], Overhead | None]:
    drains: list[Drain] = []
    overhead = found.overhead
    with BareLoop(servers.material(model_dir), found.layout, servers.s3_processes) as loop:
        for _ in range(rounds):
            done, measured = drain_all(servers, model_dir, loop, images=count, paths=chosen, progress=note)
            drains += done
            overhead = measured or overhead
    return drains, overhead


def tables(found: Findings) -> RenderableType:
    """The drains, the latencies, the targets."""
    parts: list[RenderableType] = []
    for title, drains in (("configured model", found.drains), ("near-free model", found.near_free)):
        if drains:
            parts += [_drains(title, drains), Text()]
    for latency in found.latencies:
        parts += [_latency(latency), Text()]
    return Group(*parts, _targets(found.targets()), Text(f"bare loop: {found.layout}", style="dim"))


def _drains(title: str, drains: Sequence[Drain]) -> Table:
    table = _table(title, "images/s", "of bare loop", "core-ms", "plumbing", "peak MiB", "by process")
    for drain in drains:
        largest = [f"{name} {ms:.2f}" for name, ms in drain.core_ms_by_process.items() if ms >= 0.05]
        table.add_row(
            drain.path,
            f"{drain.images_per_second:.1f}",
            f"{drain.ratio:.3f}",
            f"{drain.core_ms_per_image:.2f}",
            f"{drain.plumbing_core_ms:.2f}",
            f"{drain.peak_bytes / 2**20:.0f}",
            "\n".join(largest),
        )
    return table


def _latency(latency: Latency) -> Table:
    title = f"{latency.path}, one image alone {latency.alone_seconds * 1e3:.1f} ms"
    table = _table(title, "arrivals/s", "images", "p50 ms", "p99 ms")
    for level in latency.levels:
        table.add_row(
            f"{level.load:.0%} of sustained",
            f"{level.rate_per_second:.1f}",
            str(level.n),
            f"{level.p50_seconds * 1e3:.1f}",
            f"{level.p99_seconds * 1e3:.1f}",
        )
    return table


def _targets(found: Sequence[Target]) -> Table:
    table = _table("target", "limit", "measured", "unit", "met")
    for target in found:
        measured = "not measured" if target.measured is None else f"{target.measured:,.3g}"
        met = {True: "yes", False: "NO", None: "-"}[target.met]
        table.add_row(target.name, f"{target.comparison} {target.limit:,g}", measured, target.unit, met)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
