"""Step 2: batches of image signatures become PinLater jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lambda_pipeline.offline.night import Night
from signals.catalog import Catalog

IMAGES_PER_JOB = 64
MIN_IMAGES_PER_JOB = 8
SHARES_PER_WORKER = 4  # of what is left; a job is no larger than one
JOBS_PER_CALL = 500

DeltaRow = dict[str, str]


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Enqueue the delta. Jobs that an earlier attempt left behind are forgotten first."""
    night.pinlater.create()
    night.pinlater.purge()
    catalog = Catalog.load(night.context.catalog_path)
    delta = ds.dataset(inputs["delta"], format="parquet").to_table()
    jobs = (
        ({"day": night.day, "object_prefix": night.object_prefix, "images": images}, priority)
        for images, priority in batches(delta, catalog, night.context.workers, night.context.max_batch)
    )
    enqueued = 0
    # Not at once: a day may have millions of images. Whoever comes after a failure purges the queue.
    while some := list(islice(jobs, JOBS_PER_CALL)):
        night.pinlater.enqueue_many(some)
        enqueued += len(some)
    return {"jobs": enqueued, "object_prefix": night.object_prefix}


def job_size(images_left: int, workers: int, max_batch: int) -> int:
    """Images of the next job: enough to cost little each and to fill a batch of the device, fewer and fewer
    towards the end of the night, so that no worker is last for long (guided self-scheduling, Polychronopoulos
    and Kuck 1987)."""
    share = math.ceil(images_left / (workers * SHARES_PER_WORKER))
    return max(MIN_IMAGES_PER_JOB, min(max(IMAGES_PER_JOB, max_batch), share))


def batches(
    delta: pa.Table, catalog: Catalog, workers: int, max_batch: int
) -> Iterator[tuple[list[DeltaRow], int]]:
    """Cut the delta into jobs of one priority each; the same delta, the same jobs."""
    pipelines: dict[int, list[str]] = {}
    for name in delta["pipeline"].unique().to_pylist():
        pipelines.setdefault(catalog.pipeline(name).media.priority, []).append(name)
    left = len(delta)
    for priority, names in sorted(pipelines.items()):
        rows = delta.filter(pc.is_in(delta["pipeline"], pa.array(names)))
        rows = rows.sort_by([("galaxy", "ascending"), ("image_signature", "ascending")])
        start = 0
        while start < len(rows):
            job = rows.slice(start, job_size(left, workers, max_batch))
            yield job.to_pylist(), priority
            start += len(job)
            left -= len(job)
