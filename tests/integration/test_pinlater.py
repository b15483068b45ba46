from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time

import pytest

from lambda_pipeline.pinlater import Counts, Job, PgmqPinLater
from signals.errors import ServiceError

pytestmark = pytest.mark.integration
CLAIM_SECONDS = 30.0


def take(pinlater: PgmqPinLater, timeout_seconds: float = 5.0, claim_seconds: float = CLAIM_SECONDS) -> Job:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if jobs := pinlater.dequeue(1, claim_seconds):
            return jobs[0]
        time.sleep(0.02)
    raise AssertionError("no job came")


def test_higher_priority_first_then_older_first(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue_many([({"n": n}, priority) for n, priority in enumerate([3, 1, 2, 1, 3])])
    first = pinlater.dequeue(3, CLAIM_SECONDS)
    assert [(job.payload["n"], job.priority) for job in first] == [(1, 1), (3, 1), (2, 2)]
    assert [job.payload["n"] for job in pinlater.dequeue(10, CLAIM_SECONDS)] == [0, 4]
    assert pinlater.dequeue(10, CLAIM_SECONDS) == []
    assert {job.attempt for job in first} == {1}
    assert abs(time.time_ns() - first[0].enqueued_ns) < 60e9


def test_counts_and_ack(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue_many([({"n": n}, 1 + n % 3) for n in range(6)])
    assert pinlater.counts() == Counts(ready=6, claimed=0, delayed=0, dead=0)
    jobs = pinlater.dequeue(4, CLAIM_SECONDS)
    assert pinlater.counts() == Counts(ready=2, claimed=4, delayed=0, dead=0)
    pinlater.ack(jobs)
    assert pinlater.counts() == Counts(ready=2, claimed=0, delayed=0, dead=0)
    pinlater.purge()
    assert pinlater.counts().unfinished == 0


def test_a_claim_that_runs_out_is_delivered_again(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue({"n": 1}, priority=2)
    lost = take(pinlater, claim_seconds=1)
    again = take(pinlater)
    assert (again.job_id, again.attempt) == (lost.job_id, 2)
    # Who lost the claim can't take the job from its new owner.
    assert not pinlater.checkpoint(lost, CLAIM_SECONDS)
    assert not pinlater.fail(lost, 0.0)
    assert not pinlater.dead_letter(lost, "corrupt", "")
    assert pinlater.counts() == Counts(ready=0, claimed=1, delayed=0, dead=0)
    pinlater.ack([lost])  # but its work was done
    assert pinlater.counts().unfinished == 0


def test_a_job_that_was_delivered_before_comes_alone(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue_many([({"n": n}, 2) for n in range(5)])
    assert len(pinlater.dequeue(2, 0.2)) == 2
    time.sleep(0.25)
    pinlater.enqueue({"n": 5}, priority=1)
    groups = [pinlater.dequeue(10, CLAIM_SECONDS) for _ in range(5)]
    assert [[(job.payload["n"], job.attempt) for job in group] for group in groups] == [
        [(5, 1)],
        [(0, 2)],
        [(1, 2)],
        [(2, 1), (3, 1), (4, 1)],
        [],
    ]
    pinlater.ack([job for group in groups for job in group])
    assert pinlater.counts().unfinished == 0


def test_a_checkpoint_prolongs_the_claim_and_keeps_progress(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue({"n": 1}, priority=1)
    job = take(pinlater, claim_seconds=1)
    assert job.progress == {}
    for done in range(4):
        time.sleep(0.4)
        assert pinlater.checkpoint(job, 1.0, {"done": done})
        assert pinlater.dequeue(1, CLAIM_SECONDS) == []
    assert pinlater.checkpoint(job, 0.0)
    again = take(pinlater)
    assert (again.attempt, again.progress) == (2, {"done": 3})


def test_a_failed_job_comes_back_after_its_delay(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue({"n": 1}, priority=1)
    job = take(pinlater)
    failed_at = time.monotonic()
    assert pinlater.fail(job, 0.6, {"done": 3})
    assert pinlater.counts() == Counts(ready=0, claimed=0, delayed=1, dead=0)
    again = take(pinlater)
    assert time.monotonic() - failed_at >= 0.55
    assert (again.attempt, again.progress) == (2, {"done": 3})
    assert pinlater.counts() == Counts(ready=0, claimed=1, delayed=0, dead=0)


def test_a_dead_letter_keeps_payload_attempts_and_reason(pinlater: PgmqPinLater) -> None:
    pinlater.enqueue({"image": "x"}, priority=3)
    assert pinlater.dead_letter(take(pinlater), "truncated", "it's 10 of 20 bytes")
    assert pinlater.counts() == Counts(ready=0, claimed=0, delayed=0, dead=1)
    (dead,) = pinlater.dead_jobs()
    assert (dead.payload, dead.priority, dead.attempt) == ({"image": "x"}, 3, 1)
    assert (dead.reason, dead.detail) == ("truncated", "it's 10 of 20 bytes")


def test_waiting_ends_when_something_is_enqueued(pinlater: PgmqPinLater) -> None:
    pinlater.wait(0.0)  # from here on it listens
    assert not pinlater.wait(0.05)
    timer = threading.Timer(0.1, lambda: pinlater.enqueue({}, priority=1))
    timer.start()
    assert pinlater.wait(10.0)
    timer.join()


def test_only_three_priorities(pinlater: PgmqPinLater) -> None:
    with pytest.raises(ValueError, match="1, 2 or 3"):
        pinlater.enqueue({}, priority=4)


def test_online_and_nightly_jobs_do_not_mix(pinlater: PgmqPinLater, postgres: str) -> None:
    namespace = f"test_{secrets.token_hex(4)}"
    online, nightly = (
        PgmqPinLater(postgres, namespace, "online"),
        PgmqPinLater(postgres, namespace, "nightly"),
    )
    for queue in (online, nightly):
        queue.create()
    online.enqueue({}, priority=1)
    assert nightly.dequeue(1, CLAIM_SECONDS) == []
    assert len(online.dequeue(1, CLAIM_SECONDS)) == 1
    online.close()
    nightly.close()


def test_refusals_are_service_errors(postgres: str) -> None:
    queue = PgmqPinLater(postgres, "never_created", "online")
    with pytest.raises(ServiceError, match="never_created"):
        queue.dequeue(1, CLAIM_SECONDS)
    queue.close()


CONSUMER = """
import sys, time
from lambda_pipeline.pinlater import PgmqPinLater
queue = PgmqPinLater(sys.argv[1], sys.argv[2], "online")
jobs = queue.dequeue(8, 1.0)
print(len(jobs), flush=True)
time.sleep(60)
"""


def test_nothing_is_lost_when_a_consumer_is_killed(postgres: str) -> None:
    namespace = f"test_{secrets.token_hex(4)}"
    queue = PgmqPinLater(postgres, namespace, "online")
    queue.create()
    queue.enqueue_many(({"n": n}, 2) for n in range(20))
    with subprocess.Popen(
        [sys.executable, "-c", CONSUMER, postgres, namespace], stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline().strip() == "8"
        os.kill(victim.pid, signal.SIGKILL)
    done: dict[int, int] = {}
    deadline = time.monotonic() + 20
    while queue.counts().unfinished and time.monotonic() < deadline:
        jobs = queue.dequeue(5, CLAIM_SECONDS)
        done.update({job.payload["n"]: job.attempt for job in jobs})
        queue.ack(jobs)
    assert sorted(done) == list(range(20))
    assert sorted(done.values()) == [1] * 12 + [2] * 8
    queue.close()
