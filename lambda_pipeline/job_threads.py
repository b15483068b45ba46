"""Threads that take jobs from a queue, so that a worker has something to do while one of its jobs waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from lambda_pipeline.child import log
from lambda_pipeline.patience import patience_seconds
from lambda_pipeline.pinlater import Job, PinLater
from signals.errors import ServiceError

IN_HAND = 2  # one computes while the other fetches, or stores
WAIT_SECONDS = 0.5  # without a wake-up: for retries and for claims that ran out

Work = Callable[[list[Job]], None]


def take_jobs(
    pinlater: PinLater, works: Sequence[Work], stop: threading.Event, *, limit: int, claim_seconds: float
) -> None:
    """A thread for each of ``works`` calls it with jobs that it claimed: those that are there, at most
    ``limit``; until ``stop`` is set. A job that was delivered before is all that this process has claimed
    while it is worked on: should it be the one that kills its workers, it takes no other with it. Raises what
    a work raises, once the others have ended as well."""
    hands = _Hands(pinlater, stop, limit=limit, claim_seconds=claim_seconds)
    with ThreadPoolExecutor(len(works), "job") as threads:
        taking = [threads.submit(hands.take, work) for work in works]
        wait(taking, return_when=FIRST_COMPLETED)
        stop.set()  # one that ended by itself is broken: the process ends, and is started again
    for future in taking:
        future.result()


class _Hands:
    """What the threads of one process share."""

    def __init__(
        self, pinlater: PinLater, stop: threading.Event, *, limit: int, claim_seconds: float
    ) -> None:
        self._pinlater, self._stop = pinlater, stop
        self._limit, self._claim_seconds = limit, claim_seconds
        self._claiming = threading.Lock()  # whoever has it claims, or works alone
        self._changed = threading.Condition()
        self._busy = 0  # threads at work without it

    def take(self, work: Work) -> None:
        """Serve one thread until the stop."""
        while not self._stop.is_set():
            try:
                self._work_once(work)
            except ServiceError as error:
                log(f"taking no jobs: {error}")
                self._stop.wait(WAIT_SECONDS)

    def _work_once(self, work: Work) -> None:
        """Claim jobs and do them, or wait for some."""
        with self._claiming:
            if self._stop.is_set():
                return
            jobs = self._pinlater.dequeue(self._limit, self._claim_seconds)
            if any(job.attempt > 1 for job in jobs):
                if kept := self._kept_until_alone(jobs):
                    work(kept)
                return
            if not jobs:
                self._pinlater.wait(WAIT_SECONDS)  # one thread is enough; it is the first to claim then
                return
            self._add(1)
        try:
            work(jobs)
        finally:
            self._add(-1)

    def _kept_until_alone(self, jobs: list[Job]) -> list[Job]:
        """Wait until no other thread is at work; the jobs whose claims, just prolonged, still hold."""
        alone = False
        while jobs and not alone:
            with self._changed:
                patience = patience_seconds(self._claim_seconds)
                alone = self._changed.wait_for(lambda: self._busy == 0, patience)
            jobs = [job for job in jobs if self._pinlater.checkpoint(job, self._claim_seconds)]
        return jobs

    def _add(self, threads: int) -> None:
        with self._changed:
            self._busy += threads
            self._changed.notify_all()
