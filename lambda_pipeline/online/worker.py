"""The online path's PinLater worker: takes jobs and does them, several at a time.

``python -m lambda_pipeline.online.worker --context FILE --index N`` works until SIGTERM; then it takes no
more jobs and finishes those it has.
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from lambda_pipeline.child import log, run_process
from lambda_pipeline.online.image_job import Clients, ImageJobs
from lambda_pipeline.online.inference_client import InferenceClient
from lambda_pipeline.online.ready_files import worker_ready_file
from lambda_pipeline.pinlater import PgmqPinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.errors import ServiceError
from signals.gss import GssClient
from signals.ledger import Ledger
from signals.model import Model
from signals.object_store import ObjectStore
from signals.process import StopSignal, write_ready_file

MIN_JOB_THREADS, MAX_JOB_THREADS = 4, 16
WAIT_SECONDS = 0.25  # without a wake-up: for retries and for claims that ran out
RECONNECT_SECONDS = 0.5


def job_threads(context: RunContext) -> int:
    """Jobs at a time: enough for all workers together to fill a batch on every device, within reason."""
    return max(MIN_JOB_THREADS, min(MAX_JOB_THREADS, context.max_batch))


def work(context: RunContext, index: int, stop: StopSignal) -> None:
    """Run the worker until ``stop``."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, f"online_worker_{index}"))
        # A job must end well within its claim: what it may wait for is a part of it.
        patience_seconds = context.claim_seconds / 3
        clients = Clients(
            pinlater=stack.enter_context(
                contextlib.closing(PgmqPinLater(context.postgres_dsn, context.namespace, "online"))
            ),
            gss=stack.enter_context(GssClient.of_run(context, retry_seconds=patience_seconds)),
            store=stack.enter_context(contextlib.closing(ObjectStore(context.s3))),
            inference=stack.enter_context(
                contextlib.closing(
                    InferenceClient(
                        context, timeout_seconds=patience_seconds, absence_seconds=patience_seconds
                    )
                )
            ),
            publisher=stack.enter_context(Publisher(context)),
            ledger=ledger,
        )
        manifest = Model.load(context.model_dir).manifest
        jobs = ImageJobs(context, Catalog.load(context.catalog_path), manifest, clients)
        threads = job_threads(context)
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="job"))
        write_ready_file(worker_ready_file(context.arm_dir, index), {"pid": os.getpid()})
        log(f"taking jobs, {threads} at a time")
        _take_jobs(context, clients, jobs, pool, threads, stop)


def _take_jobs(
    context: RunContext,
    clients: Clients,
    jobs: ImageJobs,
    pool: ThreadPoolExecutor,
    threads: int,
    stop: StopSignal,
) -> None:
    # A job is claimed only when a thread is free for it, so that no claim runs while a job just waits.
    free = threading.Semaphore(threads)

    def done(_: Future[None]) -> None:
        free.release()

    while not stop.is_set():
        if not free.acquire(timeout=WAIT_SECONDS):
            continue
        slots = 1
        while slots < threads and free.acquire(blocking=False):
            slots += 1
        taken = 0
        try:
            claimed = clients.pinlater.dequeue(slots, context.claim_seconds)
            taken = len(claimed)
            for job in claimed:
                pool.submit(jobs.run, job).add_done_callback(done)
        except ServiceError as error:
            log(f"taking no jobs: {error}")
            stop.wait(RECONNECT_SECONDS)
        if slots > taken:
            free.release(slots - taken)
        if taken == 0 and not stop.is_set():
            with contextlib.suppress(ServiceError):  # the next dequeue will say so
                clients.pinlater.wait(WAIT_SECONDS)


if __name__ == "__main__":
    run_process(__doc__, work)
