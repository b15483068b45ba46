"""The tables of ``lkbench throughput``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.figures_table import figures_table
from bench.throughput.drains import Drain
from bench.throughput.findings import Findings
from bench.throughput.latency import ALONE, HALF_LOAD, LatencyRound, Level
from bench.throughput.spread import Spread
from bench.throughput.targets import Target

SHOWN_CORE_MS = 0.05  # what a process needs at least to be named
NOTES = (
    "Medians of the rounds (smallest-largest); memory: the largest. Each round is held against the bare loop "
    "right before and after it. Its layout: {layout}; with the near-free model: {near_free}. "
    "Cores without work: {cores}."
)


def tables(found: Findings) -> RenderableType:
    """The drains, the latencies, the targets: what was measured of them."""
    parts: list[RenderableType] = []
    for title, drains in (("configured model", found.drains), ("near-free model", found.near_free)):
        if drains:
            parts += [_drains(title, drains), Text()]
    for path in dict.fromkeys(latency.path for latency in found.latencies):
        parts += [_latency([latency for latency in found.latencies if latency.path == path]), Text()]
    if not found.is_complete:
        parts += [Text("not complete: this is what was measured before it ended", style="bold"), Text()]
    return Group(
        *parts,
        targets_table(found.targets()),
        Text(
            NOTES.format(
                layout=found.layout,
                near_free=found.near_free_layout,
                cores="kept awake" if found.cores_awake else "asleep, and waking them is part of latencies",
            ),
            style="dim",
        ),
    )


def drain_line(drain: Drain) -> str:
    """One drain in one line."""
    return (
        f"{drain.path}: {drain.images_per_second:.1f} images/s, {drain.ratio:.3f} of the bare loop, "
        f"{drain.core_ms_per_image:.2f} core-ms per image, {drain.plumbing_core_ms:.2f} of it plumbing"
    )


def _drains(title: str, drains: Sequence[Drain]) -> Table:
    table = figures_table(title, "images/s", "of bare loop", "core-ms", "plumbing", "peak MiB", "by process")
    for path in dict.fromkeys(drain.path for drain in drains):
        rounds = [drain for drain in drains if drain.path == path]
        table.add_row(
            path,
            _shown((drain.images_per_second for drain in rounds), 1),
            _shown((drain.ratio for drain in rounds), 3),
            _shown((drain.core_ms_per_image for drain in rounds), 2),
            _shown((drain.plumbing_core_ms for drain in rounds), 2),
            f"{max(drain.peak_bytes for drain in rounds) / 2**20:.0f}",
            "\n".join(_by_process(_medians(rounds))),
        )
    return table


def _medians(rounds: Sequence[Drain] | Sequence[Level]) -> dict[str, float]:
    names = dict.fromkeys(name for one in rounds for name in one.core_ms_by_process)
    return {
        name: statistics.median(one.core_ms_by_process.get(name, 0.0) for one in rounds) for name in names
    }


def _by_process(core_ms_by_process: Mapping[str, float]) -> Iterator[str]:
    """The largest first."""
    for name, core_ms in sorted(core_ms_by_process.items(), key=lambda item: -item[1]):
        if core_ms >= SHOWN_CORE_MS:
            yield f"{name.split('.', 1)[-1]} {core_ms:.2f}"


def latency_line(latency: LatencyRound) -> str:
    """One round in one line."""
    half, bare = latency.at(HALF_LOAD), latency.bare
    return (
        f"{latency.path}: sustains {latency.sustained_per_second:.1f} images/s, "
        f"one image alone {latency.alone_seconds * 1e3:.1f} ms, at half load "
        f"({half.rate_per_second:.1f}/s) p50 {half.p50_seconds * 1e3:.1f}, "
        f"p99 {half.p99_seconds * 1e3:.1f} ms, {half.cores:.2f} cores busy; the bare loop "
        f"{bare.p50_seconds * 1e3:.1f} and {bare.p99_seconds * 1e3:.1f} ms"
    )


def _latency(rounds: Sequence[LatencyRound]) -> Table:
    """Of one path."""
    table = figures_table(
        rounds[0].path, "arrivals/s", "images", "p50 ms", "p99 ms", "core-ms", "cores busy", "by process"
    )
    alone = _shown((latency.alone_seconds * 1e3 for latency in rounds), 1)
    table.add_row("one image alone", "-", f"{len(rounds)} x {2 * ALONE}", alone, "-", "-", "-", "")
    bare_alone = _shown((latency.bare_alone_seconds * 1e3 for latency in rounds), 1)
    table.add_row("of the bare loop", "-", f"{len(rounds)} x {ALONE}", bare_alone, "-", "-", "-", "")
    sustained = statistics.median(latency.sustained_per_second for latency in rounds)
    table.add_row("sustained", f"{sustained:.1f}", f"{len(rounds)} rounds", "-", "-", "-", "-", "")
    for load in sorted(level.load for level in rounds[0].levels):
        table.add_row(f"{load:.0%} load", *_level_cells([latency.at(load) for latency in rounds]))
        if load == HALF_LOAD:
            table.add_row("of the bare loop", *_level_cells([latency.bare for latency in rounds]))
    return table


def _level_cells(levels: Sequence[Level]) -> list[str]:
    return [
        f"{statistics.median(level.rate_per_second for level in levels):.1f}",
        f"{len(levels)} x {levels[0].n}",
        _shown((level.p50_seconds * 1e3 for level in levels), 1),
        _shown((level.p99_seconds * 1e3 for level in levels), 1),
        f"{statistics.median(level.core_ms_per_image for level in levels):.2f}",
        f"{statistics.median(level.cores for level in levels):.2f}",
        "\n".join(_by_process(_medians(levels))),
    ]


def _shown(values: Iterable[float], digits: int) -> str:
    spread = Spread.of(values)
    return "-" if spread is None else spread.shown(digits)


def targets_table(found: Sequence[Target]) -> Table:
    """What was measured, beside what it is held to."""
    table = figures_table("target", "limit", "measured", "unit", "met")
    for target in found:
        measured = "not measured" if target.measured is None else f"{target.measured:#,.3g}"
        limit = f"{target.limit:,.3g}" if target.limit < 1000 else f"{target.limit:,.0f}"
        table.add_row(target.name, f"{target.comparison} {limit}", measured, target.unit, target.verdict)
    return table
