"""A process with one device of a stream worker: ``python -m kappa_pipeline.device_process``, started by it.

A process for each device, as threads that compute would wait for each other's Python, and for the reader's.
It brings groups of attempts to their ends, two at a time: while one has the device, the other is fetched, or
stored. It ends when the worker closes the lanes, and is killed with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import click

from kappa_pipeline.device_lane import Lane, serve
from kappa_pipeline.kafka import Publisher
from kappa_pipeline.nrtg import plan_signals
from kappa_pipeline.stage_rows import PATH, POOL
from kappa_pipeline.stream_job import StreamJob
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.compute import LocalCompute
from signals.declaration import declared_signals
from signals.device_session import DeviceSession
from signals.errors import PipelineError
from signals.gss import GssClient
from signals.ledger import Ledger
from signals.model import Model
from signals.object_store import ObjectStore
from signals.process import bound_to_this_process, keep_what_is_loaded
from signals.program import exits_as, log_to_stderr
from signals.reaping import AccountedPopen

LANES = 2  # groups in a process
# A thread that holds Python's lock is asked for it after this long. With the default (5 ms), one that has a
# group to hand back may wait that long for the other.
SWITCH_SECONDS = 0.0005
STOP_SECONDS = 2.0  # for the groups that are in work
_READY = b"warm"

log = logging.getLogger(__name__)


class DeviceProcess:
    """The worker's side of one such process. ``device``: its number among the devices of the pool."""

    def __init__(self, context_path: Path, device: int) -> None:
        pairs = [Pipe() for _ in range(LANES)]
        there = [str(theirs.fileno()) for _, theirs in pairs]
        command = [sys.executable, "-m", __name__, "--context", str(context_path)]
        self._device = device
        self._popen = AccountedPopen(
            _name(device),
            bound_to_this_process([*command, "--device", str(device), *there]),
            pass_fds=[theirs.fileno() for _, theirs in pairs],
        )
        for _, theirs in pairs:
            theirs.close()
        self._first = pairs[0][0]
        self.lanes = [Lane(ours, device) for ours, _ in pairs]

    def wait_until_warm(self) -> None:
        """Return when it takes groups. Raises PipelineError when it has ended instead."""
        try:
            self._first.recv_bytes()
        except (EOFError, OSError) as error:
            code = self._popen.wait()
            raise PipelineError(f"the process of device {self._device} ended with code {code}") from error

    def release(self) -> None:
        """Let it end: nothing is sent any more."""
        for lane in self.lanes:
            lane.close()

    def close(self) -> None:
        """Release it, and return when it has ended; it is killed where it does not end by itself."""
        self.release()
        self._popen.look()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def work(context: RunContext, device: int, connections: list[Connection]) -> None:
    """Serve until the worker closes the lanes. Raises an error of the tree when the model can't be used."""
    sys.setswitchinterval(SWITCH_SECONDS)
    catalog = Catalog.load(context.catalog_path)
    model = Model.load(context.model_dir)
    # Of the same declarations as the worker's, so it is the same plan.
    plan = plan_signals(declared_signals(), catalog, model.manifest.outputs)
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.from_context(context, _name(device)))
        store = stack.enter_context(contextlib.closing(ObjectStore(context.s3)))
        gss = stack.enter_context(GssClient.of_run(context))
        compute = LocalCompute.of_worker(
            *(context, device, model, catalog, store, ledger), pool=POOL, in_turn=True
        )
        stack.enter_context(compute)
        compute.warm_up(context.max_batch)
        model_sha256 = model.manifest.sha256
        jobs = [
            StreamJob(*(context, plan, compute, gss, Publisher(context), ledger), model_sha256=model_sha256)
            for _ in connections
        ]
        keep_what_is_loaded()
        stack.enter_context(DeviceSession(ledger, path=PATH, pool=POOL, devices=[compute.device]))
        threads = stack.enter_context(ThreadPoolExecutor(len(jobs), "lane"))
        connections[0].send_bytes(_READY)
        serving = [
            threads.submit(serve, connection, job.run, ledger, device=compute.device)
            for connection, job in zip(connections, jobs, strict=True)
        ]
        for ended in wait(serving, return_when=FIRST_EXCEPTION).done:
            if (error := ended.exception()) is not None:
                log.error("device %d can't go on", device, exc_info=error)
                logging.shutdown()
                ledger.flush()
                os._exit(PipelineError.exit_code)  # the other thread may have a group in work for long


def _name(device: int) -> str:
    return f"stream_device_{device}"


@click.command()
@click.option("--context", "context_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--device", type=int, required=True, help="Number of the device in the pool, from 0.")
@click.argument("lanes", type=int, nargs=-1, required=True)
def main(context_path: Path, device: int, lanes: tuple[int, ...]) -> None:
    """Serve the groups that come through LANES, file descriptors that the stream worker has opened."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the worker is told too, and closes the lanes
    log_to_stderr()
    with exits_as(f"device {device} of the stream"):
        work(RunContext.load(context_path), device, [Connection(number) for number in lanes])


if __name__ == "__main__":
    main()
