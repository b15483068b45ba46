"""The simulator against a run that it was not fitted on.

From one run come service times: of batches, of the path around the device, of a night's fixed parts and of
its parts that grow with images. From the other run comes its workload alone: when which image was scheduled,
and when its days ended. The queue in front of the devices and the night's pool are those of the projection
(:mod:`bench.cost.queues`, :mod:`bench.cost.simulator`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.cost.measured_inputs import BATCHES_SQL, fit_batches
from bench.cost.queues import serve
from bench.cost.simulator import shared_finish_seconds
from bench.ledger_query import LedgerQuery, open_ledger
from bench.manifest import read_manifest
from signals.errors import ConfigurationError

DEVICE_HOURS_TOLERANCE = 0.05
AVAILABILITY_TOLERANCE = 0.10
LIVE_POOLS = ("online", "stream")
CROWD_SECONDS = 1.0  # chosen on one pair of runs, of 12 and 6 images/s on two cores
FEWEST_ALIKE = 20

Floats = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure: what the simulator says from the other run's service times, and what was measured."""

    arm: str
    figure: str
    unit: str
    predicted: float
    measured: float
    tolerance: float | None  # None: a part of another figure, shown and not judged

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted / self.measured - 1 if self.measured else float("nan")

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance; never for something that was not measured."""
        return self.tolerance is None or abs(self.error) <= self.tolerance


@dataclass(frozen=True)
class Run:
    """What a replay reads of a run."""

    images: Rows
    nights: Rows
    pools: Rows
    batches: Mapping[str, Rows]  # by arm, of the live pool
    max_batch: int

    @classmethod
    def load(cls, run_dir: Path) -> Run:
        """Of a sealed run. Raises ConfigurationError if it has no ledger, or several stream workers."""
        if read_manifest(run_dir).get("config", {}).get("services", {}).get("stream_workers", 1) > 1:
            raise ConfigurationError(
                f"{run_dir} had several stream workers: a replay knows one queue for an arm"
            )
        with open_ledger(run_dir) as query:
            images = query.rows("replay_images")
            arms = {row["arm"] for row in images}
            return cls(
                images=images,
                nights=query.rows("replay_nights"),
                pools=[row for row in query.rows("device_hours") if row["replicate"] is None],
                batches={arm: _live_batches(query, arm) for arm in arms},
                max_batch=max_batch(run_dir),
            )

    @property
    def arms(self) -> list[str]:
        """Arms with arrivals."""
        return sorted({row["arm"] for row in self.images})

    def of(self, arm: str) -> list[Mapping[str, Any]]:
        """The keys of one arm, in the order of their schedule."""
        return [row for row in self.images if row["arm"] == arm]


def max_batch(run_dir: Path) -> int:
    """The largest batch that the run's configuration allowed."""
    inference = read_manifest(run_dir).get("config", {}).get("inference", {})
    return int(inference.get("max_batch", 8))


def replay(fitted: Run, other: Run, *, seed: int = 1) -> list[Comparison]:
    """Every figure of every arm that both runs have. The same seed gives the same table.

    Raises ConfigurationError if they have no arm in common or an arm's live path computed nothing.
    """
    arms = [arm for arm in other.arms if arm in fitted.arms]
    if not arms:
        raise ConfigurationError("the two runs have no arm in common")
    return [row for arm in arms for row in _ArmReplay(fitted, other, arm, seed).compare()]


def _live_batches(query: LedgerQuery, arm: str) -> Rows:
    return [row for pool in LIVE_POOLS for row in query.execute(BATCHES_SQL, {"pool": pool, "arm": arm})]


class _ArmReplay:
    def __init__(self, fitted: Run, other: Run, arm: str, seed: int) -> None:
        self._fitted, self._other, self._arm = fitted, other, arm
        self._random = np.random.default_rng(seed)
        pools = [row for row in fitted.pools if row["arm"] == arm and row["pool"] in LIVE_POOLS]
        computed = [r for r in fitted.of(arm) if r["on_device_seconds"] is not None and r["online_seconds"]]
        if not pools or not computed:
            raise ConfigurationError(f"arm {arm} computed nothing on its live path: nothing to fit")
        self._devices = len(pools)
        self._nights = [night for night in fitted.nights if night["arm"] == arm]
        self._computed = computed
        sizes = [row["batch_size"] for row in fitted.batches[arm]]
        seconds = [row["seconds"] for row in fitted.batches[arm]]
        self._service = fit_batches(sizes, seconds, fitted.max_batch)
        self._share = sum(sizes) / max(1, len(fitted.of(arm)))  # inferences per key: some can't be decoded

    def compare(self) -> Iterator[Comparison]:
        keys = self._other.of(self._arm)
        online, busy_seconds = self._online(keys)
        yield from self._availability("online", online, [row["online_seconds"] for row in keys])
        yield from self._availability("batch", self._batch(keys), [row["batch_seconds"] for row in keys])
        yield from self._device_hours(keys, busy_seconds)

    def _availability(
        self, consumer: str, predicted: Floats, measured: Sequence[float | None]
    ) -> Iterator[Comparison]:
        known = np.array([value for value in measured if value is not None])
        for name, share in (("median", 0.5), ("p95", 0.95)):
            values = (float(np.quantile(predicted, share)), float(np.quantile(known, share)))
            yield Comparison(
                self._arm, f"{consumer} availability, {name}", "s", *values, AVAILABILITY_TOLERANCE
            )

    def _online(self, keys: Rows) -> tuple[Floats, float]:
        """Latencies of the other run's keys, and busy device seconds."""
        before, rest = self._path_around_device()
        scheduled = np.array([row["scheduled"] for row in keys])
        drawn = self._alike(scheduled)
        waits_from = scheduled + before[drawn]
        done, busy = self._through_devices(waits_from)
        return done - scheduled + rest[drawn], busy * self._share

    def _alike(self, scheduled: Floats) -> npt.NDArray[np.int64]:
        """For each arrival an image of the fitted run that came into the same crowd.

        The path around the device shares the machine's cores, so it takes longer when images come close to
        each other. Where the other run is more crowded than the fitted one ever was, the most crowded images
        stand in: fit on the busier run.
        """
        known = _crowd(np.array([row["scheduled"] for row in self._computed]))
        wanted = np.minimum(_crowd(scheduled), known.max())
        drawn = np.empty(scheduled.size, np.int64)
        for size in np.unique(wanted):
            # At least a few candidates: the nearest crowds, by size.
            by_distance = np.argsort(np.abs(known - size), kind="stable")
            nearest = np.abs(known - size)[by_distance[:FEWEST_ALIKE][-1]]
            candidates = np.flatnonzero(np.abs(known - size) <= nearest)
            mine = np.flatnonzero(wanted == size)
            drawn[mine] = self._random.choice(candidates, mine.size)
        return drawn

    def _path_around_device(self) -> tuple[Floats, Floats]:
        """Of each image of the fitted run: seconds before it waits for a device, and all that the queue model
        doesn't explain after it, so that the two stay together."""
        rows = self._computed
        waits_from = np.array([row["scheduled"] + row["before_seconds"] for row in rows])
        modelled, _ = self._through_devices(waits_from)
        available = np.array([row["scheduled"] + row["online_seconds"] for row in rows])
        return np.array([row["before_seconds"] for row in rows]), available - modelled

    def _through_devices(self, waits_from: Floats) -> tuple[Floats, float]:
        """When each image's outputs are here, and busy seconds. In both arms all devices serve one queue."""
        done = np.empty_like(waits_from)
        order = np.argsort(waits_from, kind="stable")
        served = serve(waits_from[order], self._service, self._devices)
        done[order] = served.departures
        return done, served.busy_seconds

    def _batch(self, keys: Rows) -> Floats:
        """From the schedule to the table: until midnight, then a night's fixed part and its images."""
        known = {(night["replicate"], night["day"]): night["work_seconds"] for night in self._nights}
        fixed: dict[int, list[float]] = {}
        for row in self._fitted.of(self._arm):
            if row["after_midnight_seconds"] is not None:
                work = known.get((row["replicate"], row["day"]), 0.0)
                fixed.setdefault(row["day"], []).append(row["after_midnight_seconds"] - work)
        if not fixed:
            raise ConfigurationError(f"arm {self._arm} of the fitted run made no table: nothing to fit")
        # The n-th night is like the n-th night of the fitted run: the first one creates the table.
        nights = {day: np.array(values) for day, values in fixed.items()}
        last, work_seconds = max(nights), self._predicted_work(keys)
        predicted = []
        for row in keys:
            night = nights.get(row["day"], nights[last])
            after = float(self._random.choice(night)) + work_seconds[row["replicate"], row["day"]]
            predicted.append(row["midnight"] - row["scheduled"] + after)
        return np.array(predicted)

    def _predicted_work(self, keys: Rows) -> dict[tuple[int, int], float]:
        """Seconds of each night that grow with its images, by replicate and day: 0 for an architecture that
        computes none at night."""
        images = Counter((row["replicate"], row["day"]) for row in keys)
        nights = self._nights
        if not nights:
            return dict.fromkeys(images, 0.0)
        per_image = sum(n["work_seconds"] * n["devices"] for n in nights) / sum(n["images"] for n in nights)
        devices = np.zeros(nights[0]["devices"])
        return {night: shared_finish_seconds(devices, count * per_image) for night, count in images.items()}

    def _device_hours(self, keys: Rows, busy_seconds: float) -> Iterator[Comparison]:
        measured = [row for row in self._other.pools if row["arm"] == self._arm]
        days = {(r["replicate"], r["day"]): r["midnight"] - r["day_start"] for r in keys}
        always_on = self._devices * sum(days.values())
        nights, at_night = self._nights, 0.0
        if nights:
            # What a device is held for beyond its work: provisioning, and the end of the night's pool.
            fixed = np.mean([n["held_seconds"] / n["devices"] - n["work_seconds"] for n in nights])
            for work in self._predicted_work(keys).values():
                at_night += nights[0]["devices"] * (float(fixed) + work)

        def measured_seconds(column: str, *, live: bool | None = None) -> float:
            rows = [row for row in measured if live is None or (row["pool"] in LIVE_POOLS) == live]
            return 3600 * float(sum(row[column] or 0.0 for row in rows))

        def part(figure: str, predicted: float, value: float) -> Comparison:
            return Comparison(self._arm, figure, "device s", predicted, value, None)

        held, figure = always_on + at_night, "device time held, all pools"
        yield Comparison(
            self._arm, figure, "device s", held, measured_seconds("allocated_hours"), DEVICE_HOURS_TOLERANCE
        )
        yield part("  of it always-on pool", always_on, measured_seconds("allocated_hours", live=True))
        if nights:
            yield part("  of it nightly pool", at_night, measured_seconds("allocated_hours", live=False))
        yield part("  in batches, always-on pool", busy_seconds, measured_seconds("busy_hours", live=True))


def _crowd(scheduled: Floats) -> npt.NDArray[np.int64]:
    """How many images were scheduled in the ``CROWD_SECONDS`` before each, itself included; sorted input."""
    first = np.searchsorted(scheduled, scheduled - CROWD_SECONDS)
    return np.arange(1, scheduled.size + 1) - first
