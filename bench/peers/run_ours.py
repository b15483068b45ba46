"""Our own paths, observed as peers are."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import duckdb
import numpy as np

from bench.arms import load_arm
from bench.peers.figures import Observed, Times, own_processes
from bench.peers.offer import Arrivals, offer_stream
from bench.peers.task import lines_of_code
from bench.seal import events_path, seal
from bench.throughput.arrivals import by_arrival
from bench.throughput.offer import offer_backlog
from bench.throughput.stand import Stand, StartedArm
from signals.errors import PipelineError

DRAIN_SECONDS = 900.0
_NIGHTLY = """
SELECT end_ns FROM read_parquet($events) WHERE path = 'nightly' AND stage = 'inference' AND outcome = 'ok'
ORDER BY end_ns
"""
_NIGHTLY_END = """
SELECT max(end_ns) FROM read_parquet($events) WHERE stage = 'step' AND detail = 'step5_protobuf'
"""
_ANNOUNCED = """
SELECT event_id, max(end_ns) FROM read_parquet($events)
WHERE path = 'stream' AND stage = 'publish' AND event_id BETWEEN $first AND $last GROUP BY event_id
"""


def observe_nightly(stand: Stand, model_dir: Path, images: int) -> Observed:
    """Steps 1 to 5 of a night of ``images`` images. Raises an error of the tree."""
    with stand.started("lambda", model_dir) as started:
        offer_backlog(_submit(stand, started), range(images))
        started.arm.drain(DRAIN_SECONDS)  # the online path has them first, as every day
        with own_processes() as meter:
            started_ns = time.time_ns()
            started.arm.end_day(0)
    completed, end = _query(started, _NIGHTLY, _NIGHTLY_END)
    if len(completed) != images:
        raise PipelineError(f"the night computed {len(completed)} of {images} images")
    return Observed(started_ns, completed[:, 0], int(end[0, 0]), meter)


def observe_stream(stand: Stand, model_dir: Path, images: int, arrivals: Arrivals) -> Observed:
    """The stream: warm-up, a backlog, half loads. Raises an error of the tree."""
    announced_ns: dict[int, int] = {}
    with stand.started("kappa", model_dir) as started:

        def wait(numbers: range) -> int:
            started.arm.drain(DRAIN_SECONDS)
            announced_ns.update(by_arrival(started, _ANNOUNCED, numbers))
            return max(announced_ns[number] for number in numbers)

        offer = offer_stream(_submit(stand, started), wait, images, arrivals, wait_for_start=wait)
    return offer.observed(announced_ns)


def arm_lines_of_code(arm: str) -> int:
    """Of the package that implements it and of the shared core."""
    packages = (type(load_arm(arm)).__module__.partition(".")[0], "signals")
    files: list[Path] = []
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files += Path(folder).rglob("*.py")
    return lines_of_code(files)


def _submit(stand: Stand, started: StartedArm) -> Callable[[int, int], None]:
    return lambda number, scheduled_ns: started.arm.submit(stand.event(number, scheduled_ns))


def _query(started: StartedArm, *queries: str) -> list[Times]:
    """Rows of whole numbers over the ledger of an arm that has ended."""
    seal(started.context.run_dir)
    events = {"events": str(events_path(started.context.run_dir))}
    with duckdb.connect() as connection:
        return [np.asarray(connection.execute(sql, events).fetchall(), dtype=np.int64) for sql in queries]
