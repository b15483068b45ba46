from __future__ import annotations

import threading
import time

import pytest

from lambda_pipeline.job_threads import take_jobs
from lambda_pipeline.pinlater import Job, PgmqPinLater

pytestmark = pytest.mark.integration
PATIENCE_SECONDS = 20.0


def test_a_job_is_done_while_another_waits(pinlater: PgmqPinLater) -> None:
    stop, together = threading.Event(), threading.Barrier(2)
    done: list[int] = []

    def work(jobs: list[Job]) -> None:
        together.wait(PATIENCE_SECONDS)  # comes back only when the other thread has a job as well
        pinlater.ack(jobs)
        done.extend(job.payload["n"] for job in jobs)
        if len(done) == 4:
            stop.set()

    pinlater.enqueue_many([({"n": n}, 1) for n in range(4)])
    take_jobs(pinlater, [work, work], stop, limit=1, claim_seconds=PATIENCE_SECONDS)

    assert sorted(done) == [0, 1, 2, 3]
    assert pinlater.counts().unfinished == 0


def test_a_work_that_breaks_ends_all_of_them(pinlater: PgmqPinLater) -> None:
    def work(jobs: list[Job]) -> None:
        raise KeyError(jobs[0].payload["n"])

    pinlater.enqueue({"n": 7}, priority=2)
    with pytest.raises(KeyError, match="7"):
        take_jobs(pinlater, [work, work], threading.Event(), limit=8, claim_seconds=PATIENCE_SECONDS)


def test_a_job_that_was_delivered_before_is_all_that_is_claimed_meanwhile(pinlater: PgmqPinLater) -> None:
    stop = threading.Event()
    others: dict[int, int] = {}  # jobs claimed beside a job that was delivered before, by its number
    done: list[int] = []

    def work(jobs: list[Job]) -> None:
        (job,) = jobs
        if job.attempt > 1:
            time.sleep(0.05)  # the other thread has the time to claim one
            others[job.payload["n"]] = pinlater.counts().claimed - 1
        if job.attempt == 1 and job.payload["n"] % 2:
            pinlater.fail(job, 0.0)
            return
        pinlater.ack(jobs)
        done.append(job.payload["n"])
        if len(done) == 8:
            stop.set()

    pinlater.enqueue_many([({"n": n}, 1) for n in range(8)])
    take_jobs(pinlater, [work, work], stop, limit=1, claim_seconds=PATIENCE_SECONDS)

    assert sorted(done) == list(range(8))
    assert others == dict.fromkeys((1, 3, 5, 7), 0)
