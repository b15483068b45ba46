"""One backlog of arrivals through an arm, and whether it came out."""

from __future__ import annotations

import time
from collections.abc import Iterable

from bench.throughput.stand import Stand, StartedArm, arrival_signature
from signals.declaration import for_galaxy
from signals.errors import PipelineError
from signals.gss import GssClient
from signals.record import record_key

DRAIN_SECONDS = 7200.0
CHECKED = 100  # arrivals of a backlog that are looked up


def drain(stand: Stand, started: StartedArm, numbers: Iterable[int], day: int) -> None:
    """Submit arrivals ``numbers`` at once and return when the arm has worked them off. Raises an error of the
    tree."""
    for number in numbers:
        started.arm.submit(stand.event(number, time.time_ns(), day))
    started.arm.drain(DRAIN_SECONDS)


def check_stored(stand: Stand, started: StartedArm, numbers: range) -> None:
    """Look for the signals of CHECKED of ``numbers`` in the store: a backlog of dead letters is worked off
    quickly. Raises PipelineError."""
    sample = numbers[:: max(1, len(numbers) // CHECKED)]
    keys = [
        record_key(stand.galaxy, signal.name, signal.version, arrival_signature(number))
        for number in sample
        for signal in for_galaxy(stand.galaxy)
    ]
    with GssClient.of_run(started.context) as gss:
        found = sum(gss.contains(keys))
    if found != len(keys):
        raise PipelineError(
            f"{started.context.arm}: {found} of {len(keys)} signals that were looked up are stored; the logs "
            f"are in {started.context.log_dir}"
        )
