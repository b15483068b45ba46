"""The life of one online PinLater job: one image, from the queue to the announcement of its signals.

The order is what makes it safe to be killed anywhere: write, then announce, then ack. Whatever is repeated
writes the same keys again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import orjson

from lambda_pipeline.child import log
from lambda_pipeline.online.external_service import POOL
from lambda_pipeline.online.inference_client import InferenceClient
from lambda_pipeline.pinlater import Job, PinLater
from lambda_pipeline.publisher import Publisher
from lambda_pipeline.trail import Trail
from signals.architecture import AvailabilityEvent, DeadLetter, MediaEvent, RunContext
from signals.catalog import Catalog
from signals.compute import load_image, records_of
from signals.declaration import for_galaxy
from signals.device_session import book_batch
from signals.encodings import encode_thrift
from signals.errors import ImageError
from signals.gss import GssClient
from signals.image import image_signature
from signals.ledger import Ledger, Stage
from signals.model import ModelManifest
from signals.object_store import ObjectStore
from signals.record import record_key

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 8.0
ATTEMPTS_EXHAUSTED = "attempts_exhausted"


def retry_delay_seconds(attempt: int) -> float:
    """How long a job rests after its failed attempt number ``attempt`` (from 1)."""
    return float(min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (attempt - 1)))


@dataclass(frozen=True, slots=True)
class Clients:
    """What jobs talk to. All are thread-safe and shared by the jobs of a process."""

    pinlater: PinLater
    gss: GssClient
    store: ObjectStore
    inference: InferenceClient
    publisher: Publisher
    ledger: Ledger


@dataclass(slots=True)
class _Progress:
    """Where an image is, so that a failure can say where it happened."""

    stage: Stage = Stage.FETCH
    input_hash: str = ""


class ImageJobs:
    """Does jobs; :meth:`run` may be called from several threads and never raises for one job's sake."""

    def __init__(
        self, context: RunContext, catalog: Catalog, manifest: ModelManifest, clients: Clients
    ) -> None:
        self._context, self._catalog, self._manifest, self._clients = context, catalog, manifest, clients

    def run(self, job: Job) -> None:
        """Take one claimed job to its end: acked, given back, or dead-lettered."""
        event = MediaEvent(**job.payload)
        trail = Trail(
            self._clients.ledger,
            path="online",
            start_ns=event.scheduled_ns,
            day=event.day,
            event_id=event.event_id,
            image_signature=event.image_signature,
            galaxy=event.galaxy,
            pipeline=event.pipeline,
            attempt=job.attempt,
        )
        trail.stage(Stage.QUEUE)
        progress = _Progress()
        try:
            if job.attempt > self._context.max_attempts:
                # Every attempt so far ended without a word: the image may be what kills its workers.
                self._bury(
                    job, event, trail, progress, ImageError(ATTEMPTS_EXHAUSTED, "its workers disappeared")
                )
                return
            self._compute(event, trail, progress)
            self._clients.pinlater.ack([job])
        except ImageError as error:
            self._bury_or_leave(job, event, trail, progress, error)
        except Exception as error:  # infrastructure, or an unforeseen fault: both may pass
            self._give_back(job, event, trail, progress, error)

    def _compute(self, event: MediaEvent, trail: Trail, progress: _Progress) -> None:
        clients, signature = self._clients, event.image_signature
        keys = [record_key(event.galaxy, s.name, s.version, signature) for s in for_galaxy(event.galaxy)]
        if all(clients.gss.contains(keys)):
            trail.stage(Stage.WRITE, outcome="skipped")
            self._announce(event, trail, progress, recomputed=False)
            return
        media = self._catalog.pipeline(event.pipeline).media
        data = clients.store.get(event.object_key, media.max_bytes)
        progress.input_hash = image_signature(data)
        trail.stage(Stage.FETCH)

        progress.stage = Stage.DECODE
        tensor = load_image(data, media, self._manifest)
        trail.stage(Stage.DECODE)

        progress.stage = Stage.INFERENCE
        inferred = clients.inference.infer(tensor, event.galaxy)
        if self._context.inference.is_up and inferred.batch_position == 0:
            # An external service books nothing in the ledger of a run; the batches of others are not seen.
            busy = (inferred.batch_start_ns, inferred.inference_end_ns, inferred.batch_size)
            book_batch(clients.ledger, inferred.device, *busy, pool=POOL, path=POOL)
        trail.stage(Stage.BATCH_WAIT, inferred.batch_start_ns, batch_size=inferred.batch_size)
        trail.stage(
            Stage.INFERENCE,
            inferred.inference_end_ns,
            device=inferred.device,
            batch_size=inferred.batch_size,
        )

        progress.stage = Stage.ENCODE
        records = records_of(
            inferred.values,
            image_signature=signature,
            galaxy=event.galaxy,
            pipeline=event.pipeline,
            day=event.day,
            model_sha256=self._manifest.sha256,
        )
        items = [(record.key, encode_thrift(record)) for record in records]
        trail.stage(Stage.ENCODE)

        progress.stage = Stage.WRITE
        clients.gss.put(items)
        trail.stage(Stage.WRITE)
        self._announce(event, trail, progress, recomputed=True)

    def _announce(self, event: MediaEvent, trail: Trail, progress: _Progress, *, recomputed: bool) -> None:
        progress.stage = Stage.PUBLISH
        self._clients.publisher.available(
            AvailabilityEvent.of(event, published_ns=time.time_ns(), recomputed=recomputed)
        )
        trail.stage(Stage.PUBLISH, outcome="ok" if recomputed else "skipped")

    def _bury_or_leave(
        self, job: Job, event: MediaEvent, trail: Trail, progress: _Progress, error: ImageError
    ) -> None:
        try:
            self._bury(job, event, trail, progress, error)
        except Exception as problem:  # nobody was told: the claim runs out and the job comes again
            log(f"{event.image_signature}: its dead letter could not be delivered: {problem}")

    def _bury(
        self, job: Job, event: MediaEvent, trail: Trail, progress: _Progress, error: ImageError
    ) -> None:
        letter = DeadLetter(
            event_id=event.event_id,
            image_signature=event.image_signature,
            galaxy=event.galaxy,
            day=event.day,
            path="online",
            stage=str(progress.stage),
            reason=error.reason,
            detail=error.detail,
            attempts=job.attempt,
            input_hash=progress.input_hash,
        )
        self._clients.publisher.dead_letters([letter])
        trail.dead_letter(str(error))
        self._clients.pinlater.dead_letter(job, error.reason, orjson.dumps(letter).decode())

    def _give_back(
        self, job: Job, event: MediaEvent, trail: Trail, progress: _Progress, error: Exception
    ) -> None:
        text = f"{type(error).__name__}: {error}"
        log(f"{event.image_signature}, attempt {job.attempt}, {progress.stage}: {text}")
        if job.attempt >= self._context.max_attempts:
            self._bury_or_leave(job, event, trail, progress, ImageError(ATTEMPTS_EXHAUSTED, text))
            return
        trail.stage(progress.stage, outcome="retry", detail=text)
        try:
            self._clients.pinlater.fail(job, retry_delay_seconds(job.attempt))
        except Exception as problem:
            log(f"{event.image_signature}: could not be given back, its claim will run out: {problem}")
