"""Step 4: the pool works until every job is done; then it is spun down.

The work itself (download, inference, output to S3) is in :mod:`lambda_pipeline.offline.gpu_worker`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lambda_pipeline.offline.night import Night
from signals.errors import PipelineError

POLL_SECONDS = 0.05  # near the end
LONG_POLL_SECONDS = 0.5
JOBS_NEAR_THE_END = 4  # for each worker; they are short then
POOL_CHECK_SECONDS = 1.0
STALLED_CLAIMS = 20  # claim timeouts without any job ending, after which the step gives up


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Wait for the jobs. Raises PipelineError when nothing moves any more, ServiceError for a dying pool."""
    try:
        _wait(night)
    finally:
        night.pool.spin_down()
    prefix = inputs["object_prefix"]
    dead = [job for job in night.pinlater.dead_jobs() if job.payload["object_prefix"] == prefix]
    return {"dead_jobs": len(dead)}


def _wait(night: Night) -> None:
    patience_seconds = STALLED_CLAIMS * night.context.claim_seconds
    last_count, last_change = -1, time.monotonic()
    next_check = 0.0
    while count := night.pinlater.counts().unfinished:
        now = time.monotonic()
        if count != last_count:
            last_count, last_change = count, now
        elif now - last_change > patience_seconds:
            raise PipelineError(
                f"{count} jobs did not move for {patience_seconds:.0f} s; "
                f"the workers' logs are in {night.context.log_dir}"
            )
        if now >= next_check:
            night.pool.check()
            next_check = now + POOL_CHECK_SECONDS
        near_the_end = count <= JOBS_NEAR_THE_END * night.context.workers
        time.sleep(POLL_SECONDS if near_the_end else LONG_POLL_SECONDS)
