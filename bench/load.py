"""What is submitted, the same for every arm: a schedule over a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.images import Dataset
from bench.workload import Schedule
from signals.architecture import MediaEvent
from signals.catalog import Catalog

CHUNK = 1024  # arrivals whose columns are turned into Python objects at a time


@dataclass(frozen=True, slots=True)
class Load:
    """A schedule over a data set, ``poisoned_images`` of which are broken on purpose.

    ``namespace`` is the run's; it prefixes the keys of its images.
    """

    schedule: Schedule
    dataset: Dataset
    catalog: Catalog
    namespace: str
    poisoned_images: int = 0

    def events(self, day: int, start_ns: int) -> Iterator[MediaEvent]:
        """The media events of ``day``, in order, for a day whose first instant is ``start_ns`` (Unix ns)."""
        schedule, pipelines = self.schedule, self.schedule.pipelines
        signatures = [image.image_signature for image in self.dataset.images]
        keys = [object_key(self.namespace, signature) for signature in signatures]
        galaxies = [self.catalog.pipelines[name].galaxy for name in pipelines]
        of_day = schedule.of_day(day)
        for first in range(of_day.start, of_day.stop, CHUNK):
            chunk = slice(first, min(first + CHUNK, of_day.stop))
            columns = (
                schedule.image[chunk],
                schedule.pipeline[chunk],
                schedule.offset_ns[chunk] + start_ns,
                schedule.lateness_ns[chunk],
            )
            rows = zip(*(column.tolist() for column in columns), strict=True)
            for event_id, (image, pipeline, scheduled_ns, lateness_ns) in enumerate(rows, first):
                yield MediaEvent(
                    event_id=event_id,
                    image_signature=signatures[image],
                    pipeline=pipelines[pipeline],
                    galaxy=galaxies[pipeline],
                    day=day,
                    scheduled_ns=scheduled_ns,
                    object_key=keys[image],
                    lateness_ns=lateness_ns,
                )


def object_key(namespace: str, image_signature: str) -> str:
    """Where the bytes of an image lie in the bucket of a run."""
    return f"{namespace}/images/{image_signature}"


def write_schedule(run_dir: Path, load: Load) -> Path:
    """Write ``schedule.parquet``: one row per arrival, as it was asked for. Returns the path.

    ``lateness_ns`` is how long before its arrival the event happened; the other columns are as in the
    ledger, ``offset_ns`` counts from the first instant of the day.
    """
    schedule, catalog = load.schedule, load.catalog
    signatures = pa.array([image.image_signature for image in load.dataset.images], pa.string())
    pipelines = pa.array(schedule.pipelines, pa.string())
    galaxies = pa.array([catalog.pipelines[name].galaxy for name in schedule.pipelines], pa.string())
    table = pa.table(
        {
            "event_id": np.arange(len(schedule)),
            "day": schedule.day,
            "offset_ns": schedule.offset_ns,
            "lateness_ns": schedule.lateness_ns,
            "image_signature": signatures.take(pa.array(schedule.image)),
            "pipeline": pipelines.take(pa.array(schedule.pipeline)),
            "galaxy": galaxies.take(pa.array(schedule.pipeline)),
        }
    )
    path = run_dir / "schedule.parquet"
    pq.write_table(table, path, compression="zstd")
    return path
