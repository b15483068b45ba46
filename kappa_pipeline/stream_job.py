"""What the stream job does with the media events that it is handed together. Knows no stream engine.

Look the signals up; where one is missing, compute; store; publish. Each call to a server serves all of a
group. Arrivals share calls, never a verdict: an image at fault leaves its group as a dead letter, and where a
server is away every arrival of the group is given another attempt.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence

from kappa_pipeline.arrival import Arrival
from kappa_pipeline.kafka import Message, Publisher
from kappa_pipeline.nrtg import StreamPlan
from kappa_pipeline.stage_rows import PATH
from signals.architecture import AvailabilityEvent, DeadLetter, RunContext
from signals.attempts import ATTEMPTS_EXHAUSTED, WORKERS_DISAPPEARED, retry_seconds
from signals.compute import ComputeFailure, ComputeResult, ImageRef, LocalCompute, records_of
from signals.encodings import encode_thrift
from signals.errors import ServiceError
from signals.gss import GssClient
from signals.ledger import Ledger, Stage

log = logging.getLogger(__name__)


def _until_done(work: Callable[[], None], what: str, error_type: type[Exception] = Exception) -> None:
    """Do what may not be left out: tried again until it raises no ``error_type``."""
    for tries in itertools.count(1):
        try:
            return work()
        except error_type as error:
            log.warning("%s: %r", what, error)
            time.sleep(retry_seconds(tries))


class StreamJob:
    """Brings groups of arrivals to their ends. For one thread; several share ``compute`` and ``gss``.

    ``model_sha256`` is what the records say about the computation.
    """

    def __init__(
        self,
        context: RunContext,
        plan: StreamPlan,
        compute: LocalCompute,
        gss: GssClient,
        publisher: Publisher,
        ledger: Ledger,
        *,
        model_sha256: str,
    ) -> None:
        self._context, self._plan, self._local_compute = context, plan, compute
        self._gss, self._publisher, self._ledger = gss, publisher, ledger
        self._model_sha256 = model_sha256

    def run(self, group: Sequence[Arrival]) -> None:
        """Bring arrivals of distinct images to their ends: the signals are stored and announced, or it is a
        dead letter. The attempt of one that may be tried again has ``retry_seconds`` set. Never raises for
        their sake."""
        for arrival in group:
            if arrival.attempt.unreadable:
                failure = ComputeFailure("event", "unreadable_event", arrival.attempt.unreadable)
                self._dead_letter(arrival, failure)
            elif arrival.number > self._context.max_attempts:
                arrival.rows.until(Stage.QUEUE, time.time_ns())
                failure = ComputeFailure(str(Stage.FETCH), ATTEMPTS_EXHAUSTED, WORKERS_DISAPPEARED)
                self._dead_letter(arrival, failure)
        open_ = [arrival for arrival in group if not arrival.has_ended]
        for step in (self._look_up, self._compute, self._encode, self._store, self._announce):
            open_ = self._together(step, open_)

    def _together(self, step: Callable[[list[Arrival]], None], group: list[Arrival]) -> list[Arrival]:
        """Those that go on. Where ``step`` fails, all of the group fail."""
        try:
            if group:
                step(group)
        except Exception as error:  # servers that are down, and bugs: neither may stop the stream
            for arrival in group:
                if not arrival.has_ended:
                    self._fail(arrival, error)
        return [arrival for arrival in group if not arrival.has_ended]

    def _look_up(self, group: list[Arrival]) -> None:
        taken_ns = time.time_ns()
        operators = [self._plan.compute(arrival.event.galaxy) for arrival in group]
        keys = [o.keys(a.event.image_signature) for o, a in zip(operators, group, strict=True)]
        for arrival, operator, present in zip(group, operators, self._gss.contains_each(keys), strict=True):
            arrival.missing = [s for s, has in zip(operator.signals, present, strict=True) if not has]
            if not arrival.missing:
                arrival.rows.until(Stage.QUEUE, taken_ns)
                arrival.rows.until(Stage.WRITE, time.time_ns(), outcome="skipped")
                arrival.stage = Stage.PUBLISH

    def _compute(self, group: list[Arrival]) -> None:
        computed = [arrival for arrival in group if arrival.missing]
        for arrival in computed:
            arrival.stage = Stage.FETCH
        for start in range(0, len(computed), self._context.max_batch):
            self._compute_batch(computed[start : start + self._context.max_batch])

    def _compute_batch(self, batch: list[Arrival]) -> None:
        images = [ImageRef(a.event.object_key, a.event.pipeline, a.event.galaxy) for a in batch]
        try:
            results = self._local_compute.compute(images)
        except Exception:
            if len(batch) == 1:
                raise
            for arrival in batch:  # whichever is at fault fails alone
                self._together(self._compute_batch, [arrival])
            return
        for arrival, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self._fail(arrival, result)
            else:
                self._computed(arrival, result)

    def _computed(self, arrival: Arrival, result: ComputeResult) -> None:
        arrival.input_hash = result.input_hash
        failed_stage = result.failure.stage if result.failure else ""
        arrival.rows.computed(result.times, result.batch_size, failed_stage)
        arrival.stage = Stage.ENCODE
        if result.failure is not None:
            self._dead_letter(arrival, result.failure)
        else:
            # What is stored already stays: the first computation decides the day that a signal belongs to.
            arrival.values = {s: v for s, v in (result.values or {}).items() if s in arrival.missing}

    def _encode(self, group: list[Arrival]) -> None:
        for arrival in group:
            records = records_of(
                arrival.values,
                image_signature=arrival.event.image_signature,
                galaxy=arrival.event.galaxy,
                pipeline=arrival.event.pipeline,
                day=arrival.event.day,
                model_sha256=self._model_sha256,
            )
            arrival.items = [(record.key, encode_thrift(record)) for record in records]
        self._until(Stage.ENCODE, group, next_stage=Stage.WRITE)

    def _store(self, group: list[Arrival]) -> None:
        if items := [item for arrival in group for item in arrival.items]:
            self._gss.put(items)
        self._until(Stage.WRITE, group, next_stage=Stage.PUBLISH)

    def _announce(self, group: list[Arrival]) -> None:
        now_ns = time.time_ns()
        messages = [
            Message(
                self._context.availability_topic,
                AvailabilityEvent.of(a.event, published_ns=now_ns, recomputed=bool(a.missing)).to_bytes(),
                a.event.image_signature.encode(),
            )
            for a in group
        ]
        # All but that is done: while Kafka is away no attempt fails, and there is nothing to read either.
        _until_done(lambda: self._publisher.publish(messages), "signals can't be announced", ServiceError)
        published_ns = time.time_ns()
        for arrival in group:
            outcome = "ok" if arrival.missing else "skipped"
            arrival.rows.until(Stage.PUBLISH, published_ns, outcome=outcome)
            arrival.has_ended = True

    def _until(self, stage: Stage, group: list[Arrival], *, next_stage: Stage) -> None:
        """``stage`` of those that were computed has ended just now."""
        now_ns = time.time_ns()
        for arrival in group:
            if arrival.missing:
                arrival.rows.until(stage, now_ns)
                arrival.stage = next_stage

    def _fail(self, arrival: Arrival, error: Exception) -> None:
        """Another attempt, or a dead letter after the last."""
        log.warning("event %d, attempt %d: %r", arrival.event.event_id, arrival.number, error)
        arrival.has_ended = True
        last = arrival.number >= self._context.max_attempts
        detail = f"{type(error).__name__}: {error}"
        outcome = "error" if last else "retry"
        arrival.rows.until(arrival.stage, time.time_ns(), outcome=outcome, detail=detail)
        if last:
            self._dead_letter(arrival, ComputeFailure(str(arrival.stage), ATTEMPTS_EXHAUSTED, detail))
        else:
            arrival.attempt.retry_seconds = retry_seconds(arrival.number)

    def _dead_letter(self, arrival: Arrival, failure: ComputeFailure) -> None:
        arrival.has_ended = True
        event = arrival.event
        letter = DeadLetter.of(
            event,
            path=PATH,
            stage=failure.stage,
            reason=failure.reason,
            detail=failure.detail,
            attempts=arrival.number,
            input_hash=arrival.input_hash,
        )
        key = event.image_signature.encode()
        message = Message(self._context.dead_letter_topic, letter.to_bytes(), key)
        _until_done(lambda: self._publisher.publish([message]), "a dead letter can't be published")
        detail = f"{failure.reason}: {failure.detail}"
        arrival.rows.until(Stage.DEAD_LETTER, time.time_ns(), outcome="dead_letter", detail=detail)
        # Once the offset is committed, nobody would write the dead letter's row again.
        _until_done(self._ledger.flush, "the ledger can't be written", OSError)
