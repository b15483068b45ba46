"""What the stream job does with one media event. Knows no stream engine.

Look the signals up; where one is missing, compute; store; publish; on failure retry, then dead-letter.
:meth:`StreamJob.process` ends normally for every event, because an engine that sees an exception either
stops or, worse, takes the message for done.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from kappa_pipeline.kafka import Message
from kappa_pipeline.nrtg import StreamPlan
from kappa_pipeline.sink import Sink, Write, WriteTimes
from kappa_pipeline.stage_rows import PATH, StageRows
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent, RunContext
from signals.compute import ComputeFailure, LocalCompute, records_of
from signals.declaration import SignalDeclaration
from signals.encodings import encode_thrift
from signals.inference import SignalValues
from signals.ledger import Ledger, Stage
from signals.record import SignalRecord

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 8.0
ATTEMPTS_EXHAUSTED = "attempts_exhausted"
# A write may wait for others for this part of the time that its image has been under way already: hardly a
# millisecond when the stream keeps up, and long enough for a group of eight when there is a backlog.
PATIENCE = 0.05
LONGEST_PATIENCE_SECONDS = 0.05

log = logging.getLogger(__name__)


def retry_seconds(attempt: int) -> float:
    """How long to wait after failed attempt number ``attempt`` (from 1)."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(attempt - 1, 10), LONGEST_RETRY_SECONDS)


@dataclass(slots=True)
class _Attempt:
    """How far an attempt is: should it fail, it failed in ``stage``."""

    number: int
    rows: StageRows
    stage: Stage = Stage.QUEUE
    input_hash: str = ""


class StreamJob:
    """Processes media events, any number at a time, on one asyncio loop.

    ``device`` and ``model_sha256`` are what the ledger and the records say about the computation.
    """

    def __init__(
        self,
        context: RunContext,
        plan: StreamPlan,
        compute: LocalCompute,
        sink: Sink,
        ledger: Ledger,
        *,
        device: str,
        model_sha256: str,
    ) -> None:
        self._context, self._plan, self._local_compute, self._sink = context, plan, compute, sink
        self._ledger, self._device, self._model_sha256 = ledger, device, model_sha256
        self._in_work: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def process(self, event: MediaEvent, first_attempt: int = 1) -> None:
        """Bring one arrival to its end: its signals are stored and announced, or it is a dead letter.

        ``first_attempt`` is above 1 where workers have died, or lost the partition, with the event in work.
        Raises nothing but CancelledError.
        """
        attempt = self._new_attempt(event, first_attempt, event.scheduled_ns)
        if first_attempt > self._context.max_attempts:
            attempt.rows.until(Stage.QUEUE, time.time_ns())
            failure = ComputeFailure(str(Stage.FETCH), ATTEMPTS_EXHAUSTED, "its workers disappeared")
            return await self._dead_letter(event, attempt, failure)
        while True:
            try:
                return await self._attempt(event, attempt)
            except Exception as error:  # servers that are down, and bugs: neither may stop the stream
                log.warning("event %d, attempt %d: %r", event.event_id, attempt.number, error)
                last = attempt.number >= self._context.max_attempts
                detail = f"{type(error).__name__}: {error}"
                outcome = "error" if last else "retry"
                attempt.rows.until(attempt.stage, time.time_ns(), outcome=outcome, detail=detail)
                if last:
                    failure = ComputeFailure(str(attempt.stage), ATTEMPTS_EXHAUSTED, detail)
                    return await self._dead_letter(event, attempt, failure)
                await asyncio.sleep(retry_seconds(attempt.number))
                attempt = self._new_attempt(event, attempt.number + 1, attempt.rows.end_ns)

    async def reject(self, key: bytes, detail: str) -> None:
        """Dead-letter a message that is no media event of this catalog. ``key``: the message's key."""
        event = MediaEvent(-1, key.decode("ascii", errors="replace"), "", "", -1, time.time_ns(), "")
        attempt = self._new_attempt(event, 1, event.scheduled_ns)
        await self._dead_letter(event, attempt, ComputeFailure("event", "unreadable_event", detail))

    async def publish(self, message: Message, patience_seconds: float = 0.0) -> WriteTimes:
        """Publish a message that may not be lost: tried again until the broker has it.

        ``patience_seconds``: how long it may wait for others to be published with it.
        """
        for tries in itertools.count(1):
            try:
                return await self._sink.write(Write([], lambda _ns: message), patience_seconds)
            except Exception as error:
                log.warning("a message for %s: %r", message.topic, error)
                await asyncio.sleep(retry_seconds(tries))
        raise AssertionError("unreachable")

    def _new_attempt(self, event: MediaEvent, number: int, start_ns: int) -> _Attempt:
        return _Attempt(number, StageRows(self._ledger, event, number, self._device, start_ns))

    async def _attempt(self, event: MediaEvent, attempt: _Attempt) -> None:
        # Two arrivals of one image at a time: the second waits and then finds the first one's signals.
        image = (event.galaxy, event.image_signature)
        while (other := self._in_work.get(image)) is not None:
            await asyncio.wait([other])
        mine = self._in_work[image] = asyncio.get_running_loop().create_future()
        try:
            operator = self._plan.compute(event.galaxy)
            taken_ns = time.time_ns()
            present = await self._sink.contains(operator.keys(event.image_signature))
            missing = [s for s, has in zip(operator.signals, present, strict=True) if not has]
            if missing:
                await self._compute(event, attempt, missing)
            else:
                await self._announce_present(event, attempt, taken_ns)
        finally:
            del self._in_work[image]
            mine.set_result(None)

    async def _announce_present(self, event: MediaEvent, attempt: _Attempt, taken_ns: int) -> None:
        attempt.rows.until(Stage.QUEUE, taken_ns)
        attempt.rows.until(Stage.WRITE, time.time_ns(), outcome="skipped")
        attempt.stage = Stage.PUBLISH
        times = await self._write(event, [], recomputed=False)
        attempt.rows.until(Stage.PUBLISH, times.published_ns, outcome="skipped")

    async def _compute(
        self, event: MediaEvent, attempt: _Attempt, missing: Sequence[SignalDeclaration]
    ) -> None:
        attempt.stage = Stage.FETCH
        future = self._local_compute.submit(event.object_key, event.pipeline, event.galaxy)
        result = await asyncio.wrap_future(future)
        attempt.input_hash = result.input_hash
        failed_stage = result.failure.stage if result.failure else ""
        attempt.rows.computed(result.times, result.batch_size, failed_stage)
        attempt.stage = Stage.WRITE
        if result.failure is not None:
            return await self._dead_letter(event, attempt, result.failure)
        records = self._records(event, result.values or {}, missing)
        items = [(record.key, encode_thrift(record)) for record in records]
        attempt.rows.until(Stage.ENCODE, time.time_ns())
        times = await self._write(event, items, recomputed=True)
        attempt.rows.until(Stage.WRITE, times.stored_ns)
        attempt.rows.until(Stage.PUBLISH, times.published_ns)

    def _records(
        self, event: MediaEvent, values: SignalValues, missing: Sequence[SignalDeclaration]
    ) -> list[SignalRecord]:
        # What is stored already stays: the first computation decides the day that a signal belongs to.
        return records_of(
            {signal: value for signal, value in values.items() if signal in missing},
            image_signature=event.image_signature,
            galaxy=event.galaxy,
            pipeline=event.pipeline,
            day=event.day,
            model_sha256=self._model_sha256,
        )

    async def _write(
        self, event: MediaEvent, items: Sequence[tuple[bytes, bytes]], *, recomputed: bool
    ) -> WriteTimes:
        def announcement(published_ns: int) -> Message:
            available = AvailabilityEvent.of(event, published_ns=published_ns, recomputed=recomputed)
            key = event.image_signature.encode()
            return Message(self._context.availability_topic, available.to_bytes(), key)

        return await self._sink.write(Write(items, announcement), self._patience_seconds(event))

    def _patience_seconds(self, event: MediaEvent) -> float:
        if len(self._in_work) == 1:  # nothing that could join
            return 0.0
        under_way_seconds = (time.time_ns() - event.scheduled_ns) / 1e9
        return min(max(0.0, PATIENCE * under_way_seconds), LONGEST_PATIENCE_SECONDS)

    async def _dead_letter(self, event: MediaEvent, attempt: _Attempt, failure: ComputeFailure) -> None:
        letter = DeadLetter.of(
            event,
            path=PATH,
            stage=failure.stage,
            reason=failure.reason,
            detail=failure.detail,
            attempts=attempt.number,
            input_hash=attempt.input_hash,
        )
        key = event.image_signature.encode()
        times = await self.publish(Message(self._context.dead_letter_topic, letter.to_bytes(), key))
        detail = f"{failure.reason}: {failure.detail}"
        attempt.rows.until(Stage.DEAD_LETTER, times.published_ns, outcome="dead_letter", detail=detail)
        await self._flush_ledger()

    async def _flush_ledger(self) -> None:
        # Once the offset is committed, nobody would write the dead letter's row again.
        for tries in itertools.count(1):
            try:
                return self._ledger.flush()
            except OSError as error:
                log.warning("the ledger can't be written: %r", error)
                await asyncio.sleep(retry_seconds(tries))
