"""What the harness itself costs: the ledger, the online client that probes availability, the generator."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.consumers.progress import OnlineProgress, online_progress_file
from bench.throughput.stand import Stand, StartedArm
from signals.errors import PipelineError
from signals.ledger import Ledger, Stage
from signals.process import ProcessGroup

ROWS = 50_000
CLIENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Overhead:
    """CPU times in core-microseconds: of a ledger row with its share of the flushes, of an availability
    event in the online client, of an arrival in the generator less what the arm does with it."""

    ledger_us_per_row: float
    probe_us_per_image: float
    generator_us_per_image: float

    def share_of_cores(self, *, rows_per_image: float, images_per_second: float, cores: int) -> float:
        """Part of the cores that the harness takes at a rate."""
        per_image_us = rows_per_image * self.ledger_us_per_row
        per_image_us += self.probe_us_per_image + self.generator_us_per_image
        return per_image_us * 1e-6 * images_per_second / cores


def measure_overhead(stand: Stand, started: StartedArm, images: int) -> Overhead:
    """On an arm that has announced the signals of ``images`` arrivals. Raises ServiceError, PipelineError."""
    with tempfile.TemporaryDirectory(prefix="lkbench-ledger-") as folder:
        ledger = Ledger(Path(folder), process="overhead")
        cpu = time.process_time()
        for number in range(ROWS):
            _record(ledger, stand, number % images)
        ledger.close()
        row_us = 1e6 * (time.process_time() - cpu) / ROWS
        cpu = time.process_time()
        for number in range(ROWS):
            stand.event(number % images, number)
        event_us = 1e6 * (time.process_time() - cpu) / ROWS
    return Overhead(
        ledger_us_per_row=row_us - event_us,
        probe_us_per_image=1e6 * _client_cpu_seconds(started, images) / images,
        generator_us_per_image=row_us,
    )


def _record(ledger: Ledger, stand: Stand, number: int) -> None:
    event = stand.event(number, time.time_ns())
    ledger.record(
        Stage.ARRIVAL,
        start_ns=event.scheduled_ns,
        end_ns=time.time_ns(),
        path="harness",
        day=event.day,
        event_id=event.event_id,
        image_signature=event.image_signature,
        galaxy=event.galaxy,
        pipeline=event.pipeline,
    )


def _client_cpu_seconds(started: StartedArm, images: int) -> float:
    context = started.context
    with _online_client(started) as process:
        before = sum(process.cpu_times()[:2])
        deadline = time.monotonic() + CLIENT_SECONDS
        while OnlineProgress.read(online_progress_file(context.arm_dir)).ended < images:
            if time.monotonic() > deadline:
                raise PipelineError(f"the online client did not see {images} images; see {context.log_dir}")
            time.sleep(0.05)
        return float(sum(process.cpu_times()[:2]) - before)


@contextlib.contextmanager
def _online_client(started: StartedArm) -> Iterator[psutil.Process]:
    context = started.context
    path = context.save(context.arm_dir / "client_context.json")
    with ProcessGroup(context.log_dir) as group:
        argv = [sys.executable, "-m", "bench.consumers.online", "--context", str(path)]
        child = group.start("online_client", argv)
        group.wait_for_file(child, context.arm_dir / "online_client.ready", CLIENT_SECONDS)
        yield psutil.Process(child.pid)
