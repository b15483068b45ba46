"""One worker of the stream job: ``python -m kappa_pipeline.app --context PATH --worker N``.

Loads the model, warms it up, and only then joins the consumer group, so that a partition never waits for a
model. Several workers share the media topic's partitions. Listens on no port.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path

import click

from kappa_pipeline.faust_engine import FaustEngine
from kappa_pipeline.kafka import Publisher
from kappa_pipeline.nrtg import StreamPlan, deploy, plan_signals
from kappa_pipeline.stage_rows import PATH, POOL
from kappa_pipeline.stream_job import StreamJob
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.compute import LocalCompute
from signals.declaration import declared_signals
from signals.device_session import DeviceSession
from signals.errors import LkbenchError
from signals.gss import GssClient
from signals.ledger import Ledger
from signals.model import Model
from signals.object_store import ObjectStore
from signals.process import keep_what_is_loaded, write_ready_file

# A thread that holds Python's lock is asked for it after this long. Events pass through several threads on
# their way, and with the default (5 ms) each may wait that long for one that is decoding.
SWITCH_SECONDS = 0.0005


def ready_file(context: RunContext, worker: int) -> Path:
    """Where worker ``worker`` says that it is ready, and for which partitions; JSON with pid, partitions."""
    return context.arm_dir / f"stream_worker_{worker}.ready"


def run_worker(context: RunContext, worker: int) -> None:
    """Run until SIGTERM. Raises an error of the tree when the worker can't start or go on."""
    sys.setswitchinterval(SWITCH_SECONDS)
    catalog = Catalog.load(context.catalog_path)
    model = Model.load(context.model_dir)
    plan = plan_signals(declared_signals(), catalog, model.manifest.outputs)

    def on_assigned(partitions: list[int]) -> None:
        write_ready_file(ready_file(context, worker), {"pid": os.getpid(), "partitions": partitions})

    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, f"stream_worker_{worker}"))
        store = stack.enter_context(contextlib.closing(ObjectStore(context.s3)))
        gss = stack.enter_context(GssClient.of_run(context))
        compute = LocalCompute.of_worker(context, worker, model, catalog, store, ledger, pool=POOL)
        stack.enter_context(compute)
        compute.warm_up(context.max_batch)

        def new_job(plan: StreamPlan) -> StreamJob:
            model_sha256 = model.manifest.sha256
            return StreamJob(
                *(context, plan, compute, gss, Publisher(context), ledger), model_sha256=model_sha256
            )

        stream_engine = FaustEngine(
            *(context, catalog, new_job, ledger),
            device=compute.device,
            data_dir=context.arm_dir / f"faust_{worker}",
            on_assigned=on_assigned,
        )
        keep_what_is_loaded()
        with DeviceSession(ledger, path=PATH, pool=POOL, devices=[compute.device]):
            deploy(plan, stream_engine)


@click.command()
@click.option("--context", "context_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--worker", type=int, required=True, help="Number of this worker, from 0.")
def main(context_path: Path, worker: int) -> None:
    """Run one worker of the stream job until SIGTERM."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    try:
        run_worker(RunContext.load(context_path), worker)
    except LkbenchError as error:
        click.echo(f"stream worker {worker}: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
