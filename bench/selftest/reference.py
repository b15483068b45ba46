"""The reference arm: as thin as an arm can be, through every part that the harness measures with.

Real availability events, real GSS, real Hive partitions; no Spark, no images read, and vectors that depend
on the signature alone. What a run of it shows is what the harness itself costs. Broken and slowed versions
of it (:mod:`bench.selftest.defects`) are what ``lkbench audit`` plants.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.selftest.announcer import Announcer
from bench.selftest.store import MetastoreWriter, write_rows
from bench.services.needs import KAFKA, METASTORE
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent, RunContext
from signals.declaration import declared_signals, for_galaxy
from signals.encodings import encode_thrift
from signals.errors import PipelineError
from signals.gss import GssClient
from signals.hive import partition_dir
from signals.ledger import Ledger, Stage
from signals.record import SignalRecord

MODEL_SHA256 = hashlib.sha256(b"reference").hexdigest()
OUTPUT_WIDTH = 64  # of each made-up model output
POLL_SECONDS = 0.01
NIGHT_SECONDS = 300.0  # a night that waits longer for its day has lost an arrival
Outcome = AvailabilityEvent | DeadLetter


class ReferenceArm:
    """Implements :class:`signals.architecture.Pipeline` in the driver's own process."""

    services = frozenset({KAFKA, METASTORE})
    threads = 4
    max_batch = 16

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[MediaEvent | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._changed = threading.Lock()
        self._failure: Exception | None = None
        self._submitted = self._ended = 0
        self._stored: dict[tuple[str, str], int] = {}  # day of each key
        self._table: dict[tuple[str, int], list[SignalRecord]] = defaultdict(list)
        self._ledger: Ledger | None = None
        self._open: list[Announcer | GssClient | MetastoreWriter] = []

    def start(self, context: RunContext) -> None:
        """Make topics and table, start the threads."""
        self._context = context
        self._announcer = Announcer(context)
        self._open.append(self._announcer)
        self._gss = GssClient.of_run(context)
        self._open.append(self._gss)
        self._metastore = MetastoreWriter(context.metastore_dsn, context.namespace, context.warehouse_dir)
        self._open.append(self._metastore)
        self._ledger = Ledger.from_context(context, "reference_arm")
        for number in range(self.threads):
            thread = threading.Thread(target=self._work, name=f"reference-{number}", daemon=True)
            thread.start()
            self._workers.append(thread)

    def submit(self, event: MediaEvent) -> None:
        """Queue the arrival."""
        self._submitted += 1
        self._queue.put(event)

    def end_day(self, day: int) -> None:
        """Write and show the day's partitions once its arrivals have ended."""
        self.drain(NIGHT_SECONDS)
        with self._changed:
            tables = {galaxy: records for (galaxy, of_day), records in self._table.items() if of_day == day}
        for galaxy, records in tables.items():
            self._publish(galaxy, day, records)

    def drain(self, timeout_seconds: float) -> None:
        """Return when every arrival has ended."""
        deadline = time.monotonic() + timeout_seconds
        while self.backlog():
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the reference arm still has {self.backlog()} arrivals after {timeout_seconds:.0f} s"
                )
            time.sleep(POLL_SECONDS)

    def backlog(self) -> int:
        """Arrivals submitted and not ended. Raises what ended a thread."""
        if self._failure is not None:
            raise PipelineError(f"the reference arm failed: {self._failure}") from self._failure
        return self._submitted - self._ended

    def stop(self) -> None:
        """End the threads and close every client."""
        for _ in self._workers:
            self._queue.put(None)
        for thread in self._workers:
            thread.join()
        for client in self._open:
            client.close()
        if self._ledger is not None:
            self._ledger.close()

    # What follows are the steps that a broken or slowed arm does differently.

    def compute(self, event: MediaEvent) -> list[SignalRecord]:
        """The declared signals of one image, from made-up model outputs that its signature seeds."""
        random = np.random.default_rng(int(event.image_signature, 16))
        names = sorted({declaration.model_output for declaration in declared_signals()})
        outputs = {name: random.standard_normal((1, OUTPUT_WIDTH), np.float32) for name in names}
        return [
            SignalRecord.from_array(
                declaration(outputs[declaration.model_output])[0],
                image_signature=event.image_signature,
                galaxy=event.galaxy,
                signal=declaration.name,
                version=declaration.version,
                day=event.day,
                pipeline=event.pipeline,
                model_sha256=MODEL_SHA256,
            )
            for declaration in for_galaxy(event.galaxy)
        ]

    def store(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Write into Rockstore."""
        self._gss.put(items)

    def announce(self, outcomes: Sequence[Outcome]) -> None:
        """Publish what became of arrivals."""
        self._announcer.publish(outcomes)

    def table_rows(self, records: Sequence[SignalRecord]) -> list[SignalRecord]:
        """The rows of a partition."""
        return list(records)

    def show(self, galaxy: str, day: int, folder: Path, rows: Sequence[SignalRecord]) -> None:
        """Write a partition and make it visible, in this order."""
        write_rows(folder, "part-0.parquet", rows)
        self._metastore.show(galaxy, day, folder)

    def linger(self, stage: Stage | str, events: Sequence[MediaEvent]) -> None:
        """Called inside each stage (of the image path, by its Stage; of the night, by its step's name)."""

    def outcome(self, event: MediaEvent, *, recomputed: bool) -> Outcome:
        """How one arrival ends."""
        return AvailabilityEvent.of(event, published_ns=time.time_ns(), recomputed=recomputed)

    @property
    def ledger(self) -> Ledger:
        """The arm's ledger while it runs."""
        assert self._ledger is not None  # set by start, which comes first
        return self._ledger

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < self.max_batch and not self._queue.empty():
                event = self._queue.get()
                if event is None:
                    self._queue.put(None)  # meant for this thread or another: whoever gets it ends
                    break
                batch.append(event)
            try:
                self._process(batch)
            except Exception as error:  # ends in the main thread, at its next call
                self._failure = error
            with self._changed:
                self._ended += len(batch)

    def _process(self, batch: Sequence[MediaEvent]) -> None:
        times = [time.time_ns()]

        def stage_ends(stage: Stage) -> None:
            self.linger(stage, batch)
            times.append(time.time_ns())

        with self._changed:
            fresh = [e for e in batch if (e.galaxy, e.image_signature) not in self._stored]
            for event in fresh:
                self._stored[event.galaxy, event.image_signature] = event.day
        records = [record for event in fresh for record in self.compute(event)]
        stage_ends(Stage.INFERENCE)
        items = [(record.key, encode_thrift(record)) for record in records]
        stage_ends(Stage.ENCODE)
        if items:
            self.store(items)
        stage_ends(Stage.WRITE)
        computed = {event.event_id for event in fresh}
        self.announce([self.outcome(event, recomputed=event.event_id in computed) for event in batch])
        stage_ends(Stage.PUBLISH)
        with self._changed:
            for record in records:
                self._table[record.galaxy, record.day].append(record)
        for event in batch:
            self._record(event, times, "ok" if event.event_id in computed else "skipped")

    def _record(self, event: MediaEvent, times: Sequence[int], outcome: str) -> None:
        moments = [event.scheduled_ns, *times]
        stages = (Stage.QUEUE, Stage.INFERENCE, Stage.ENCODE, Stage.WRITE, Stage.PUBLISH)
        for stage, start_ns, end_ns in zip(stages, moments, moments[1:], strict=False):
            self.ledger.record(
                stage,
                start_ns=start_ns,
                end_ns=end_ns,
                path="stream",
                day=event.day,
                event_id=event.event_id,
                image_signature=event.image_signature,
                galaxy=event.galaxy,
                pipeline=event.pipeline,
                outcome=outcome,
            )

    def _publish(self, galaxy: str, day: int, records: Sequence[SignalRecord]) -> None:
        folder = partition_dir(self._context.warehouse_dir, galaxy, day, f"reference-{time.time_ns():x}")
        with self._step("reference.transform", day):
            rows = self.table_rows(records)
        with self._step("reference.swap", day):
            self.show(galaxy, day, folder, rows)

    @contextmanager
    def _step(self, name: str, day: int) -> Iterator[None]:
        start_ns = time.time_ns()
        yield
        self.linger(name, ())
        self.ledger.record(
            Stage.STEP, start_ns=start_ns, end_ns=time.time_ns(), path="dump", day=day, detail=name
        )


class SingleServerArm(ReferenceArm):
    """One first-come-first-served server with a constant service time: its capacity and waits are known."""

    threads = 1
    max_batch = 1
    service_seconds = 0.01

    def __init__(self) -> None:
        super().__init__()
        self._free_at = 0.0  # monotonic seconds

    def linger(self, stage: Stage | str, events: Sequence[MediaEvent]) -> None:
        """Serve: at inference, until the work that precedes and one service time are over."""
        if stage is Stage.INFERENCE:
            # By deadline, so that what a sleep takes too long is not added up while there is a queue.
            self._free_at = max(self._free_at, time.monotonic()) + self.service_seconds * len(events)
            while (left := self._free_at - time.monotonic()) > 0:
                time.sleep(left)
