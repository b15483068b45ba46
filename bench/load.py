"""What is submitted, the same for every arm: a schedule over a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.images import Dataset
from bench.workload import Schedule
from signals.architecture import MediaEvent
from signals.catalog import Catalog

CHUNK = 1024  # arrivals whose columns are turned into Python objects at a time


@dataclass(frozen=True, slots=True)
class Load:
    """A schedule over a data set. ``namespace`` is the run's; it prefixes the keys of its images."""

    schedule: Schedule
    dataset: Dataset
    catalog: Catalog
    namespace: str

    def events(self, day: int, start_ns: int) -> Iterator[MediaEvent]:
        """The media events of ``day``, in order, for a day whose first instant is ``start_ns`` (Unix ns)."""
        schedule, pipelines = self.schedule, self.schedule.pipelines
        signatures = [image.image_signature for image in self.dataset.images]
        keys = [object_key(self.namespace, signature) for signature in signatures]
        galaxies = [self.catalog.pipelines[name].galaxy for name in pipelines]
        of_day = schedule.of_day(day)
        for first in range(of_day.start, of_day.stop, CHUNK):
            chunk = slice(first, min(first + CHUNK, of_day.stop))
            columns = (schedule.image[chunk], schedule.pipeline[chunk], schedule.offset_ns[chunk] + start_ns)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            for event_id, (image, pipeline, scheduled_ns) in enumerate(rows, first):
                yield MediaEvent(
                    event_id=event_id,
                    image_signature=signatures[image],
                    pipeline=pipelines[pipeline],
                    galaxy=galaxies[pipeline],
                    day=day,
                    scheduled_ns=scheduled_ns,
                    object_key=keys[image],
                )


def object_key(namespace: str, image_signature: str) -> str:
    """Where the bytes of an image lie in the bucket of a run."""
    return f"{namespace}/images/{image_signature}"
