"""The open-loop generator: hands every arrival to the arm at its time, whatever the arm does meanwhile.

It sleeps between arrivals and never spins: waking up a tenth of a millisecond late harms nobody, while a
spinning thread would take a core from the arm. What it is late by is recorded with every arrival.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from bench.load import Load
from signals.architecture import MediaEvent
from signals.ledger import Columns, Ledger, Stage, ledger_column


class Generator:
    """Submits the arrivals of ``load``, day by day, and writes one ledger row for each.

    Rows are written in bulk, from arrays, by the ledger's own thread: a killed driver loses no more of them
    than of any others.
    """

    def __init__(self, load: Load, submit: Callable[[MediaEvent], None], ledger: Ledger) -> None:
        self._load, self._submit = load, submit
        self._rows = _ArrivalRows(load)
        ledger.add_source(self._rows.take, Stage.ARRIVAL, path="harness")

    @property
    def submitted(self) -> int:
        """Arrivals handed over so far."""
        return len(self._rows.submitted_ns)

    def run_day(self, day: int, start_ns: int, monotonic_offset_ns: int) -> None:
        """Submit the arrivals of ``day``, whose first instant is ``start_ns`` (Unix ns); returns after the
        last one. ``monotonic_offset_ns``: Unix time less monotonic time. Days are to be run in order.

        Raises what the arm's ``submit`` raises.
        """
        self._rows.begin(day, start_ns)
        submit, submitted, now_ns = self._submit, self._rows.submitted_ns.append, time.time_ns
        for event in self._load.events(day, start_ns):
            sleep_until(event.scheduled_ns - monotonic_offset_ns)
            submit(event)
            submitted(now_ns())


def sleep_until(monotonic_ns: int) -> None:
    """Return at or after a time of the monotonic clock, in ns."""
    while (left := monotonic_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


class _ArrivalRows:
    """The ledger rows of arrivals. The generator appends to ``submitted_ns``, in the order of the schedule;
    everything else about an arrival is known beforehand."""

    def __init__(self, load: Load) -> None:
        self.submitted_ns = array("q")  # appending and slicing are atomic
        self._written = 0
        schedule, catalog = load.schedule, load.catalog
        self._schedule = schedule
        self._scheduled_ns = np.zeros(len(schedule), np.int64)
        self._signatures = ledger_column(
            [image.image_signature for image in load.dataset.images], pa.string()
        )
        self._pipelines = ledger_column(schedule.pipelines, pa.string())
        galaxies = [catalog.pipelines[name].galaxy for name in schedule.pipelines]
        self._galaxies = ledger_column(galaxies, pa.string())

    def begin(self, day: int, start_ns: int) -> None:
        """Arrivals of ``day`` come next."""
        of_day = self._schedule.of_day(day)
        span = slice(of_day.start, of_day.stop)
        self._scheduled_ns[span] = self._schedule.offset_ns[span] + start_ns

    def take(self) -> Columns | None:
        """The rows since the last call."""
        first, last = self._written, len(self.submitted_ns)
        if first == last:
            return None
        self._written = last
        span = slice(first, last)
        image = ledger_column(self._schedule.image[span], pa.int64())
        pipeline = ledger_column(self._schedule.pipeline[span], pa.int32())
        return {
            "event_id": ledger_column(range(first, last), pa.int64()),
            "day": ledger_column(self._schedule.day[span], pa.int32()),
            "image_signature": self._signatures.take(image),
            "pipeline": self._pipelines.take(pipeline),
            "galaxy": self._galaxies.take(pipeline),
            "start_ns": ledger_column(self._scheduled_ns[span], pa.int64()),
            "end_ns": ledger_column(self.submitted_ns[span], pa.int64()),
        }
