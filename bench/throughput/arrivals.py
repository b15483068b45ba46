"""What the ledger of an arm that runs says about single arrivals."""

from __future__ import annotations

import time
from typing import Any

import duckdb

from bench.seal import events_path, seal
from bench.throughput.stand import StartedArm
from signals.errors import PipelineError
from signals.ledger import FLUSH_SECONDS

LEDGER_SECONDS = 10.0
# [scheduled, announced], Unix ns, of each arrival that was announced.
ONLINE_TIMES = """
SELECT event_id, [min(start_ns) FILTER (stage = 'queue'), max(end_ns) FILTER (stage = 'publish')] AS times
FROM read_parquet($events)
WHERE stage IN ('queue', 'publish') AND path IN ('online', 'stream') AND event_id BETWEEN $first AND $last
GROUP BY event_id HAVING bool_or(stage = 'queue') AND bool_or(stage = 'publish')
"""


def by_arrival(started: StartedArm, query: str, numbers: range) -> dict[int, Any]:
    """The second column of ``query`` by the first, an arrival, once it has found each of ``numbers``; its
    parameters are ``events``, ``first`` and ``last``. Raises PipelineError where one is not found in time."""
    run_dir = started.context.run_dir
    parameters = {"events": str(events_path(run_dir)), "first": numbers.start, "last": numbers.stop - 1}
    deadline = time.monotonic() + LEDGER_SECONDS
    while True:
        time.sleep(FLUSH_SECONDS)
        seal(run_dir)
        with duckdb.connect() as connection:
            found = dict(connection.execute(query, parameters).fetchall())
        if len(found) == len(numbers):
            return found
        if time.monotonic() > deadline:
            raise PipelineError(
                f"{len(numbers) - len(found)} of {len(numbers)} arrivals were not announced; "
                f"the logs are in {run_dir / 'logs'}"
            )
