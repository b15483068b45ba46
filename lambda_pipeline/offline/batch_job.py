"""One nightly PinLater job from its claim to its end: compute, outputs to S3, dead letters, ack.

An image at fault is dead-lettered and the batch goes on; a fault of the infrastructure fails the whole job,
which is then repeated as a whole, image by image: what is at fault for good takes no other with it.

The order is what makes it safe to be killed anywhere: verdicts are kept, then the output is written, then the
dead letters are told, then the job is acked. What is repeated overwrites the same object and says the same.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_pipeline.child import log
from lambda_pipeline.offline.job_attempt import ClaimLost, JobAttempt
from lambda_pipeline.offline.job_output import Tally, encode_output, output_key
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from lambda_pipeline.trail import Trail
from signals.architecture import DeadLetter, RunContext
from signals.attempts import ATTEMPTS_EXHAUSTED, retry_seconds
from signals.compute import ComputeFailure, ComputeResult, ImageRef, LocalCompute, StageTimes, records_of
from signals.errors import ServiceError
from signals.ledger import Ledger, Stage
from signals.object_store import ObjectStore
from signals.process import StopSignal
from signals.record import SignalRecord

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
        attempt = JobAttempt.of(job, self.pinlater, self.context)
        try:
            if (results := self._computed(attempt)) is not None:
                self._deliver(attempt, results)
            else:
                attempt.give_back(0.0)
        except ClaimLost as lost:
            log(f"job {job.job_id}, attempt {job.attempt}: {lost}")
        except Exception as error:  # infrastructure, or an unforeseen fault: both may pass
            self._give_back(attempt, _text(error))

    def _computed(self, attempt: JobAttempt) -> list[ComputeResult] | None:
        """In batches of the device's, one by one where the job was delivered before; None when ``stop`` was
        set meanwhile."""
        job = attempt.job
        images = [ImageRef(i["object_key"], i["pipeline"], i["galaxy"]) for i in job.payload["images"]]
        alone = job.attempt > 1 or attempt.is_last
        size = 1 if alone else self.context.max_batch
        results: list[ComputeResult] = []
        for place in range(0, len(images), size):
            if self.stop.is_set():
                return None
            if alone:
                results.append(self._computed_alone(attempt, place, images[place]))
                continue
            attempt.prolong()
            for result in self.compute.compute(images[place : place + size]):
                if isinstance(result, Exception):
                    raise result
                results.append(result)
        if alone:
            # No image is at fault for what comes now; and a verdict is kept before anyone hears of it.
            attempt.reach(len(images))
        return results

    def _computed_alone(self, attempt: JobAttempt, place: int, image: ImageRef) -> ComputeResult:
        """Raises what may pass, until that has happened often enough: then the image is given up."""
        if place not in attempt.given_up:
            attempt.reach(place)
            stage = Stage.FETCH  # where what is returned has happened
            try:
                (result,) = self.compute.compute([image])
            except Exception as error:
                result, stage = error, Stage.INFERENCE
            if not isinstance(result, Exception):
                return result
            if not attempt.is_last:
                raise result
            attempt.give_up([place], stage, _text(result))
        now_ns = time.time_ns()
        return ComputeResult(None, attempt.given_up[place], "", StageTimes(now_ns, now_ns))

    def _deliver(self, attempt: JobAttempt, results: Sequence[ComputeResult]) -> None:
        job, attempt.stage = attempt.job, Stage.WRITE
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
        attempt.prolong()
        self.store.put(output_key(job.payload["object_prefix"], images), encoded)
        write_end_ns = time.time_ns()
        # The outputs are there: what is left to say must not cost the job another attempt.
        attempt.stage = Stage.PUBLISH
        self._until_done(attempt, lambda: self.publisher.dead_letters(letters))
        for image, result in zip(images, results, strict=True):
            self._record_stages(job, image, result, encode_start_ns, encode_end_ns, write_end_ns)
        self._until_done(attempt, lambda: self._end(attempt))

    def _end(self, attempt: JobAttempt) -> None:
        if len(attempt.given_up) < len(attempt.places):
            self.pinlater.ack([attempt.job])
        else:  # kept for inspection
            self.pinlater.dead_letter(attempt.job, ATTEMPTS_EXHAUSTED, attempt.given_up[0].detail)

    def _until_done(self, attempt: JobAttempt, work: Callable[[], None]) -> None:
        """Do it, again until no server is away. Raises ClaimLost, and ServiceError when ``stop`` is set."""
        for tries in itertools.count(1):
            with contextlib.suppress(ServiceError):
                attempt.prolong()
            try:
                return work()
            except ServiceError as error:
                if self.stop.is_set():
                    raise
                log(f"job {attempt.job.job_id}: {error}")
                self.stop.wait(retry_seconds(tries))

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

    def _give_back(self, attempt: JobAttempt, text: str) -> None:
        job, stage = attempt.job, attempt.stage
        log(f"job {job.job_id}, attempt {job.attempt}: {text}")
        if attempt.is_last and stage is not Stage.PUBLISH and not self.stop.is_set():
            attempt.give_up(attempt.places, stage, text)  # whoever has the job next tells it
        try:
            now_ns = time.time_ns()
            for image in job.payload["images"]:
                self._trail(job, image, now_ns).stage(stage, now_ns, outcome="retry", detail=text)
            attempt.give_back(retry_seconds(job.attempt))
        except Exception as problem:
            log(f"job {job.job_id} could not be given back, its claim will run out: {problem}")

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
            failure = result.failure
            detail = f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason
            trail.dead_letter(detail, write_end_ns)
            return
        trail.stage(Stage.JOB_WAIT, encode_start_ns)
        trail.stage(Stage.ENCODE, encode_end_ns)
        trail.stage(Stage.WRITE, write_end_ns)

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


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
