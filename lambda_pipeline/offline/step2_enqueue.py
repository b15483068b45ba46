"""Step 2: batches of image signatures become PinLater jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow.dataset as ds

from lambda_pipeline.offline.night import Night
from signals.catalog import Catalog

IMAGES_PER_JOB = 32
MIN_IMAGES_PER_JOB = 8
JOBS_PER_WORKER = 8  # at least, so that the workers end at about the same time

DeltaRow = dict[str, str]


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Enqueue the delta. Jobs that an earlier attempt left behind are forgotten first."""
    night.pinlater.create()
    night.pinlater.purge()
    catalog = Catalog.load(night.context.catalog_path)
    rows: list[DeltaRow] = ds.dataset(inputs["delta"], format="parquet").to_table().to_pylist()
    size = job_size(len(rows), night.context.workers, night.context.max_batch)
    jobs = [
        ({"day": night.day, "object_prefix": night.object_prefix, "images": images}, priority)
        for images, priority in batches(rows, catalog, size)
    ]
    night.pinlater.enqueue_many(jobs)
    return {"jobs": len(jobs), "images_per_job": size, "object_prefix": night.object_prefix}


def job_size(images: int, workers: int, max_batch: int) -> int:
    """Images per job: large enough to cost little each and to fill a batch of the device, small enough that
    no worker is last for long."""
    share = math.ceil(images / (workers * JOBS_PER_WORKER))
    return max(MIN_IMAGES_PER_JOB, min(max(IMAGES_PER_JOB, max_batch), share))


def batches(rows: Sequence[DeltaRow], catalog: Catalog, size: int) -> Iterator[tuple[list[DeltaRow], int]]:
    """Cut the delta into jobs of at most ``size`` images of one priority; the same delta, the same jobs."""

    def priority(row: DeltaRow) -> int:
        return catalog.pipeline(row["pipeline"]).media.priority

    ordered = sorted(rows, key=lambda row: (priority(row), row["galaxy"], row["image_signature"]))
    for of_priority, group in groupby(ordered, key=priority):
        images = list(group)
        for start in range(0, len(images), size):
            yield images[start : start + size], of_priority
