"""The targets that the paths are held to, with what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.throughput.conversions import ConversionSpeed
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM, Drain
from bench.throughput.gss import GssSpeed
from bench.throughput.latency import HALF_LOAD, LatencyRound
from bench.throughput.spread import Spread

RATIO_TARGETS = {NIGHTLY: 0.95, STREAM: 0.93, ONLINE: 0.85}
PLUMBING_TARGETS_CORE_MS = {NIGHTLY: 0.4, STREAM: 0.7, ONLINE: 1.5}


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table. ``measured`` None: this run did not measure it."""

    name: str
    unit: str
    comparison: str  # ">=" or "<="
    limit: float
    measured: float | None

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.comparison == ">=" else self.measured <= self.limit

    def as_plain(self) -> dict[str, object]:
        """JSON-able."""
        return {**asdict(self), "met": self.met}

    @property
    def verdict(self) -> str:
        """For a table."""
        return {True: "yes", False: "NO", None: "-"}[self.met]


def targets(
    drains: Sequence[Drain],
    near_free: Sequence[Drain],
    gss: GssSpeed | None,
    conversions: Sequence[ConversionSpeed],
    latencies: Sequence[LatencyRound],
    harness_share: float | None,
) -> list[Target]:
    """All targets, with medians of the rounds."""
    return [
        *(
            Target(f"{path}: throughput", "of the bare loop", ">=", limit, _median(drains, path, "ratio"))
            for path, limit in RATIO_TARGETS.items()
        ),
        *(
            Target(
                f"{path}: plumbing, near-free model",
                "core-ms per image",
                "<=",
                limit,
                _median(near_free, path, "plumbing_core_ms"),
            )
            for path, limit in PLUMBING_TARGETS_CORE_MS.items()
        ),
        *_latency_targets(latencies),
        *_gss_targets(gss),
        *(
            Target(f"{item.name}: without Spark's start", "of PyArrow's writing", ">=", 0.5, item.ratio)
            for item in conversions
        ),
        Target("harness: ledger, probe, generator", "of the cores", "<=", 0.02, harness_share),
    ]


def _median(drains: Sequence[Drain], path: str, figure: str) -> float | None:
    found = Spread.of(float(getattr(drain, figure)) for drain in drains if drain.path == path)
    return found.median if found else None


def _latency_targets(latencies: Sequence[LatencyRound]) -> Iterator[Target]:
    rounds = [
        (latency.at(HALF_LOAD), latency.alone_seconds) for latency in latencies if latency.path == STREAM
    ]
    p50 = Spread.of(level.p50_seconds / alone_seconds for level, alone_seconds in rounds)
    p99 = Spread.of(level.p99_seconds / alone_seconds for level, alone_seconds in rounds)
    for name, limit, found in (("p50", 1.5, p50), ("p99", 4.0, p99)):
        measured = found.median if found else None
        yield Target(f"{STREAM}: {name} at half load", "times one image alone", "<=", limit, measured)


def _gss_targets(gss: GssSpeed | None) -> Iterator[Target]:
    rate = gss.multi_get_values_per_second if gss else None
    yield Target("GSS: multi-get of 5 KB values", "values/s", ">=", 10_000, rate)
    p99 = gss.single_get_p99_seconds * 1e3 if gss else None
    yield Target("GSS: single get at 1,000/s, p99", "ms", "<=", 1.0, p99)
