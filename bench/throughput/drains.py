"""Drains one backlog through each path; the ledger says how long that took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench.limit.loop import BareLoop, Window
from bench.limit.worker import Work
from bench.seal import events_path, seal
from bench.throughput.overhead import Overhead, measure_overhead
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import Stand, StartedArm
from signals.errors import PipelineError

DRAIN_SECONDS = 1800.0
BARE_SECONDS = 4.0
ONLINE, NIGHTLY, STREAM = "lambda_online", "lambda_nightly", "kappa_stream"

WARM_UP_DAY, MEASURED_DAY = 0, 1

# From when the first image of the backlog was taken. A path ends with its last announcement, a night with
# the end of step 5. The numbers of images are those that were computed, not those found to be stored.
_DRAINED = """
SELECT min(end_ns) FILTER (stage = 'queue'),
    max(end_ns) FILTER (stage = 'publish' OR (stage = 'step' AND detail = 'step5_protobuf')),
    count(*) FILTER (stage = 'inference' AND outcome = 'ok'),
    count(*)
FROM read_parquet($events) WHERE path = $path AND day = $day
"""
_LEDGER_PATH = {ONLINE: "online", NIGHTLY: "nightly", STREAM: "stream"}


@dataclass(frozen=True, slots=True)
class Drain:
    """One path, once. ``bare``: the bare loop right before and after."""

    path: str
    images: int
    seconds: float
    core_ms_by_process: Mapping[str, float]  # per image
    peak_bytes: int
    ledger_rows: int
    bare: tuple[Window, Window]

    @property
    def images_per_second(self) -> float:
        """Of the drain."""
        return self.images / self.seconds

    @property
    def core_ms_per_image(self) -> float:
        """Of all processes."""
        return sum(self.core_ms_by_process.values())

    @property
    def ratio(self) -> float:
        """To the bare loop."""
        return self.images_per_second / statistics.fmean(w.images_per_second for w in self.bare)

    @property
    def plumbing_core_ms(self) -> float:
        """Core-milliseconds per image above those of the bare loop and its object store."""
        bare = [w.core_ms_per_image + w.server_core_ms_per_image for w in self.bare]
        return self.core_ms_per_image - statistics.fmean(bare)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What each drain works off. ``warm_up`` images go through the path before, one day earlier: the bare
    loop is warm when it is measured, so are the servers and the workers of a path that is always on."""

    images: int
    warm_up: int

    @property
    def images_needed(self) -> int:
        """Distinct images, all together."""
        return self.images + self.warm_up


def drain_all(
    stand: Stand,
    model_dir: Path,
    loop: BareLoop,
    *,
    backlog: Backlog,
    paths: Sequence[str],
    measured: Callable[[Drain], None],
) -> Overhead | None:
    """Drain a backlog through each of ``paths``, and say so as soon as one is measured. Returns the
    harness's own cost, where the stream is among them. Raises an error of the tree."""
    if ONLINE in paths or NIGHTLY in paths:
        with stand.started("lambda", model_dir) as started:
            _warm_up(stand, started, backlog)
            drain = _measure(ONLINE, started, loop, backlog, lambda: _offer(stand, started, backlog))
            if ONLINE in paths:
                measured(drain)
            if NIGHTLY in paths:
                measured(_measure(NIGHTLY, started, loop, backlog, lambda: started.arm.end_day(MEASURED_DAY)))
    if STREAM not in paths:
        return None
    with stand.started("kappa", model_dir) as started:
        _warm_up(stand, started, backlog)
        measured(_measure(STREAM, started, loop, backlog, lambda: _offer(stand, started, backlog)))
        return measure_overhead(stand, started, backlog.images_needed)


def _measure(
    path: str, started: StartedArm, loop: BareLoop, backlog: Backlog, work: Callable[[], None]
) -> Drain:
    before = loop.window(Work.S3, BARE_SECONDS)
    with ProcessMeter() as meter:
        work()
    after = loop.window(Work.S3, BARE_SECONDS)  # long enough for every process to flush its ledger
    return _result(path, started.context.run_dir, meter, backlog.images, (before, after))


def _warm_up(stand: Stand, started: StartedArm, backlog: Backlog) -> None:
    now_ns = time.time_ns()
    for number in range(backlog.images, backlog.images_needed):
        started.arm.submit(stand.event(number, now_ns, WARM_UP_DAY))
    started.arm.drain(DRAIN_SECONDS)


def _offer(stand: Stand, started: StartedArm, backlog: Backlog) -> None:
    now_ns = time.time_ns()
    for number in range(backlog.images):
        started.arm.submit(stand.event(number, now_ns, MEASURED_DAY))
    started.arm.drain(DRAIN_SECONDS)


def _result(path: str, run_dir: Path, meter: ProcessMeter, images: int, bare: tuple[Window, Window]) -> Drain:
    seal(run_dir)
    parameters = {"events": str(events_path(run_dir)), "path": _LEDGER_PATH[path], "day": MEASURED_DAY}
    with duckdb.connect() as connection:
        row = connection.execute(_DRAINED, parameters).fetchone()
    start_ns, end_ns, done, rows = row or (None, None, 0, 0)
    if done != images or start_ns is None or end_ns is None:
        raise PipelineError(
            f"{path}: {done} of {images} images were computed; the logs are in {run_dir / 'logs'}"
        )
    used = meter.cpu_seconds(start_ns, end_ns)
    per_image = {name: 1e3 * seconds / images for name, seconds in used.items()}
    return Drain(
        path=path,
        images=images,
        seconds=(end_ns - start_ns) / 1e9,
        core_ms_by_process=dict(sorted(per_image.items(), key=lambda item: -item[1])),
        peak_bytes=meter.peak_bytes(start_ns, end_ns),
        ledger_rows=rows,
        bare=bare,
    )
