"""One nightly PinLater job from its claim to its end: compute, outputs to S3, dead letters, ack.

An image at fault is dead-lettered and the batch goes on; a fault of the infrastructure fails the whole job,
which is then repeated as a whole, image by image: what is at fault for good takes no other with it.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_pipeline.child import log
from lambda_pipeline.offline.job_output import Tally, encode_output, output_key
from lambda_pipeline.patience import patience_seconds
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from lambda_pipeline.trail import Trail
from signals.architecture import DeadLetter, RunContext
from signals.attempts import ATTEMPTS_EXHAUSTED, WORKERS_DISAPPEARED, retry_seconds
from signals.compute import ComputeFailure, ComputeResult, ImageRef, LocalCompute, StageTimes, records_of
from signals.errors import ServiceError
from signals.ledger import Ledger, Stage
from signals.object_store import ObjectStore
from signals.process import StopSignal
from signals.record import SignalRecord

# Of a job's progress: the image that is computed now, and those that were given up, by their places in it.
AT, GIVEN_UP = "image_at", "images_given_up"

Image = dict[str, str]


@dataclass(frozen=True, slots=True)
class BatchJobs:
    """Does jobs, one at a time; for one thread."""

    context: RunContext
    model_sha256: str
    compute: LocalCompute
    store: ObjectStore
    pinlater: PinLater
    publisher: Publisher
    ledger: Ledger
    stop: StopSignal

    def run(self, jobs: Sequence[Job]) -> None:
        """Compute, write, announce and ack jobs that were just claimed; one that is not computed yet when
        ``stop`` is set is given back. Never raises for a job's sake."""
        for job in jobs:
            self._run(job)

    def _run(self, job: Job) -> None:
        stage = Stage.FETCH  # where it would fail, should it fail now
        try:
            if job.attempt > self.context.max_attempts and not job.progress:
                self._give_up(job, stage, WORKERS_DISAPPEARED)  # so early that nobody knows at which image
            elif (results := self._computed(job)) is not None:
                stage = Stage.WRITE
                self._deliver(job, results)
            else:
                self.pinlater.fail(job, 0.0)
        except Exception as error:  # infrastructure, or an unforeseen fault: both may pass
            self._give_back(job, stage, f"{type(error).__name__}: {error}")

    def _computed(self, job: Job) -> list[ComputeResult] | None:
        """In batches of the device's, one by one where the job was delivered before; None when ``stop`` was
        set meanwhile."""
        images = [ImageRef(i["object_key"], i["pipeline"], i["galaxy"]) for i in job.payload["images"]]
        again = job.attempt > 1
        given_up: list[int] = job.progress.get(GIVEN_UP, [])
        if job.attempt > self.context.max_attempts and AT in job.progress:
            # Every attempt so far ended without a word: the image it was at may be what kills the workers.
            given_up = [*given_up, job.progress[AT]]
        claimed_at = time.monotonic()
        results: list[ComputeResult] = []
        size = 1 if again else self.context.max_batch
        for start in range(0, len(images), size):
            if self.stop.is_set():
                self.pinlater.checkpoint(job, self.context.claim_seconds, {GIVEN_UP: given_up})  # at none
                return None
            if start in given_up:
                results.append(_exhausted(Stage.FETCH, WORKERS_DISAPPEARED))
                continue
            is_due = time.monotonic() - claimed_at > patience_seconds(self.context.claim_seconds)
            if again or is_due:
                claimed_at = time.monotonic()
                progress = {AT: start, GIVEN_UP: given_up}
                if not self.pinlater.checkpoint(job, self.context.claim_seconds, progress):
                    log(f"job {job.job_id} was delivered to another worker as well")
            batch, stage = images[start : start + size], Stage.FETCH
            computed: list[ComputeResult | Exception]
            try:
                computed = self.compute.compute(batch)
            except Exception as error:
                if len(batch) > 1:
                    raise  # whichever is at fault fails alone next time
                computed, stage = [error], Stage.INFERENCE
            for result in computed:
                if not isinstance(result, Exception):
                    results.append(result)
                elif job.attempt < self.context.max_attempts:
                    raise result
                else:
                    results.append(_exhausted(stage, f"{type(result).__name__}: {result}"))
        return results

    def _deliver(self, job: Job, results: Sequence[ComputeResult]) -> None:
        images: list[Image] = job.payload["images"]
        encode_start_ns = time.time_ns()
        records: list[SignalRecord] = []
        letters: list[DeadLetter] = []
        for image, result in zip(images, results, strict=True):
            if result.failure is None:
                records += self._records(job, image, result)
            else:
                letters.append(self._letter(job, image, result.failure, result.input_hash))
        encoded = encode_output(records, Tally(len(images) - len(letters), len(letters)))
        encode_end_ns = time.time_ns()
        self._write(job, encoded)
        write_end_ns = time.time_ns()
        # The outputs are there: what is left to say must not cost the job another attempt.
        self._until_done(job, lambda: self.publisher.dead_letters(letters))
        for image, result in zip(images, results, strict=True):
            self._record_stages(job, image, result, encode_start_ns, encode_end_ns, write_end_ns)
        self._until_done(job, lambda: self.pinlater.ack([job]))

    def _until_done(self, job: Job, work: Callable[[], None]) -> None:
        """Do it, again until no server is away. Raises ServiceError when ``stop`` is set meanwhile."""
        for tries in itertools.count(1):
            try:
                return work()
            except ServiceError as error:
                if self.stop.is_set():
                    raise
                log(f"job {job.job_id}: {error}")
                self.stop.wait(retry_seconds(tries))
            with contextlib.suppress(ServiceError):
                self.pinlater.checkpoint(job, self.context.claim_seconds)

    def _write(self, job: Job, output: bytes) -> None:
        self.store.put(output_key(job.payload["object_prefix"], job.payload["images"]), output)

    def _records(self, job: Job, image: Image, result: ComputeResult) -> list[SignalRecord]:
        return records_of(
            result.values or {},
            image_signature=image["image_signature"],
            galaxy=image["galaxy"],
            pipeline=image["pipeline"],
            day=job.payload["day"],
            model_sha256=self.model_sha256,
        )

    def _letter(self, job: Job, image: Image, failure: ComputeFailure, input_hash: str) -> DeadLetter:
        return DeadLetter(
            event_id=-1,
            image_signature=image["image_signature"],
            galaxy=image["galaxy"],
            day=job.payload["day"],
            path="nightly",
            stage=failure.stage,
            reason=failure.reason,
            detail=failure.detail,
            attempts=job.attempt,
            input_hash=input_hash,
        )

    def _give_back(self, job: Job, stage: Stage, text: str) -> None:
        log(f"job {job.job_id}, attempt {job.attempt}: {text}")
        try:
            if job.attempt >= self.context.max_attempts and not self.stop.is_set():
                self._give_up(job, stage, text)
            else:
                now_ns = time.time_ns()
                for image in job.payload["images"]:
                    trail = self._trail(job, image, now_ns)
                    trail.stage(stage, now_ns, outcome="retry", detail=text)
                self.pinlater.fail(job, retry_seconds(job.attempt))
        except Exception as problem:
            log(f"job {job.job_id} could not be given back, its claim will run out: {problem}")

    def _give_up(self, job: Job, stage: Stage, text: str) -> None:
        images: list[Image] = job.payload["images"]
        failure = ComputeFailure(str(stage), ATTEMPTS_EXHAUSTED, text)
        letters = [self._letter(job, image, failure, "") for image in images]
        self._write(job, encode_output([], Tally(0, len(letters))))
        self.publisher.dead_letters(letters)
        now_ns = time.time_ns()
        for image in images:
            self._bury(self._trail(job, image, now_ns), failure, now_ns)
        self.pinlater.dead_letter(job, ATTEMPTS_EXHAUSTED, text)

    def _record_stages(
        self,
        job: Job,
        image: Image,
        result: ComputeResult,
        encode_start_ns: int,
        encode_end_ns: int,
        write_end_ns: int,
    ) -> None:
        times, batch_size = result.times, result.batch_size
        trail = self._trail(job, image, job.enqueued_ns)
        trail.stage(Stage.QUEUE, times.fetch_start_ns)
        for stage, end_ns in times.ends():
            booked: dict[str, Any] = {"device": self.compute.device} if stage == Stage.INFERENCE else {}
            trail.stage(stage, end_ns, batch_size=batch_size, **booked)
        if result.failure is not None:
            self._bury(trail, result.failure, write_end_ns)
            return
        trail.stage(Stage.JOB_WAIT, encode_start_ns)
        trail.stage(Stage.ENCODE, encode_end_ns)
        trail.stage(Stage.WRITE, write_end_ns)

    def _bury(self, trail: Trail, failure: ComputeFailure, end_ns: int) -> None:
        detail = f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason
        trail.dead_letter(detail, end_ns)

    def _trail(self, job: Job, image: Image, start_ns: int) -> Trail:
        return Trail(
            self.ledger,
            path="nightly",
            start_ns=start_ns,
            day=job.payload["day"],
            image_signature=image["image_signature"],
            galaxy=image["galaxy"],
            pipeline=image["pipeline"],
            attempt=job.attempt,
        )


def _exhausted(stage: Stage, text: str) -> ComputeResult:
    """Of an image that was tried often enough. ``stage``: the first that it may have failed in."""
    now_ns = time.time_ns()
    failure = ComputeFailure(str(stage), ATTEMPTS_EXHAUSTED, text)
    return ComputeResult(None, failure, "", StageTimes(now_ns, now_ns))
