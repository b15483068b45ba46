"""A worker of the nightly GPU pool: takes jobs, computes on its own device, writes outputs to S3.

``python -m lambda_pipeline.offline.gpu_worker --context FILE --index N`` works until SIGTERM. It has two
jobs in hand: while one of them has the device, the other fetches and decodes, or is written.
"""

from __future__ import annotations

import contextlib
import gc
import os
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from lambda_pipeline.child import log, run_process
from lambda_pipeline.offline.batch_job import BatchJobs
from lambda_pipeline.offline.step3_pool import ready_file
from lambda_pipeline.pinlater import PgmqPinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.compute import LocalCompute
from signals.device_session import DeviceSession
from signals.errors import ServiceError
from signals.ledger import Ledger
from signals.model import Model
from signals.object_store import ObjectStore
from signals.process import StopSignal, write_ready_file

POOL = "nightly"
WAIT_SECONDS = 0.25
JOBS_IN_HAND = 2


def take_jobs(jobs: BatchJobs, stop: StopSignal) -> None:
    """Do one job after the other until ``stop``; what is in work then is given back."""
    while not stop.is_set():
        try:
            if taken := jobs.pinlater.dequeue(1, jobs.context.claim_seconds):
                jobs.do(taken[0], stop)
            else:
                jobs.pinlater.wait(WAIT_SECONDS)
        except ServiceError as error:
            log(str(error))
            stop.wait(WAIT_SECONDS)


def serve(context: RunContext, index: int, stop: StopSignal) -> None:
    """Load the model, say so, and work until ``stop``."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, f"gpu_worker_{index}"))
        model = Model.load(context.model_dir)
        catalog = Catalog.load(context.catalog_path)
        store = stack.enter_context(contextlib.closing(ObjectStore(context.s3)))
        pinlater = stack.enter_context(
            contextlib.closing(PgmqPinLater(context.postgres_dsn, context.namespace, "nightly"))
        )
        compute = LocalCompute.of_worker(context, index, model, catalog, store, ledger, pool=POOL)
        stack.enter_context(compute)
        compute.warm_up(context.max_batch)
        hands = [
            BatchJobs(
                *(context, model.manifest.sha256, compute, store, pinlater),
                publisher=stack.enter_context(Publisher(context)),
                ledger=ledger,
            )
            for _ in range(JOBS_IN_HAND)
        ]
        # What is loaded now stays: the collector need not look through it again for every few images.
        gc.collect()
        gc.freeze()
        stack.enter_context(DeviceSession(ledger, path=POOL, pool=POOL, devices=[compute.device]))
        write_ready_file(ready_file(context.arm_dir, index), {"pid": os.getpid()})
        log(f"warm on {compute.device}, {compute.provider}")
        with ThreadPoolExecutor(JOBS_IN_HAND, "job") as threads:
            works = [threads.submit(take_jobs, jobs, stop) for jobs in hands]
            wait(works, return_when=FIRST_COMPLETED)
            stop.set()  # one that ended by itself is broken: the process ends, and is started again
        for work in works:
            work.result()


if __name__ == "__main__":
    run_process(__doc__, serve)
