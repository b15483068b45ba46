"""What a throughput benchmark has measured so far, and the file that keeps it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bench.limit.worker import Layout
from bench.throughput.conversions import ConversionSpeed
from bench.throughput.drains import Drain
from bench.throughput.gss import GssSpeed
from bench.throughput.latency import LatencyRound
from bench.throughput.overhead import Overhead
from bench.throughput.targets import Target, targets
from signals.whole_file import replace_file

SCHEMA_VERSION = 6
_DRAIN_FIGURES = ("images_per_second", "ratio", "core_ms_per_image", "plumbing_core_ms")
_LEVEL_FIGURES = ("core_ms_per_image", "cores")


@dataclass
class Findings:
    """``layout``: the bare loop's. ``is_complete``: all that was asked for was measured.
    ``cores_awake``: no core slept meanwhile."""

    layout: Layout
    near_free_layout: Layout
    is_complete: bool = False
    cores_awake: bool = False
    drains: list[Drain] = field(default_factory=list)
    near_free: list[Drain] = field(default_factory=list)
    latencies: list[LatencyRound] = field(default_factory=list)
    gss: GssSpeed | None = None
    conversions: list[ConversionSpeed] = field(default_factory=list)
    overhead: Overhead | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured yet."""
        return not (self.drains or self.near_free or self.latencies or self.gss or self.conversions)

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

    def as_plain(self) -> dict[str, Any]:
        """JSON-able; units are in the names."""
        plain: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        for name, drains in (("drains", self.drains), ("near_free", self.near_free)):
            plain[name] = [
                {**asdict(drain), **{figure: getattr(drain, figure) for figure in _DRAIN_FIGURES}}
                for drain in drains
            ]
        for latency, kept in zip(self.latencies, plain["latencies"], strict=True):
            levels = zip((*latency.levels, latency.bare), (*kept["levels"], kept["bare"]), strict=True)
            for level, kept_level in levels:
                kept_level |= {figure: getattr(level, figure) for figure in _LEVEL_FIGURES}
        plain["harness_share_of_cores"] = self.harness_share()
        plain["targets"] = [target.as_plain() for target in self.targets()]
        return plain

    def save(self, path: Path) -> None:
        """Replace ``path`` with what is known so far. Raises OSError."""
        replace_file(path, orjson.dumps(self.as_plain(), option=orjson.OPT_INDENT_2))
