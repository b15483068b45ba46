"""The tables of ``lkbench throughput``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.figures_table import figures_table
from bench.throughput.drains import Drain
from bench.throughput.findings import Findings
from bench.throughput.latency import Latency
from bench.throughput.targets import Target

SHOWN_CORE_MS = 0.05  # what a process needs at least to be named


def tables(found: Findings) -> RenderableType:
    """The drains, the latencies, the targets: what was measured of them."""
    parts: list[RenderableType] = []
    for title, drains in (("configured model", found.drains), ("near-free model", found.near_free)):
        if drains:
            parts += [_drains(title, drains), Text()]
    for latency in found.latencies:
        parts += [_latency(latency), Text()]
    if not found.is_complete:
        parts += [Text("not complete: this is what was measured before it ended", style="bold"), Text()]
    return Group(*parts, _targets(found.targets()), Text(f"bare loop: {found.layout}", style="dim"))


def drain_line(drain: Drain) -> str:
    """One drain in one line."""
    return (
        f"{drain.path}: {drain.images_per_second:.1f} images/s, {drain.ratio:.3f} of the bare loop, "
        f"{drain.core_ms_per_image:.2f} core-ms per image, {drain.plumbing_core_ms:.2f} of it plumbing"
    )


def _drains(title: str, drains: Sequence[Drain]) -> Table:
    table = figures_table(title, "images/s", "of bare loop", "core-ms", "plumbing", "peak MiB", "by process")
    for drain in drains:
        largest = [
            f"{name.split('.', 1)[-1]} {ms:.2f}"
            for name, ms in drain.core_ms_by_process.items()
            if ms >= SHOWN_CORE_MS
        ]
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
    table = figures_table(title, "arrivals/s", "images", "p50 ms", "p99 ms")
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
    table = figures_table("target", "limit", "measured", "unit", "met")
    for target in found:
        measured = "not measured" if target.measured is None else f"{target.measured:,.3g}"
        met = {True: "yes", False: "NO", None: "-"}[target.met]
        table.add_row(target.name, f"{target.comparison} {target.limit:,g}", measured, target.unit, met)
    return table
