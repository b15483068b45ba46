"""The online path's PinLater worker: takes the jobs that are there, as a group, and does them.

``python -m lambda_pipeline.online.worker --context FILE --index N`` works until SIGTERM; then it takes no
more jobs and finishes those it has. It has two groups in hand: while one waits for the inference service, the
other is fetched, or stored.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

from lambda_pipeline.child import log, run_process
from lambda_pipeline.job_threads import IN_HAND, take_jobs
from lambda_pipeline.online.arrival import Ends
from lambda_pipeline.online.image_group import Clients, ImageGroups
from lambda_pipeline.online.images_in_work import ImagesInWork
from lambda_pipeline.online.inference_client import InferenceClient
from lambda_pipeline.online.ready_files import worker_ready_file
from lambda_pipeline.patience import open_gss, open_object_store, patience_seconds
from lambda_pipeline.pinlater import PgmqPinLater
from lambda_pipeline.publisher import Publisher
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.compute import host_threads
from signals.ledger import Ledger
from signals.model import Model
from signals.process import StopSignal, keep_what_is_loaded, write_ready_file


def work(context: RunContext, index: int, stop: StopSignal) -> None:
    """Run the worker until ``stop``."""
    context = context.for_worker(index)
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, f"online_worker_{index}"))
        pinlater = stack.enter_context(
            contextlib.closing(PgmqPinLater(context.postgres_dsn, context.namespace, "online"))
        )
        patience = patience_seconds(context.claim_seconds)
        inference = InferenceClient(context, timeout_seconds=patience, absence_seconds=patience)
        clients = Clients(
            pinlater=pinlater,
            gss=stack.enter_context(open_gss(context)),
            store=stack.enter_context(open_object_store(context)),
            inference=stack.enter_context(contextlib.closing(inference)),
            ledger=ledger,
        )
        manifest = Model.load(context.model_dir).manifest
        catalog = Catalog.load(context.catalog_path)
        threads = host_threads(context.workers)
        fetchers = stack.enter_context(ThreadPoolExecutor(threads, "fetch")) if threads > 1 else None
        images = ImagesInWork()
        hands = [
            ImageGroups(
                *(context, catalog, manifest, clients),
                Ends(pinlater, stack.enter_context(Publisher(context)), context.max_attempts),
                images,
                fetchers,
            )
            for _ in range(IN_HAND)
        ]
        keep_what_is_loaded()
        write_ready_file(worker_ready_file(context.arm_dir, index), {"pid": os.getpid()})
        log(f"taking jobs, up to {context.max_batch} at a time")
        works = [hand.run for hand in hands]
        # Enough in a group to fill a batch of a device.
        take_jobs(pinlater, works, stop, limit=context.max_batch, claim_seconds=context.claim_seconds)


if __name__ == "__main__":
    run_process(__doc__, work)
