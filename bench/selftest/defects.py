"""The reference arm with one thing done wrong: a defect of each kind that the harness has to notice.

Each class overrides the one step that it breaks, for one image (the arrival :data:`VICTIM`) where one is
enough. ``lkbench audit`` runs them and looks whether the rule that should fire does.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.consumers.progress import BatchProgress, batch_progress_file
from bench.selftest.reference import Outcome, ReferenceArm, SingleServerArm
from bench.selftest.store import write_rows
from signals.architecture import DeadLetter, MediaEvent
from signals.ledger import Stage
from signals.record import SignalRecord

VICTIM = 5  # event_id of the arrival that is treated wrongly
NOBODY = "0" * 32  # the signature of an image that never arrived
EARLY_SECONDS = 0.3  # between an announcement and the write that it should have followed
READ_SECONDS = 10.0  # a batch client that has not read a partition by then won't
JITTER = 0.5  # a planted delay lies within this share of its mean, evenly spread


class DropsOne(ReferenceArm):
    """One arrival vanishes: no signal, no dead letter, no row."""

    def submit(self, event: MediaEvent) -> None:
        """Forget the victim."""
        if event.event_id != VICTIM:
            super().submit(event)


class LosesOneKeyAtNight(ReferenceArm):
    """One key is served online and missing in the table."""

    def table_rows(self, records: Sequence[SignalRecord]) -> list[SignalRecord]:
        """All but the rows of the first key."""
        return [record for record in records if record.image_signature != records[0].image_signature]


class DuplicatesOne(ReferenceArm):
    """One row of the table stands there twice."""

    def table_rows(self, records: Sequence[SignalRecord]) -> list[SignalRecord]:
        """All, and the first again."""
        return [*records, records[0]]


class ServesAStaleVector(ReferenceArm):
    """One image is answered with the vectors of another, as a cache with a wrong key would."""

    def compute(self, event: MediaEvent) -> list[SignalRecord]:
        """The victim's come from another signature."""
        if event.event_id != VICTIM:
            return super().compute(event)
        stale = super().compute(dataclasses.replace(event, image_signature=NOBODY))
        return [dataclasses.replace(record, image_signature=event.image_signature) for record in stale]


class ShowsHalfAPartition(ReferenceArm):
    """The partition is visible when half of its files are there; the rest follows."""

    def show(self, galaxy: str, day: int, folder: Path, rows: Sequence[SignalRecord]) -> None:
        """Half of the rows, the entry in the metastore, and once a client has read it the other half."""
        ordered = sorted(rows, key=lambda record: record.image_signature)
        half = len(ordered) // 2
        super().show(galaxy, day, folder, ordered[:half])
        deadline = time.monotonic() + READ_SECONDS
        while not self._was_read(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        write_rows(folder, "part-1.parquet", ordered[half:])

    def _was_read(self, folder: Path) -> bool:
        progress = BatchProgress.read(batch_progress_file(self._context.arm_dir))
        return any(location.endswith(str(folder)) for location in progress.partitions)


class AnnouncesBeforeTheWrite(ReferenceArm):
    """The availability event of one image is published before its signals can be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self._victim = b""
        self._withheld: list[tuple[bytes, bytes]] = []

    def compute(self, event: MediaEvent) -> list[SignalRecord]:
        """As ever; remembers the victim's signature."""
        if event.event_id == VICTIM:
            self._victim = event.image_signature.encode()
        return super().compute(event)

    def store(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep the victim's back."""
        early = [item for item in items if self._victim and item[0].endswith(self._victim)]
        self._withheld += early
        super().store([item for item in items if item not in early])

    def announce(self, outcomes: Sequence[Outcome]) -> None:
        """Announce, then write."""
        super().announce(outcomes)
        if any(outcome.event_id == VICTIM for outcome in outcomes):
            time.sleep(EARLY_SECONDS)
            super().store(self._withheld)


class DeadLettersOne(ReferenceArm):
    """One good image becomes a dead letter, in this arm only."""

    def compute(self, event: MediaEvent) -> list[SignalRecord]:
        """None for the victim."""
        return [] if event.event_id == VICTIM else super().compute(event)

    def outcome(self, event: MediaEvent, *, recomputed: bool) -> Outcome:
        """A dead letter for the victim."""
        if event.event_id != VICTIM:
            return super().outcome(event, recomputed=recomputed)
        letter = DeadLetter.of(
            event,
            path="stream",
            stage=str(Stage.FETCH),
            reason="planted",
            detail="planted by lkbench audit",
            attempts=1,
            input_hash=event.image_signature,
        )
        now_ns = time.time_ns()
        self.ledger.record(
            Stage.DEAD_LETTER,
            start_ns=now_ns,
            end_ns=now_ns,
            path="stream",
            day=event.day,
            event_id=event.event_id,
            image_signature=event.image_signature,
            galaxy=event.galaxy,
            pipeline=event.pipeline,
            outcome="dead_letter",
            detail=f"{letter.reason}: {letter.detail}",
        )
        return letter


class InventsOne(ReferenceArm):
    """The table holds the signals of an image that never arrived."""

    def table_rows(self, records: Sequence[SignalRecord]) -> list[SignalRecord]:
        """All, and those of nobody."""
        first = records[0].image_signature
        of_first = [record for record in records if record.image_signature == first]
        return [*records, *(dataclasses.replace(record, image_signature=NOBODY) for record in of_first)]


class BlocksTheGenerator(ReferenceArm):
    """Taking an arrival sometimes blocks, so that the load is not what the schedule says."""

    blocked_seconds = 0.3

    def submit(self, event: MediaEvent) -> None:
        """Block at the victim."""
        if event.event_id == VICTIM:
            time.sleep(self.blocked_seconds)
        super().submit(event)


class StampsBackwards(ReferenceArm):
    """One stage ends before it starts, as when a clock is set back."""

    def outcome(self, event: MediaEvent, *, recomputed: bool) -> Outcome:
        """As ever; the victim leaves a stage of negative length."""
        if event.event_id == VICTIM:
            now_ns = time.time_ns()
            self.ledger.record(
                Stage.STEP, start_ns=now_ns, end_ns=now_ns - 1, path="dump", detail="backwards"
            )
        return super().outcome(event, recomputed=recomputed)


class CannotKeepUp(SingleServerArm):
    """A server that needs twice the time that the audit's arrivals leave it."""

    service_seconds = 0.05


class Slowed(ReferenceArm):
    """One stage (by its name, of an image or of the night) takes longer, by a known mean.

    The delay varies around its mean, as real ones do: the interval of a constant one would be narrower
    than a sleep is exact.
    """

    def __init__(self, stage: str, mean_seconds: float, seed: int = 1) -> None:
        super().__init__()
        self._stage, self._mean_seconds = stage, mean_seconds
        self._random = np.random.default_rng(seed)

    def linger(self, stage: Stage | str, events: Sequence[MediaEvent]) -> None:  # noqa: ARG002
        """Sleep in the stage that is slowed."""
        if stage == self._stage:
            with self._changed:
                share = self._random.uniform(1 - JITTER, 1 + JITTER)
            time.sleep(self._mean_seconds * share)


class Stops(SingleServerArm):
    """Serves, stands still for a while, serves again."""

    def __init__(self, after_seconds: float, stopped_seconds: float) -> None:
        super().__init__()
        self._after_seconds, self._stopped_seconds = after_seconds, stopped_seconds
        self._numbers = itertools.count()
        self._stop = (0.0, 0.0)

    def linger(self, stage: Stage | str, events: Sequence[MediaEvent]) -> None:
        """Serve, but not during the stop, which is counted from the day's first instant."""
        if stage is Stage.INFERENCE:
            if next(self._numbers) == 0:
                offset_seconds = time.monotonic() - time.time_ns() / 1e9
                begin = events[0].scheduled_ns / 1e9 + offset_seconds + self._after_seconds
                self._stop = (begin, begin + self._stopped_seconds)
            begin, end = self._stop
            if begin <= max(self._free_at, time.monotonic()) < end:
                self._free_at = end
        super().linger(stage, events)
