"""One drain: how long a backlog took and what it cost, as the ledger and the processes tell."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from bench.limit.loop import Window
from bench.seal import events_path, seal
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import StartedArm
from signals.errors import PipelineError

ONLINE, NIGHTLY, STREAM = "lambda_online", "lambda_nightly", "kappa_stream"

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
    """One path in one round. ``bare``: the bare loop right before and after."""

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
        return self.core_ms_per_image - statistics.fmean(w.total_core_ms_per_image for w in self.bare)


def drained(
    path: str, started: StartedArm, day: int, images: int, meter: ProcessMeter, bare: tuple[Window, Window]
) -> Drain:
    """The drain of ``day``, whose rows must be in the raw ledger. Raises PipelineError where an image was not
    computed."""
    run_dir = started.context.run_dir
    seal(run_dir)
    parameters = {"events": str(events_path(run_dir)), "path": _LEDGER_PATH[path], "day": day}
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
