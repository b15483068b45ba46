"""What a run is going to offer: workload and data set brought together, sized to the days and the rate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bench.capacity import Capacity
from bench.durations import duration_text
from bench.images import Dataset
from bench.load import Load
from bench.poison import poisoned_count, with_poison
from bench.provenance import schedule_fingerprint
from bench.workload import Schedule, Trace, Workload, make_schedule, replay_schedule
from signals.catalog import Catalog
from signals.errors import ConfigurationError

DEFAULT_RATE_PER_SECOND = 20.0
DEFAULT_DAY_SECONDS = 30.0
SHORTEST_DAY_SECONDS = 10.0  # of a day that is as long as a user's own images take
SHORTEST_REAL_DAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """All of a load but its rate, which may have to wait until the machine's capacity is measured."""

    workload: Workload
    dataset: Dataset
    catalog: Catalog
    trace: Trace | None  # of a workload that replays one
    seed: int
    days: int
    day_seconds: float | None  # None: as long as fits
    namespace: str

    def load(self, rate_per_second: float | None) -> Load:
        """The load at a mean rate; None: 20 arrivals a second, or that of a trace at real speed.

        From a shipped data set it takes as many images as it needs, of a user's own all, unless a trace says
        how many. Raises ConfigurationError where images, trace and options don't fit together.
        """
        if self.trace is not None:
            schedule = self._replayed(self.trace, rate_per_second)
        else:
            schedule = self._drawn(rate_per_second or DEFAULT_RATE_PER_SECOND)
        images = self.dataset.images[: schedule.distinct_images]
        share = self.workload.poison_share
        dataset = with_poison(dataclasses.replace(self.dataset, images=images), share, seed=self.seed)
        return Load(schedule, dataset, self.catalog, self.namespace, poisoned_count(share, len(images)))

    def _drawn(self, rate_per_second: float) -> Schedule:
        new_share = 1.0 - self.workload.repeat_share
        day_seconds, images = self.day_seconds, len(self.dataset.images)
        if self.dataset.is_shipped:
            # As many images as the days take at this rate.
            day_seconds = day_seconds or DEFAULT_DAY_SECONDS
            images = max(1, round(rate_per_second * day_seconds * self.days * new_share))
            self._check_images(images)
        else:
            # A user's own images: every one of them arrives, and the day is as long as that takes.
            fitting = images / new_share / (rate_per_second * self.days)
            day_seconds = day_seconds or max(SHORTEST_DAY_SECONDS, fitting)
        return make_schedule(
            self.workload, seed=self.seed, distinct_images=images, days=self.days, day_seconds=day_seconds
        )

    def _replayed(self, trace: Trace, rate_per_second: float | None) -> Schedule:
        source = self.workload.trace
        if source is not None and source.timing == "real":
            if rate_per_second is not None or self.day_seconds is not None:
                raise ConfigurationError(
                    'timing = "real" replays the trace at its own rate, in days as long as it is: leave out '
                    '--rate, --load and --day, or use timing = "compressed"'
                )
            day_seconds = trace.seconds / self.days
            if day_seconds < SHORTEST_REAL_DAY_SECONDS:
                raise ConfigurationError(
                    f"the trace is {duration_text(trace.seconds)} long, too short for {self.days} days at "
                    'real speed; use timing = "compressed"'
                )
        else:
            day_seconds = self.day_seconds or DEFAULT_DAY_SECONDS
            rate_per_second = rate_per_second or DEFAULT_RATE_PER_SECOND
        schedule = replay_schedule(
            self.workload,
            trace,
            seed=self.seed,
            days=self.days,
            day_seconds=day_seconds,
            rate_per_second=rate_per_second,
        )
        self._check_images(schedule.distinct_images)
        return schedule

    def _check_images(self, wanted: int) -> None:
        if wanted > len(self.dataset.images):
            raise ConfigurationError(
                f"this run needs {wanted} distinct images, data set {self.dataset.name} has "
                f"{len(self.dataset.images)}: lower --rate, --day or --days"
            )


def offered(load: Load, capacity: Capacity | None) -> dict[str, Any]:
    """What a manifest says of its load; ``load_share`` is the rate over the capacity, if that is known."""
    schedule = load.schedule
    return {
        "days": schedule.days,
        "day_seconds": schedule.day_seconds,
        "compression": 86_400 / schedule.day_seconds,
        "arrivals": len(schedule),
        "distinct_images": len(load.dataset.images),
        "poisoned_images": load.poisoned_images,
        "late": schedule.lateness(),
        "rate_per_second": schedule.rate_per_second,
        "load_share": schedule.rate_per_second / capacity.images_per_second if capacity else None,
        "capacity": dataclasses.asdict(capacity) if capacity else None,
        "schedule_sha256": schedule_fingerprint(schedule, load.dataset),
    }
