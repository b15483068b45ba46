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
from bench.throughput.stand import Progress, Stand, StartedArm
from signals.errors import PipelineError

DRAIN_SECONDS = 1800.0
BARE_SECONDS = 4.0
ONLINE, NIGHTLY, STREAM = "lambda_online", "lambda_nightly", "kappa_stream"

# From when the first image of the backlog was taken. A path ends with its last announcement, a night with
# the end of step 5. The numbers of images are those that were computed, not those found to be stored.
_DRAINED = """
SELECT min(end_ns) FILTER (stage = 'queue'),
    max(end_ns) FILTER (stage = 'publish' OR (stage = 'step' AND detail = 'step5_protobuf')),
    count(*) FILTER (stage = 'inference' AND outcome = 'ok'),
    count(*)
FROM read_parquet($events) WHERE path = $path
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


def drain_all(
    stand: Stand, model_dir: Path, loop: BareLoop, *, images: int, paths: Sequence[str], progress: Progress
) -> tuple[list[Drain], Overhead | None]:
    """Drain ``images`` images through each of ``paths``; the harness's own cost, where the stream is among
    them. Raises an error of the tree."""
    found: list[Drain] = []
    overhead: Overhead | None = None
    if ONLINE in paths or NIGHTLY in paths:
        with stand.started("lambda", model_dir) as started:
            online = _measure(ONLINE, started, loop, lambda: _offer_and_drain(stand, started, images))
            nightly = None
            if NIGHTLY in paths:
                nightly = _measure(NIGHTLY, started, loop, lambda: started.arm.end_day(0))
        found += [_result(m, images) for m in (online, nightly) if m is not None]
    if STREAM in paths:
        with stand.started("kappa", model_dir) as started:
            stream = _measure(STREAM, started, loop, lambda: _offer_and_drain(stand, started, images))
            overhead = measure_overhead(stand, started, images)
        found.append(_result(stream, images))
    for drain in found:
        progress(
            f"{drain.path}: {drain.images_per_second:.1f} images/s, {drain.ratio:.3f} of the bare loop, "
            f"{drain.core_ms_per_image:.2f} core-ms per image"
        )
    return found, overhead


@dataclass(frozen=True, slots=True)
class _Measurement:
    path: str
    run_dir: Path
    meter: ProcessMeter
    bare: tuple[Window, Window]


def _measure(path: str, started: StartedArm, loop: BareLoop, work: Callable[[], None]) -> _Measurement:
    before = loop.window(Work.S3, BARE_SECONDS)
    with ProcessMeter() as meter:
        work()
    after = loop.window(Work.S3, BARE_SECONDS)
    return _Measurement(path, started.context.run_dir, meter, (before, after))


def _offer_and_drain(stand: Stand, started: StartedArm, images: int) -> None:
    now_ns = time.time_ns()
    for number in range(images):
        started.arm.submit(stand.event(number, now_ns))
    started.arm.drain(DRAIN_SECONDS)


def _result(measurement: _Measurement, images: int) -> Drain:
    """The figures of a drain; its processes have ended, so their ledger is complete."""
    seal(measurement.run_dir)
    parameters = {
        "events": str(events_path(measurement.run_dir)),
        "path": _LEDGER_PATH[measurement.path],
    }
    with duckdb.connect() as connection:
        row = connection.execute(_DRAINED, parameters).fetchone()
    start_ns, end_ns, done, rows = row or (None, None, 0, 0)
    if done != images or start_ns is None or end_ns is None:
        raise PipelineError(
            f"{measurement.path}: {done} of {images} images were computed; "
            f"the logs are in {measurement.run_dir / 'logs'}"
        )
    used = measurement.meter.cpu_seconds(start_ns, end_ns)
    per_image = {name: 1e3 * seconds / images for name, seconds in used.items()}
    return Drain(
        path=measurement.path,
        images=images,
        seconds=(end_ns - start_ns) / 1e9,
        core_ms_by_process=dict(sorted(per_image.items(), key=lambda item: -item[1])),
        peak_bytes=measurement.meter.peak_bytes(start_ns, end_ns),
        ledger_rows=rows,
        bare=measurement.bare,
    )
