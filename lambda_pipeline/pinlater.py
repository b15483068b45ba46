"""PinLater, the job queue: a small contract, and its implementation over PGMQ on PostgreSQL.

Delivery is at least once. A dequeued job is *claimed*: invisible to others until it is acked, failed or
dead-lettered, or until the claim runs out, after which it is delivered again with a higher attempt number.
So whatever a consumer does must be repeatable. There is one PGMQ queue per priority.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from lambda_pipeline.claims import claim_statement, forget_statement
from signals.counters import (
    COUNTERS,
    QUEUE_ACKED,
    QUEUE_CLAIMED,
    QUEUE_DEAD,
    QUEUE_ENQUEUED,
    QUEUE_FAILED,
    QUEUE_PROLONGED,
    QUEUE_STATEMENTS,
)
from signals.errors import ServiceError
from signals.postgres import connect

PRIORITIES = (1, 2, 3)  # 1 is served first
RECONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed job."""

    job_id: int  # unique within its priority
    priority: int
    attempt: int  # 1 at first delivery
    payload: dict[str, Any]
    progress: dict[str, Any]  # as last checkpointed, {} at first
    enqueued_ns: int  # Unix time, by the server's clock


@dataclass(frozen=True, slots=True)
class DeadJob:
    """One job that was given up, as kept for inspection."""

    job_id: int
    priority: int
    attempt: int
    payload: dict[str, Any]
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs are in which state, over all priorities."""

    ready: int  # would be delivered now
    claimed: int  # a consumer holds them
    delayed: int  # failed, waiting for their retry
    dead: int

    @property
    def unfinished(self) -> int:
        """Jobs that are neither acked nor dead."""
        return self.ready + self.claimed + self.delayed


class PinLater(Protocol):
    """The contract. All methods raise ServiceError when the server can't be reached; all are thread-safe."""

    def enqueue(self, payload: dict[str, Any], *, priority: int) -> None:
        """Add one job. May add it twice if the connection breaks meanwhile, never lose it silently."""

    def enqueue_many(self, jobs: Iterable[tuple[dict[str, Any], int]]) -> None:
        """Add many jobs, each a payload (JSON-able) and a priority from 1 to 3; all or none of them."""

    def dequeue(self, limit: int, claim_seconds: float) -> list[Job]:
        """Claim at most ``limit`` jobs, higher priority first, then older first. Returns at once.

        A job that was delivered before comes alone: should it be the one that kills its consumers, it takes
        no other with it.
        """

    def wait(self, timeout_seconds: float) -> bool:
        """Sleep until something was enqueued or the time is over; whether something was. Retries and
        expired claims wake nobody, so callers dequeue after a timeout too."""

    def ack(self, jobs: Sequence[Job]) -> None:
        """The jobs are done: forget them. Also after a lost claim, since the work was done."""

    def fail(self, job: Job, retry_delay_seconds: float, progress: dict[str, Any] | None = None) -> bool:
        """Give the job back, to be delivered again after a delay, and keep ``progress``. False when the
        claim had been lost."""

    def checkpoint(self, job: Job, claim_seconds: float, progress: dict[str, Any] | None = None) -> bool:
        """Prolong the claim from now on and keep ``progress``. False when the claim had been lost."""

    def dead_letter(self, job: Job, reason: str, detail: str) -> bool:
        """Give the job up, and keep it with its reason. False when the claim had been lost."""

    def counts(self) -> Counts:
        """How many jobs are in which state."""

    def dead_jobs(self) -> list[DeadJob]:
        """The jobs that were given up, with their reasons."""


class PgmqPinLater:
    """PinLater on PGMQ: visibility timeout = claim, ``read_ct`` = attempt, archive = dead letters.

    A claim is identified by (job, attempt): whoever lost it to a later attempt can't fail, prolong or bury
    the job any more. Progress and reasons are kept in the message's headers.
    """

    def __init__(self, dsn: str, namespace: str, suffix: Literal["online", "nightly"]) -> None:
        self._dsn = dsn
        self._queues = {priority: f"{namespace}_{suffix}_p{priority}" for priority in PRIORITIES}
        self._channel = f"{namespace}_{suffix}"
        tables = {priority: self._table("q", priority) for priority in PRIORITIES}
        self._claim, self._forget = claim_statement(tables), forget_statement(tables)
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[TupleRow] | None = None
        self._listener: psycopg.Connection[TupleRow] | None = None
        self._listener_lock = threading.Lock()

    def create(self) -> None:
        """Create the queues where they don't exist; PGMQ must be installed in the database."""
        for queue in self._queues.values():
            self._execute("SELECT pgmq.create(%s)", (queue,))

    def purge(self) -> None:
        """Forget all unfinished jobs, claimed ones too."""
        for queue in self._queues.values():
            self._execute("SELECT pgmq.purge_queue(%s)", (queue,))

    def enqueue(self, payload: dict[str, Any], *, priority: int) -> None:
        """See :meth:`PinLater.enqueue`."""
        self.enqueue_many([(payload, priority)])

    def enqueue_many(self, jobs: Iterable[tuple[dict[str, Any], int]]) -> None:
        """See :meth:`PinLater.enqueue_many`. ValueError for a priority outside 1 to 3."""
        messages: dict[int, list[str]] = {}
        for payload, priority in jobs:
            if priority not in self._queues:
                raise ValueError(f"a priority is 1, 2 or 3, not {priority!r}")
            messages.setdefault(priority, []).append(orjson.dumps(payload).decode())
        if not messages:
            return
        sends = sql.SQL(", ").join(
            sql.SQL("(SELECT count(*) FROM pgmq.send_batch({}, %s::text[]::jsonb[]))").format(
                self._queues[priority]
            )
            for priority in messages
        )
        # One statement, so one transaction; listeners are told when it commits.
        self._execute(
            sql.SQL("SELECT {}, pg_notify({}, '')").format(sends, self._channel), tuple(messages.values())
        )
        COUNTERS.add(QUEUE_ENQUEUED, sum(map(len, messages.values())))

    def dequeue(self, limit: int, claim_seconds: float) -> list[Job]:
        """See :meth:`PinLater.dequeue`."""
        rows = self._execute(self._claim, {"limit": limit, "claim_seconds": claim_seconds})
        if rows:
            COUNTERS.add(QUEUE_CLAIMED, len(rows))
        return [Job(row[1], row[0], row[2], row[3], row[4], row[5] * 1000) for row in rows]

    def wait(self, timeout_seconds: float) -> bool:
        """See :meth:`PinLater.wait`."""
        with self._listener_lock:
            try:
                if self._listener is None:
                    self._listener = connect(self._dsn)
                    self._listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    return True  # something may have been enqueued before anyone listened
                # The connection itself would wake up ten times a second while it waits.
                poll = select.poll()
                poll.register(self._listener, select.POLLIN)
                if not poll.poll(timeout_seconds * 1000):
                    return False
                return any(True for _ in self._listener.notifies(timeout=0, stop_after=1))
            except psycopg.OperationalError as error:
                self._drop_listener()
                raise ServiceError(f"PinLater: PostgreSQL does not answer: {error}") from error

    def ack(self, jobs: Sequence[Job]) -> None:
        """See :meth:`PinLater.ack`."""
        ids: dict[str, list[int]] = {f"jobs_{priority}": [] for priority in PRIORITIES}
        for job in jobs:
            ids[f"jobs_{job.priority}"].append(job.job_id)
        rows = self._execute(self._forget, ids)
        COUNTERS.add(QUEUE_ACKED, int(rows[0][0]))

    def fail(self, job: Job, retry_delay_seconds: float, progress: dict[str, Any] | None = None) -> bool:
        """See :meth:`PinLater.fail`. ``progress`` None leaves the progress as it is."""
        headers = {"failed_attempt": job.attempt, **_headers(progress)}
        done = self._update_claimed(job, retry_delay_seconds, headers)
        COUNTERS.add(QUEUE_FAILED, done)
        return done

    def checkpoint(self, job: Job, claim_seconds: float, progress: dict[str, Any] | None = None) -> bool:
        """See :meth:`PinLater.checkpoint`. ``progress`` None leaves the progress as it is."""
        done = self._update_claimed(job, claim_seconds, _headers(progress))
        COUNTERS.add(QUEUE_PROLONGED, done)
        return done

    def dead_letter(self, job: Job, reason: str, detail: str) -> bool:
        """See :meth:`PinLater.dead_letter`."""
        if not self._update_claimed(job, 60.0, {"reason": reason, "detail": detail}):
            return False
        rows = self._execute("SELECT pgmq.archive(%s, %s::bigint)", (self._queues[job.priority], job.job_id))
        COUNTERS.add(QUEUE_DEAD, bool(rows[0][0]))
        return bool(rows[0][0])

    def counts(self) -> Counts:
        """See :meth:`PinLater.counts`."""
        one_queue = sql.SQL(
            "SELECT count(*) FILTER (WHERE vt <= clock_timestamp()), "
            "count(*) FILTER (WHERE vt > clock_timestamp()"
            " AND (headers->>'failed_attempt')::int IS DISTINCT FROM read_ct), "
            "count(*) FILTER (WHERE vt > clock_timestamp() AND (headers->>'failed_attempt')::int = read_ct), "
            "(SELECT count(*) FROM {archive}) FROM {queue}"
        )
        rows = self._execute(
            sql.SQL(" UNION ALL ").join(
                one_queue.format(archive=self._table("a", priority), queue=self._table("q", priority))
                for priority in PRIORITIES
            )
        )
        ready, claimed, delayed, dead = (sum(int(row[column]) for row in rows) for column in range(4))
        return Counts(ready, claimed, delayed, dead)

    def dead_jobs(self) -> list[DeadJob]:
        """See :meth:`PinLater.dead_jobs`."""
        query = sql.SQL(
            "SELECT msg_id, read_ct, message, headers->>'reason', headers->>'detail' FROM {} ORDER BY msg_id"
        )
        return [
            DeadJob(row[0], priority, row[1], row[2], row[3], row[4])
            for priority in PRIORITIES
            for row in self._execute(query.format(self._table("a", priority)))
        ]

    def close(self) -> None:
        """Leave the server. What is still claimed is delivered again when its claim runs out."""
        with self._lock:
            self._drop_connection()
        with self._listener_lock:
            self._drop_listener()

    def _update_claimed(self, job: Job, visible_after_seconds: float, headers: dict[str, Any]) -> bool:
        # pgmq.set_vt would also touch a job that another consumer has claimed since.
        statement = sql.SQL(
            "UPDATE {} SET vt = clock_timestamp() + make_interval(secs => %s), "
            "headers = coalesce(headers, '{{}}') || %s::jsonb WHERE msg_id = %s AND read_ct = %s RETURNING 1"
        ).format(self._table("q", job.priority))
        parameters = (visible_after_seconds, orjson.dumps(headers).decode(), job.job_id, job.attempt)
        return bool(self._execute(statement, parameters))

    def _table(self, kind: Literal["q", "a"], priority: int) -> sql.Identifier:
        return sql.Identifier("pgmq", f"{kind}_{self._queues[priority]}")

    def _execute(
        self, query: Any, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[TupleRow]:
        # A statement whose outcome is unknown is sent again: delivery is at least once anyway.
        deadline = time.monotonic() + RECONNECT_SECONDS
        with self._lock:
            while True:
                try:
                    if self._connection is None:
                        self._connection = connect(self._dsn)
                    COUNTERS.add(QUEUE_STATEMENTS)
                    return self._connection.execute(query, parameters).fetchall()
                except psycopg.OperationalError as error:
                    self._drop_connection()
                    if time.monotonic() > deadline:
                        raise ServiceError(f"PinLater: PostgreSQL does not answer: {error}") from error
                    time.sleep(0.2)
                except psycopg.Error as error:
                    raise ServiceError(f"PinLater: PostgreSQL refuses: {error}") from error

    def _drop_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _drop_listener(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(psycopg.Error):
                self._listener.close()
            self._listener = None


def _headers(progress: dict[str, Any] | None) -> dict[str, Any]:
    return {} if progress is None else {"progress": progress}
