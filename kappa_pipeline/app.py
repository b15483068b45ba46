"""One worker of the stream job: ``python -m kappa_pipeline.app --context PATH --worker N``.

It reads the stream, and hands what it reads to a process for each of its devices, all from one queue. They
load the model and warm it up, and only then does it join the consumer group, so that a partition never waits
for a model. Several workers, on several machines, share the media topic's partitions. Listens on no port.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import click

from kappa_pipeline.device_process import DeviceProcess
from kappa_pipeline.faust_engine import FaustEngine
from kappa_pipeline.nrtg import deploy, plan_signals
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.declaration import declared_signals
from signals.ledger import Ledger
from signals.model import Model
from signals.process import keep_what_is_loaded, write_ready_file
from signals.program import exits_as, log_to_stderr


def ready_file(context: RunContext, worker: int) -> Path:
    """Where worker ``worker`` says that it is ready, and for which partitions; JSON with pid, partitions."""
    return context.arm_dir / f"stream_worker_{worker}.ready"


def run_worker(context: RunContext, context_path: Path, worker: int) -> None:
    """Run until SIGTERM. Raises an error of the tree when the worker can't start or go on."""
    catalog = Catalog.load(context.catalog_path)
    plan = plan_signals(declared_signals(), catalog, Model.load(context.model_dir).manifest.outputs)

    def on_assigned(partitions: list[int]) -> None:
        write_ready_file(ready_file(context, worker), {"pid": os.getpid(), "partitions": partitions})

    with contextlib.ExitStack() as stack:
        # Writes what this process has counted; the rows come from the devices' processes.
        stack.enter_context(Ledger.from_context(context, f"stream_worker_{worker}"))
        processes = [
            stack.enter_context(contextlib.closing(DeviceProcess(context_path, device)))
            for device in context.devices_of_stream_worker(worker)
        ]
        for process in processes:
            stack.callback(process.release)  # all of them, before the first is waited for
            process.wait_until_warm()
        stream_engine = FaustEngine(
            *(context, catalog, [lane for process in processes for lane in process.lanes]),
            data_dir=context.arm_dir / f"faust_{worker}",
            on_assigned=on_assigned,
        )
        keep_what_is_loaded()
        deploy(plan, stream_engine)


@click.command()
@click.option("--context", "context_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--worker", type=int, required=True, help="Number of this worker, from 0.")
def main(context_path: Path, worker: int) -> None:
    """Run one worker of the stream job until SIGTERM."""
    log_to_stderr()
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    with exits_as(f"stream worker {worker}"):
        run_worker(RunContext.load(context_path), context_path, worker)


if __name__ == "__main__":
    main()
