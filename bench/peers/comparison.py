"""What our paths are held to: no slower than the peers of their kind, in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.peers.figures import SystemFigures, median
from bench.peers.task import DAFT, PEERS
from bench.throughput.targets import Target

NIGHTLY, STREAM = "nightly", "kappa"


def peer_targets(found: Sequence[SystemFigures]) -> list[Target]:
    """The lines that this run could measure."""
    return list(_targets(found))


def _targets(found: Sequence[SystemFigures]) -> Iterator[Target]:
    def of(name: str) -> list[SystemFigures]:
        return [item for item in found if item.system == name]

    nightly = median(of(NIGHTLY), lambda f: f.ratio)
    daft = median(of(DAFT.name), lambda f: f.ratio)
    if daft is not None:
        yield Target(f"{NIGHTLY}: throughput, against Daft", "of the bare loop", ">=", daft, nightly)
    streams = [peer.name for peer in PEERS if peer.is_stream]
    ratios = [r for name in streams if (r := median(of(name), lambda f: f.ratio)) is not None]
    waits = [p for name in streams if (p := median(of(name), _p99_ms)) is not None]
    if ratios:
        limit, ours = max(ratios), median(of(STREAM), lambda f: f.ratio)
        yield Target(
            f"{STREAM}: throughput, against the fastest stream", "of the bare loop", ">=", limit, ours
        )
    if waits:
        yield Target(
            f"{STREAM}: p99 at half load, against the best",
            "ms",
            "<=",
            min(waits),
            median(of(STREAM), _p99_ms),
        )


def _p99_ms(found: SystemFigures) -> float | None:
    return found.half_load.p99_seconds * 1e3 if found.half_load else None
