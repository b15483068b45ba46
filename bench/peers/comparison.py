"""What our paths are held to: no slower than the peers of their kind, in the same run.

Round by round: neighbours in a round share the machine's pace, and streams its arrivals, of which both
figures depend more than on the system. Medians of all rounds, each system by itself, would compare rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from bench.peers.figures import Figure, SystemFigures
from bench.peers.task import DAFT, PEERS
from bench.throughput.targets import Target

NIGHTLY, STREAM = "nightly", "kappa"


def peer_targets(found: Sequence[SystemFigures]) -> list[Target]:
    """The lines that this run could measure: ours divided by the peer's, and of several peers the one that
    leaves us least."""
    return list(_targets(found))


def _targets(found: Sequence[SystemFigures]) -> Iterator[Target]:
    streams = [peer.name for peer in PEERS if peer.is_stream]
    yield from _target(f"{NIGHTLY}: throughput", ">=", found, NIGHTLY, [DAFT.name], lambda f: f.ratio)
    yield from _target(f"{STREAM}: throughput", ">=", found, STREAM, streams, lambda f: f.ratio)
    for what, figure in (("of the bare loop", _common_p99_seconds), ("of its own rate", _own_p99_seconds)):
        yield from _target(f"{STREAM}: p99 at half {what}", "<=", found, STREAM, streams, figure)


def _target(
    name: str,
    comparison: str,
    found: Sequence[SystemFigures],
    ours: str,
    peers: Sequence[str],
    figure: Figure,
) -> Iterator[Target]:
    measured = [
        peer for peer in peers if any(figure(item) is not None for item in found if item.system == peer)
    ]
    if not measured:
        return
    shares = {peer: share for peer in measured if (share := _share(found, ours, peer, figure)) is not None}
    if not shares:
        yield Target(name, f"of {' or '.join(measured)}", comparison, 1.0, None)
        return
    hardest = (min if comparison == ">=" else max)(shares, key=shares.__getitem__)
    yield Target(name, f"of {hardest}", comparison, 1.0, shares[hardest])


def _share(found: Sequence[SystemFigures], ours: str, peer: str, figure: Figure) -> float | None:
    """Median of the rounds in which both were measured."""
    values = {(f.system, f.round_number): value for f in found if (value := figure(f)) is not None}
    shares = [
        value / values[peer, number]
        for (system, number), value in values.items()
        if system == ours and (peer, number) in values
    ]
    return statistics.median(shares) if shares else None


def _common_p99_seconds(found: SystemFigures) -> float | None:
    return found.common_half.p99_seconds if found.common_half else None


def _own_p99_seconds(found: SystemFigures) -> float | None:
    return found.own_half.p99_seconds if found.own_half else None
