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
    if ratios:
        limit, ours = max(ratios), median(of(STREAM), lambda f: f.ratio)
        yield Target(
            f"{STREAM}: throughput, against the fastest stream", "of the bare loop", ">=", limit, ours
        )
    for what, p99_ms in (("of the bare loop", _common_p99_ms), ("of its own rate", _own_p99_ms)):
        if waits := [p for name in streams if (p := median(of(name), p99_ms)) is not None]:
            name = f"{STREAM}: p99 at half {what}, against the best"
            yield Target(name, "ms", "<=", min(waits), median(of(STREAM), p99_ms))


def _common_p99_ms(found: SystemFigures) -> float | None:
    return found.common_half.p99_seconds * 1e3 if found.common_half else None


def _own_p99_ms(found: SystemFigures) -> float | None:
    return found.own_half.p99_seconds * 1e3 if found.own_half else None
