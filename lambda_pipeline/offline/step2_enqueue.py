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

IMAGES_PER_JOB = 32
MIN_IMAGES_PER_JOB = 8
JOBS_PER_WORKER = 8  # at least, so that the workers end at about the same time
JOBS_PER_CALL = 500

DeltaRow = dict[str, str]


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Enqueue the delta. Jobs that an earlier attempt left behind are forgotten first."""
    night.pinlater.create()
    night.pinlater.purge()
    catalog = Catalog.load(night.context.catalog_path)
    delta = ds.dataset(inputs["delta"], format="parquet").to_table()
    size = job_size(len(delta), night.context.workers, night.context.max_batch)
    jobs = (
        ({"day": night.day, "object_prefix": night.object_prefix, "images": images}, priority)
        for images, priority in batches(delta, catalog, size)
    )
    enqueued = 0
    # Not at once: a day may have millions of images. Whoever comes after a failure purges the queue.
    while some := list(islice(jobs, JOBS_PER_CALL)):
        night.pinlater.enqueue_many(some)
        enqueued += len(some)
    return {"jobs": enqueued, "images_per_job": size, "object_prefix": night.object_prefix}


def job_size(images: int, workers: int, max_batch: int) -> int:
    """Images per job: large enough to cost little each and to fill a batch of the device, small enough that
    no worker is last for long."""
    share = math.ceil(images / (workers * JOBS_PER_WORKER))
    return max(MIN_IMAGES_PER_JOB, min(max(IMAGES_PER_JOB, max_batch), share))


def batches(delta: pa.Table, catalog: Catalog, size: int) -> Iterator[tuple[list[DeltaRow], int]]:
    """Cut the delta into jobs of at most ``size`` images of one priority; the same delta, the same jobs."""
    pipelines: dict[int, list[str]] = {}
    for name in delta["pipeline"].unique().to_pylist():
        pipelines.setdefault(catalog.pipeline(name).media.priority, []).append(name)
    for priority, names in sorted(pipelines.items()):
        rows = delta.filter(pc.is_in(delta["pipeline"], pa.array(names)))
        rows = rows.sort_by([("galaxy", "ascending"), ("image_signature", "ascending")])
        for start in range(0, len(rows), size):
            yield rows.slice(start, size).to_pylist(), priority
