"""How PinLater claims and forgets jobs: one statement over the PGMQ queues of all its priorities.

PGMQ's own functions serve one queue a call and plan their statement anew each time. These do the same to the
same columns (``vt``: visible from then on, ``read_ct``: deliveries so far), and can be prepared.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql


def claim_statement(queues: Mapping[int, sql.Identifier]) -> sql.Composed:
    """Claims jobs of ``queues``, tables by priority, in order of priority and age.

    Jobs that were never delivered are claimed together; one that was delivered before is claimed alone, and
    only when it is the first in order. Parameters: ``limit`` (jobs), ``claim_seconds``. Rows, in order:
    priority, job, attempt, message, progress, time of its enqueueing (Unix, microseconds).
    """
    candidates, claims = [], []
    for priority, table in queues.items():
        names = {"priority": sql.Literal(priority), "table": table, "claimed": _name("claimed", priority)}
        before = [
            sql.SQL("(SELECT count(*) FROM {})").format(_name("ready", p)) for p in queues if p < priority
        ]
        # What others have locked, they are about to claim.
        candidates.append(
            sql.SQL(
                "{ready} AS MATERIALIZED (SELECT {priority} AS priority, msg_id, read_ct FROM {table} "
                "WHERE vt <= clock_timestamp() ORDER BY msg_id LIMIT {limit} FOR UPDATE SKIP LOCKED)"
            ).format(
                ready=_name("ready", priority),
                limit=sql.SQL(" - ").join([sql.SQL("%(limit)s::bigint"), *before]),
                **names,
            )
        )
        claims.append(
            sql.SQL(
                "{claimed} AS (UPDATE {table} AS job SET vt = clock_timestamp() "
                "+ make_interval(secs => %(claim_seconds)s), last_read_at = clock_timestamp(), "
                "read_ct = job.read_ct + 1 FROM chosen WHERE chosen.priority = {priority} "
                "AND job.msg_id = chosen.msg_id RETURNING {priority} AS priority, job.*)"
            ).format(**names)
        )
    return sql.SQL(
        "WITH {candidates}, ordered AS (SELECT *, row_number() OVER (ORDER BY priority, msg_id) AS place "
        "FROM ({ready}) AS ready), "
        "chosen AS (SELECT * FROM ordered WHERE place = 1 OR place < ALL "
        "(SELECT place FROM ordered WHERE read_ct > 0)), {claims} "
        "SELECT priority, msg_id, read_ct, message, coalesce(headers->'progress', '{{}}'), "
        "(extract(epoch FROM enqueued_at) * 1000000)::bigint FROM ({claimed}) AS claimed "
        "ORDER BY priority, msg_id"
    ).format(
        candidates=sql.SQL(", ").join(candidates),
        ready=_all_of("ready", queues),
        claims=sql.SQL(", ").join(claims),
        claimed=_all_of("claimed", queues),
    )


def forget_statement(queues: Mapping[int, sql.Identifier]) -> sql.Composed:
    """Deletes jobs. Parameters: for each priority ``jobs_N``, a list of ids. One row: how many there were."""
    deletions = [
        sql.SQL("{} AS (DELETE FROM {} WHERE msg_id = ANY({}::bigint[]) RETURNING 1)").format(
            _name("forgotten", priority), table, sql.Placeholder(f"jobs_{priority}")
        )
        for priority, table in queues.items()
    ]
    return sql.SQL("WITH {} SELECT count(*) FROM ({}) AS forgotten").format(
        sql.SQL(", ").join(deletions), _all_of("forgotten", queues)
    )


def _all_of(kind: str, queues: Mapping[int, sql.Identifier]) -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT * FROM {}").format(_name(kind, priority)) for priority in queues
    )


def _name(kind: str, priority: int) -> sql.Identifier:
    return sql.Identifier(f"{kind}_{priority}")
