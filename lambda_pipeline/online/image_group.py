"""What an online worker does with the jobs that it took at once: each call to a server serves them all.

The order is what makes it safe to be killed anywhere: write, then announce, then ack. Whatever is repeated
writes the same keys again. Jobs share calls, never a verdict: an image at fault leaves its group, and where a
server is away every job of the group gets another attempt, alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lambda_pipeline.child import log
from lambda_pipeline.online.arrival import Arrival, Ends
from lambda_pipeline.online.external_service import POOL
from lambda_pipeline.online.images_in_work import ImagesInWork
from lambda_pipeline.online.inference_client import InferenceClient, Inferred
from lambda_pipeline.patience import patience_seconds
from lambda_pipeline.pinlater import Job, PinLater
from signals.architecture import RunContext
from signals.attempts import ATTEMPTS_EXHAUSTED, WORKERS_DISAPPEARED
from signals.catalog import Catalog
from signals.compute import load_image, records_of
from signals.device_session import book_batch
from signals.encodings import encode_thrift
from signals.errors import ImageError, ServiceError
from signals.gss import GssClient
from signals.image import image_signature
from signals.ledger import Ledger, Stage
from signals.model import ModelManifest
from signals.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class Clients:
    """What a worker talks to."""

    pinlater: PinLater
    gss: GssClient
    store: ObjectStore
    inference: InferenceClient
    ledger: Ledger


class ImageGroups:
    """Brings groups of jobs to their ends, one group at a time; for one thread. ``images`` are those of all
    groups in hand. ``fetchers`` fetch and decode the images of a group; without any, that thread does."""

    def __init__(
        self,
        context: RunContext,
        catalog: Catalog,
        manifest: ModelManifest,
        clients: Clients,
        ends: Ends,
        images: ImagesInWork,
        fetchers: ThreadPoolExecutor | None,
    ) -> None:
        self._context, self._catalog, self._manifest = context, catalog, manifest
        self._clients, self._ends, self._images = clients, ends, images
        self._fetchers = fetchers
        self._prolong_seconds = patience_seconds(context.claim_seconds)
        self._in_work: list[Arrival] = []
        self._claimed_at = 0.0  # monotonic seconds

    def run(self, jobs: Sequence[Job]) -> None:
        """Take jobs, just claimed, to their ends: acked, given back, or dead-lettered. Never raises for a
        job's sake."""
        self._claimed_at = time.monotonic()
        group = self._in_work = self._accept(jobs)
        while group:
            # A second arrival of an image waits for the first, and then finds its signals.
            first_of = {arrival.image: arrival for arrival in reversed(group)}
            with self._images.begin(first_of, self._prolong_seconds) as begun:
                taken = {image: first_of[image] for image in begun}
                self._run_distinct([arrival for arrival in group if taken.get(arrival.image) is arrival])
            group = [arrival for arrival in group if taken.get(arrival.image) is not arrival]

    def _accept(self, jobs: Sequence[Job]) -> list[Arrival]:
        accepted: list[Arrival] = []
        for job in jobs:
            try:
                arrival = Arrival.of(job, self._clients.ledger)
            except TypeError as error:  # nobody knows what it was about
                log(f"job {job.job_id} is no media event: {error}")
                self._clients.pinlater.dead_letter(job, "unreadable_job", str(error))
                continue
            if self._ends.end_as_before(arrival):
                continue
            if job.attempt > self._context.max_attempts and not arrival.was_stored:
                # Every attempt so far ended without a word: the image may be what kills its workers.
                self._ends.fail(arrival, ImageError(ATTEMPTS_EXHAUSTED, WORKERS_DISAPPEARED))
            else:
                accepted.append(arrival)
        return accepted

    def _run_distinct(self, group: list[Arrival]) -> None:
        taken_ns = time.time_ns()
        stored = self._together(group, self._stored)
        for arrival in stored:
            arrival.taken(taken_ns)
            arrival.trail.stage(Stage.WRITE, outcome="skipped")
        if stored:
            self._ends.announce(stored, recomputed=False)
        loaded = self._each(self._load, [arrival for arrival in group if not arrival.has_ended])
        encoded = self._each(self._encode, self._together(loaded, self._infer), in_threads=False)
        encoded_ns = time.time_ns()
        for arrival in encoded:
            arrival.trail.stage(Stage.ENCODE, encoded_ns)
            arrival.stage = Stage.WRITE
        written = self._together(encoded, self._write)
        if written:
            self._ends.announce(written, recomputed=True)

    def _together(
        self, group: list[Arrival], work: Callable[[list[Arrival]], list[Arrival]]
    ) -> list[Arrival]:
        """Whom ``work`` gives back. Where it fails, all of the group fail."""
        self._keep_claims()
        try:
            return work(group) if group else []
        except Exception as error:  # infrastructure, or an unforeseen fault: both may pass
            for arrival in group:
                if not arrival.has_ended:
                    self._ends.fail(arrival, error)
            return []

    def _each(
        self, work: Callable[[Arrival], None], group: list[Arrival], *, in_threads: bool = True
    ) -> list[Arrival]:
        """Those whose ``work`` did not fail."""

        def attempt(arrival: Arrival) -> Exception | None:
            try:
                work(arrival)
            except Exception as error:
                return error
            return None

        threads = self._fetchers if in_threads and len(group) > 1 else None
        for arrival, error in zip(group, (threads.map if threads else map)(attempt, group), strict=True):
            if error is not None:
                self._ends.fail(arrival, error)
            self._keep_claims()
        return [arrival for arrival in group if not arrival.has_ended]

    def _stored(self, group: list[Arrival]) -> list[Arrival]:
        """Those whose signals are all stored."""
        found = self._clients.gss.contains_each([arrival.keys for arrival in group])
        return [arrival for arrival, present in zip(group, found, strict=True) if all(present)]

    def _load(self, arrival: Arrival) -> None:
        event = arrival.event
        arrival.taken()
        media = self._catalog.pipeline(event.pipeline).media
        data = self._clients.store.get(event.object_key, media.max_bytes)
        arrival.input_hash = image_signature(data)
        arrival.trail.stage(Stage.FETCH)
        arrival.stage = Stage.DECODE
        arrival.tensor = load_image(data, media, self._manifest)
        arrival.trail.stage(Stage.DECODE)
        arrival.stage = Stage.INFERENCE

    def _infer(self, group: list[Arrival]) -> list[Arrival]:
        images, galaxies = [a.tensor for a in group], [a.event.galaxy for a in group]
        for arrival, inferred in zip(group, self._clients.inference.infer(images, galaxies), strict=True):
            self._computed(arrival, inferred)
        return [arrival for arrival in group if not arrival.has_ended]

    def _computed(self, arrival: Arrival, inferred: Inferred) -> None:
        start_ns, end_ns, size = inferred.batch_start_ns, inferred.inference_end_ns, inferred.batch_size
        if self._context.inference.is_up and inferred.batch_position == 0:
            # An external service books nothing in a run's ledger. A batch that runs share is booked once.
            book_batch(self._clients.ledger, inferred.device, start_ns, end_ns, size, pool=POOL, path=POOL)
        arrival.trail.stage(Stage.BATCH_WAIT, start_ns, batch_size=size)
        outcome = "ok" if inferred.failure is None else "error"
        arrival.trail.stage(Stage.INFERENCE, end_ns, device=inferred.device, batch_size=size, outcome=outcome)
        if inferred.failure is not None:
            self._ends.fail(arrival, inferred.failure)
            return
        arrival.values, arrival.stage = inferred.values, Stage.ENCODE

    def _encode(self, arrival: Arrival) -> None:
        event = arrival.event
        records = records_of(
            arrival.values,
            image_signature=event.image_signature,
            galaxy=event.galaxy,
            pipeline=event.pipeline,
            day=event.day,
            model_sha256=self._manifest.sha256,
        )
        arrival.encoded = [(record.key, encode_thrift(record)) for record in records]

    def _write(self, group: list[Arrival]) -> list[Arrival]:
        self._clients.gss.put(item for arrival in group for item in arrival.encoded)
        written_ns = time.time_ns()
        for arrival in group:
            arrival.trail.stage(Stage.WRITE, written_ns)
            arrival.stage = Stage.PUBLISH
        return group

    def _keep_claims(self) -> None:
        """Prolong the claims of those in hand before they can run out."""
        if time.monotonic() - self._claimed_at < self._prolong_seconds:
            return
        self._claimed_at = time.monotonic()
        for arrival in self._in_work:
            try:
                if not arrival.has_ended:
                    self._clients.pinlater.checkpoint(arrival.job, self._context.claim_seconds)
            except ServiceError as problem:  # then some may be worked on twice
                log(f"{arrival.event.image_signature}: its claim could not be prolonged: {problem}")
