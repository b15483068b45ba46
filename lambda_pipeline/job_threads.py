"""Threads that take jobs from a queue, so that a worker has something to do while one of its jobs waits."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from lambda_pipeline.child import log
from lambda_pipeline.pinlater import Job, PinLater
from signals.errors import ServiceError

IN_HAND = 2  # one computes while the other fetches, or stores
WAIT_SECONDS = 0.5  # without a wake-up: for retries and for claims that ran out


def take_jobs(
    pinlater: PinLater,
    works: Sequence[Callable[[list[Job]], None]],
    stop: threading.Event,
    *,
    limit: int,
    claim_seconds: float,
) -> None:
    """A thread for each of ``works`` calls it with jobs that it claimed: those that are there, at most
    ``limit``; until ``stop`` is set. Raises what a work raises, once the others have ended as well."""
    with ThreadPoolExecutor(len(works), "job") as threads:
        take = functools.partial(_take, pinlater, stop=stop, limit=limit, claim_seconds=claim_seconds)
        taking = [threads.submit(take, work) for work in works]
        wait(taking, return_when=FIRST_COMPLETED)
        stop.set()  # one that ended by itself is broken: the process ends, and is started again
    for future in taking:
        future.result()


def _take(
    pinlater: PinLater,
    work: Callable[[list[Job]], None],
    *,
    stop: threading.Event,
    limit: int,
    claim_seconds: float,
) -> None:
    while not stop.is_set():
        try:
            if jobs := pinlater.dequeue(limit, claim_seconds):
                work(jobs)
            else:
                pinlater.wait(WAIT_SECONDS)
        except ServiceError as error:
            log(f"taking no jobs: {error}")
            stop.wait(WAIT_SECONDS)
