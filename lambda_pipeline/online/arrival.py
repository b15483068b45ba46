"""One image in the hands of an online worker, and the ends that it may come to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lambda_pipeline.child import log
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from lambda_pipeline.trail import Trail
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent
from signals.attempts import ATTEMPTS_EXHAUSTED, retry_seconds
from signals.declaration import for_galaxy
from signals.errors import ImageError
from signals.image import RgbImage
from signals.inference import SignalValues
from signals.ledger import Ledger, Stage
from signals.record import record_key

# Of a job's progress, while nobody could be told: why its image is given up, or that its signals are stored.
VERDICT, STORED = "verdict", "stored"
_NO_TENSOR = np.empty((0, 0, 3), np.uint8)


@dataclass(slots=True)
class Arrival:
    """One claimed job, and how far its image is. ``stage``: where it would fail, should it fail now."""

    job: Job
    event: MediaEvent
    trail: Trail
    stage: Stage = Stage.QUEUE
    has_ended: bool = False  # acked, given back or buried, or its claim is left to run out
    input_hash: str = ""
    tensor: RgbImage = field(default_factory=lambda: _NO_TENSOR)
    values: SignalValues = field(default_factory=dict)
    encoded: list[tuple[bytes, bytes]] = field(default_factory=list)  # keys and records

    @classmethod
    def of(cls, job: Job, ledger: Ledger) -> Arrival:
        """Of a job just taken. Raises TypeError for a payload that is no media event."""
        event = MediaEvent(**job.payload)
        trail = Trail(
            ledger,
            path="online",
            start_ns=event.scheduled_ns,
            day=event.day,
            event_id=event.event_id,
            image_signature=event.image_signature,
            galaxy=event.galaxy,
            pipeline=event.pipeline,
            attempt=job.attempt,
        )
        return cls(job, event, trail)

    def taken(self, at_ns: int | None = None) -> None:
        """Its time in the queue is over: since ``at_ns`` (Unix ns, default: now) it is worked on."""
        self.trail.stage(Stage.QUEUE, at_ns)
        self.stage = Stage.FETCH

    @property
    def image(self) -> tuple[str, str]:
        """What is computed once: arrivals of the same image have the same keys."""
        return self.event.galaxy, self.event.image_signature

    @property
    def was_stored(self) -> bool:
        """Whether an attempt before has stored its signals, and could tell nobody."""
        return bool(self.job.progress.get(STORED))

    @property
    def keys(self) -> list[bytes]:
        """Where the image's signals are stored."""
        galaxy, signature = self.image
        return [record_key(galaxy, s.name, s.version, signature) for s in for_galaxy(galaxy)]


@dataclass(frozen=True, slots=True)
class Ends:
    """How jobs end. None of these raises: a job that could not be brought to its end is delivered again."""

    pinlater: PinLater
    publisher: Publisher
    max_attempts: int

    def announce(self, arrivals: Sequence[Arrival], *, recomputed: bool) -> None:
        """The signals are stored: tell everyone, then forget the jobs."""
        now_ns = time.time_ns()
        events = [AvailabilityEvent.of(a.event, published_ns=now_ns, recomputed=recomputed) for a in arrivals]
        refusals: Sequence[Exception | None]
        try:
            refusals = self.publisher.available(events)
        except Exception as error:
            refusals = [error] * len(arrivals)
        published_ns = time.time_ns()
        told: list[Job] = []
        for arrival, refusal in zip(arrivals, refusals, strict=True):
            arrival.stage = Stage.PUBLISH
            if refusal is None:
                arrival.has_ended = True
                arrival.trail.stage(Stage.PUBLISH, published_ns, outcome="ok" if recomputed else "skipped")
                told.append(arrival.job)
            else:
                self._announce_later(arrival, refusal)
        try:
            self.pinlater.ack(told)
        except Exception as problem:
            log(f"{len(told)} jobs are done, but could not be acked; their claims will run out: {problem}")

    def fail(self, arrival: Arrival, error: Exception) -> None:
        """A dead letter where the image is at fault or was tried often enough; another attempt otherwise."""
        arrival.has_ended = True
        if arrival.stage is Stage.QUEUE:
            arrival.taken()
        if isinstance(error, ImageError):
            self._bury(arrival, error)
            return
        job, text = arrival.job, f"{type(error).__name__}: {error}"
        log(f"{arrival.event.image_signature}, attempt {job.attempt}, {arrival.stage}: {text}")
        if job.attempt >= self.max_attempts:
            self._bury(arrival, ImageError(ATTEMPTS_EXHAUSTED, text))
            return
        arrival.trail.stage(arrival.stage, outcome="retry", detail=text)
        self._come_again(arrival)

    def end_as_before(self, arrival: Arrival) -> bool:
        """Whether an attempt before has found why the image is given up, and could tell nobody: it is told
        now, whatever the number of this attempt."""
        if (verdict := arrival.job.progress.get(VERDICT)) is None:
            return False
        arrival.has_ended = True
        arrival.taken()
        arrival.stage, arrival.input_hash = Stage(verdict["stage"]), verdict["input_hash"]
        self._bury(arrival, ImageError(verdict["reason"], verdict["detail"]))
        return True

    def _announce_later(self, arrival: Arrival, refusal: Exception) -> None:
        """All but that is done, so it is no failed attempt, and however often no dead letter."""
        arrival.has_ended = True
        log(f"{arrival.event.image_signature} is stored, but could not be announced: {refusal}")
        arrival.trail.stage(Stage.PUBLISH, outcome="retry", detail=f"{type(refusal).__name__}: {refusal}")
        self._come_again(arrival, {STORED: True})

    def _come_again(self, arrival: Arrival, progress: dict[str, Any] | None = None) -> None:
        """The job is delivered after a pause; ``progress``: what came of it, while nobody could be told."""
        try:
            self.pinlater.fail(arrival.job, retry_seconds(arrival.job.attempt), progress)
        except Exception as problem:
            log(f"{arrival.event.image_signature}: its claim will run out, it was not given back: {problem}")

    def _bury(self, arrival: Arrival, error: ImageError) -> None:
        event = arrival.event
        letter = DeadLetter.of(
            event,
            path="online",
            stage=str(arrival.stage),
            reason=error.reason,
            detail=error.detail,
            attempts=arrival.job.attempt,
            input_hash=arrival.input_hash,
        )
        try:
            self.publisher.dead_letters([letter])
            arrival.trail.dead_letter(str(error))
            self.pinlater.dead_letter(arrival.job, error.reason, letter.to_bytes().decode())
        except Exception as problem:
            log(f"{event.image_signature}: its dead letter could not be delivered: {problem}")
            verdict = {key: getattr(letter, key) for key in ("stage", "reason", "detail", "input_hash")}
            self._come_again(arrival, {VERDICT: verdict})
