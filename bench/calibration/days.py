"""Compressed days as observations: what each run folder says that its days took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.calibration.fit import Fit, fit_constant, fit_line
from bench.compare import alike
from bench.compare.sides import StoredRun
from bench.ledger_query import open_ledger, sql_text
from bench.manifest import read_manifest

FULL_DAY_SECONDS = 86_400.0
# The size of a day, what follows from it, and what a fit of each arm by itself does not depend on.
MAY_DIFFER = frozenset(
    {
        *("seconds per day", "days", "seed", "schedule of arrivals", "arrivals", "distinct images"),
        *("arms", "profile"),
    }
)


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """One thing that is measured of each day: a step, a stage summed over its images, a consumer's median."""

    arm: str
    kind: str  # step, stage, consumer
    path: str
    name: str

    @property
    def grows(self) -> bool:
        """Whether it has a per-image part. The online median belongs to the rate, which days share."""
        return (self.kind, self.name) != ("consumer", "online")

    def __str__(self) -> str:
        names = {"step": self.name, "stage": f"{self.path} {self.name}", "consumer": f"{self.name} median"}
        return names[self.kind]


@dataclass(frozen=True, slots=True)
class Day:
    """One quantity of one day. ``known_seconds`` follows from the schedule and is no part of ``seconds``."""

    quantity: Quantity
    day_seconds: float
    images: int
    seconds: float
    known_seconds: float

    @property
    def measured(self) -> float:
        """What was measured, the known part included."""
        return self.seconds + self.known_seconds


def require_alike(runs: Sequence[StoredRun]) -> None:
    """Raise InvalidRun if any run is INVALID, and UnlikeRuns if two differ in what all days must share.

    A line through days of different rates, models or machines says nothing about any of them.
    """
    alike.require_alike(runs, to_be="fitted together", may_differ=MAY_DIFFER)


def observe(run_dir: Path) -> list[Day]:
    """All quantities of all days of a sealed run."""
    day_seconds = float(read_manifest(run_dir)["day_seconds"])
    with open_ledger(run_dir) as query:
        rows = query.execute(sql_text("calibration"))
    return [
        Day(
            Quantity(row["arm"], row["kind"], row["path"], row["name"]),
            day_seconds,
            int(row["images"]),
            float(row["seconds"]),
            float(row["known_seconds"]),
        )
        for row in rows
    ]


def fit_all(days: Iterable[Day]) -> dict[Quantity, Fit]:
    """The fixed and per-image part of each quantity.

    Raises ConfigurationError if there are too few days or sizes of one.
    """
    by_quantity: dict[Quantity, list[Day]] = defaultdict(list)
    for day in days:
        by_quantity[day.quantity].append(day)
    fits = {}
    for quantity, found in sorted(by_quantity.items()):
        images, seconds = [d.images for d in found], [d.seconds for d in found]
        if quantity.grows:
            fits[quantity] = fit_line(images, seconds, sums=quantity.kind == "stage")
        else:
            fits[quantity] = fit_constant(images, seconds)
    return fits
