"""A worker of the nightly GPU pool: takes jobs, computes on its own device, writes outputs to S3.

``python -m lambda_pipeline.offline.gpu_worker --context FILE --index N`` works until SIGTERM. It takes the
next job before the current one ends, so that its device never waits for a queue.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from lambda_pipeline.child import log, run_process
from lambda_pipeline.offline.batch_job import BatchJobs
from lambda_pipeline.offline.step3_pool import ready_file
from lambda_pipeline.pinlater import Job, PgmqPinLater, PinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.compute import ComputeResult, LocalCompute
from signals.device_session import DeviceSession
from signals.errors import ServiceError
from signals.inference import InferenceEngine
from signals.ledger import Ledger
from signals.model import Model
from signals.object_store import ObjectStore
from signals.process import StopSignal, write_ready_file

POOL = "nightly"
WAIT_SECONDS = 0.25
CHECKPOINTS_PER_CLAIM = 3
FETCH_THREADS = 2


@dataclass(slots=True)
class _Running:
    job: Job
    futures: list[Future[ComputeResult]]
    claimed_at: float  # monotonic seconds, of the last checkpoint

    @property
    def is_done(self) -> bool:
        return all(future.done() for future in self.futures)


class GpuWorker:
    """Keeps one device busy: takes the next job while the images of the ones before still run."""

    def __init__(
        self, context: RunContext, pinlater: PinLater, compute: LocalCompute, jobs: BatchJobs
    ) -> None:
        self._pinlater, self._compute, self._jobs = pinlater, compute, jobs
        self._claim_seconds = context.claim_seconds
        # With fewer images than this in flight the device may soon have nothing to do.
        self._low_water = 2 * context.max_batch + FETCH_THREADS
        self._running: deque[_Running] = deque()
        self._in_flight = 0
        self._progressed = threading.Condition()

    def work(self, stop: StopSignal) -> None:
        """Work until ``stop``; jobs that are not done then are given back."""
        while not stop.is_set():
            try:
                while self._in_flight < self._low_water and self._take_job():
                    pass
                if not self._running:
                    self._pinlater.wait(WAIT_SECONDS)
                    continue
                self._wait_for_progress()
                self._keep_claims()
            except ServiceError as error:
                log(str(error))
                stop.wait(WAIT_SECONDS)
            while self._running and self._running[0].is_done:
                running = self._running.popleft()
                self._jobs.finish(running.job, running.futures)
        for running in self._running:
            self._pinlater.fail(running.job, 0.0)

    def _take_job(self) -> bool:
        """Take one job and start on its images. Whether there was one."""
        jobs = self._pinlater.dequeue(1, self._claim_seconds)
        for job in jobs:
            futures = [
                self._compute.submit(image["object_key"], image["pipeline"], image["galaxy"])
                for image in self._jobs.accept(job)
            ]
            with self._progressed:
                self._in_flight += len(futures)
            self._running.append(_Running(job, futures, time.monotonic()))
            for future in futures:
                future.add_done_callback(self._image_done)
        return bool(jobs)

    def _image_done(self, _: Future[ComputeResult]) -> None:
        with self._progressed:
            self._in_flight -= 1
            self._progressed.notify()

    def _wait_for_progress(self) -> None:
        head = self._running[0]
        with self._progressed:
            self._progressed.wait_for(
                lambda: head.is_done or self._in_flight < self._low_water,
                timeout=self._claim_seconds / CHECKPOINTS_PER_CLAIM,
            )
            if not head.is_done and self._in_flight < self._low_water:
                # The queue had no more when last asked. Ask again, but not for every image.
                self._progressed.wait_for(lambda: head.is_done, timeout=WAIT_SECONDS)

    def _keep_claims(self) -> None:
        now = time.monotonic()
        for running in self._running:
            if now - running.claimed_at > self._claim_seconds / CHECKPOINTS_PER_CLAIM:
                done = sum(future.done() for future in running.futures)
                if not self._pinlater.checkpoint(running.job, self._claim_seconds, {"images_done": done}):
                    log(f"job {running.job.job_id} was delivered to another worker as well")
                running.claimed_at = now


def serve(context: RunContext, index: int, stop: StopSignal) -> None:
    """Load the model, say so, and work until ``stop``."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, f"gpu_worker_{index}"))
        model = Model.load(context.model_dir)
        ordinal = index if context.device == "cpu" else 0  # all workers share the machine's first GPU
        engine = InferenceEngine(model, device=context.device, threads=1, index=ordinal)
        engine.warm_up(context.max_batch)
        catalog = Catalog.load(context.catalog_path)
        store = stack.enter_context(contextlib.closing(ObjectStore(context.s3)))
        publisher = stack.enter_context(Publisher(context))
        pinlater = stack.enter_context(
            contextlib.closing(PgmqPinLater(context.postgres_dsn, context.namespace, "nightly"))
        )
        max_bytes = max(spec.media.max_bytes for spec in catalog.pipelines.values())
        stack.enter_context(DeviceSession(ledger, path=POOL, pool=POOL, devices=[engine.device]))
        compute = LocalCompute(
            lambda key: store.get(key, max_bytes),
            engine,
            catalog,
            max_batch=context.max_batch,
            max_wait_seconds=context.max_batch_wait_seconds,
            ledger=ledger,
            pool=POOL,
            fetch_threads=FETCH_THREADS,
        )
        stack.callback(lambda: compute.close(cancel_pending=True))
        jobs = BatchJobs(context, model.manifest.sha256, engine.device, store, pinlater, publisher, ledger)
        write_ready_file(ready_file(context.arm_dir, index), {"pid": os.getpid()})
        log(f"warm on {engine.device}, {engine.provider}")
        GpuWorker(context, pinlater, compute, jobs).work(stop)


if __name__ == "__main__":
    run_process(__doc__, serve)
