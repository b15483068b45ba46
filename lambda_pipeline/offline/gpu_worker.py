"""A worker of the nightly GPU pool: takes jobs, computes on its own device, writes outputs to S3.

``python -m lambda_pipeline.offline.gpu_worker --context FILE --index N`` works until SIGTERM. It has two
jobs in hand: while one of them has the device, the other fetches and decodes, or is written.
"""

from __future__ import annotations

import contextlib
import os

from lambda_pipeline.child import log, run_process
from lambda_pipeline.job_threads import IN_HAND, take_jobs
from lambda_pipeline.offline.batch_job import BatchJobs
from lambda_pipeline.offline.step3_pool import ready_file
from lambda_pipeline.patience import open_object_store
from lambda_pipeline.pinlater import PgmqPinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.compute import LocalCompute
from signals.device_session import DeviceSession
from signals.ledger import Ledger
from signals.model import Model
from signals.process import StopSignal, keep_what_is_loaded, write_ready_file

POOL = "nightly"


def serve(context: RunContext, index: int, stop: StopSignal) -> None:
    """Load the model, say so, and work until ``stop``."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, f"gpu_worker_{index}"))
        model = Model.load(context.model_dir)
        catalog = Catalog.load(context.catalog_path)
        store = stack.enter_context(open_object_store(context))
        pinlater = stack.enter_context(
            contextlib.closing(PgmqPinLater(context.postgres_dsn, context.namespace, "nightly"))
        )
        compute = LocalCompute.of_worker(
            context, index, model, catalog, store, ledger, pool=POOL, in_turn=True
        )
        stack.enter_context(compute)
        compute.warm_up(context.max_batch)
        hands = [
            BatchJobs(
                *(context, model.manifest.sha256, compute, store, pinlater),
                publisher=stack.enter_context(Publisher(context)),
                ledger=ledger,
                stop=stop,
            )
            for _ in range(IN_HAND)
        ]
        keep_what_is_loaded()
        stack.enter_context(DeviceSession(ledger, path=POOL, pool=POOL, devices=[compute.device]))
        write_ready_file(ready_file(context.arm_dir, index), {"pid": os.getpid()})
        log(f"warm on {compute.device}, {compute.provider}")
        works = [hand.run for hand in hands]
        take_jobs(pinlater, works, stop, limit=1, claim_seconds=context.claim_seconds)


if __name__ == "__main__":
    run_process(__doc__, serve)
