"""Open-loop schedules: which image arrives when, through which pipeline.

A schedule depends on the workload, the seed and the sizes only, never on the system under test.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from bench.definitions import definition_file, definition_names
from signals.catalog import Catalog
from signals.errors import ConfigurationError

RATE_GRID = 10_000  # points on which the day's rate curve is integrated
_KINDS = {str: "a string", int: "a whole number", float: "a finite number", dict: "a section"}


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrival process of a day. Fractions and amplitudes are shares; times are shares of a day."""

    process: str = "poisson"
    diurnal_amplitude: float = 0.0
    bursts_per_day: int = 0
    burst_multiplier: float = 1.0
    burst_day_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A named workload: arrival process, share of repeated images, share of arrivals by pipeline."""

    name: str
    description: str
    arrivals: Arrivals
    repeat_share: float
    mix: dict[str, float]

    @classmethod
    def load(cls, name_or_path: str) -> Workload:
        """Read a workload that ships with the project, by name, or a TOML file.

        Raises ConfigurationError for an unknown name, a file that can't be read, an unknown key, or a value
        of a wrong type or out of range.
        """
        path = definition_file("workloads", name_or_path)
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} can't be read: {error}") from error
        except ValueError as error:  # TOMLDecodeError, and what int() says of a number with too many digits
            raise ConfigurationError(f"{path}: {error}") from error
        return _parse(path, raw)

    @staticmethod
    def names() -> list[str]:
        """The workloads that ship with the project."""
        return definition_names("workloads")

    def check_against(self, catalog: Catalog) -> None:
        """Raise ConfigurationError if the mix names a pipeline that the catalog lacks."""
        if unknown := sorted(set(self.mix) - set(catalog.pipelines)):
            known = ", ".join(sorted(catalog.pipelines))
            raise ConfigurationError(
                f"workload {self.name}: the catalog has no pipeline {', '.join(unknown)}; it has {known}"
            )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals of a run in order of time. All arrays have one entry per arrival."""

    offset_ns: npt.NDArray[np.int64]  # from the first instant of the arrival's day
    day: npt.NDArray[np.int32]
    image: npt.NDArray[np.int64]  # index into the data set
    pipeline: npt.NDArray[np.int32]  # index into ``pipelines``
    pipelines: tuple[str, ...]
    day_seconds: float

    def __len__(self) -> int:
        return len(self.offset_ns)

    @property
    def days(self) -> int:
        """Number of days."""
        return int(self.day[-1]) + 1 if len(self) else 0

    def of_day(self, day: int) -> range:
        """Positions of the arrivals of ``day``."""
        first, last = np.searchsorted(self.day, [day, day + 1])
        return range(int(first), int(last))


def make_schedule(
    workload: Workload, *, seed: int, distinct_images: int, days: int, day_seconds: float
) -> Schedule:
    """A seeded schedule in which each of ``distinct_images`` images arrives at least once.

    Given its number of arrivals, a (non-homogeneous) Poisson process places them independently with the
    density of its rate curve; so the number is fixed by the images and the share of repeats, and the times
    are drawn. The same arguments give the same schedule, byte for byte.
    """
    if distinct_images < 1:
        raise ConfigurationError("a workload needs at least one image")
    streams = np.random.SeedSequence(seed).spawn(3)
    times, repeats, mix = (np.random.default_rng(stream) for stream in streams)
    count = max(distinct_images, round(distinct_images / (1.0 - workload.repeat_share)))

    # Split over the days as evenly as whole arrivals allow: days of a run are meant to be comparable.
    per_day = np.full(days, count // days)
    per_day[: count % days] += 1
    offsets = [_day_offsets(workload.arrivals, times, int(n), day_seconds) for n in per_day]
    image = _image_order(repeats, count, distinct_images)
    names = tuple(sorted(workload.mix))
    shares = np.array([workload.mix[name] for name in names])
    return Schedule(
        offset_ns=np.concatenate(offsets),
        day=np.repeat(np.arange(days, dtype=np.int32), per_day),
        image=image,
        pipeline=mix.choice(len(names), size=count, p=shares / shares.sum()).astype(np.int32),
        pipelines=names,
        day_seconds=day_seconds,
    )


def rate_curve(arrivals: Arrivals, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Relative rate at day fractions ``at`` (float64, in [0, 1)); its mean over the day is not normalised."""
    rate = 1.0 + arrivals.diurnal_amplitude * np.sin(2 * np.pi * (at - 0.25))
    for burst in range(arrivals.bursts_per_day):
        start = (burst + 0.5) / arrivals.bursts_per_day
        rate[(at >= start) & (at < start + arrivals.burst_day_fraction)] *= arrivals.burst_multiplier
    return rate


def _day_offsets(
    arrivals: Arrivals, times: np.random.Generator, count: int, day_seconds: float
) -> npt.NDArray[np.int64]:
    # Evenly spaced quantiles for a constant process, uniform ones for a Poisson process; both are then
    # pushed through the inverse of the cumulative rate.
    constant = arrivals.process == "constant"
    quantile = (np.arange(count) + 0.5) / max(count, 1) if constant else np.sort(times.random(count))
    edges = np.linspace(0.0, 1.0, RATE_GRID + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(rate_curve(arrivals, edges[:-1]))])
    fraction = np.interp(quantile, cumulative / cumulative[-1], edges)
    return np.sort((fraction * day_seconds * 1e9).astype(np.int64))


def _image_order(repeats: np.random.Generator, count: int, distinct: int) -> npt.NDArray[np.int64]:
    # The first arrival is new; which of the others are repeats is drawn; a repeat shows any earlier image.
    is_new = np.zeros(count, dtype=bool)
    is_new[0] = True
    is_new[1 + repeats.permutation(count - 1)[: distinct - 1]] = True
    seen = np.cumsum(is_new)
    earlier = (repeats.random(count) * np.maximum(seen, 1)).astype(np.int64)
    order = repeats.permutation(distinct)
    return order[np.where(is_new, seen - 1, np.minimum(earlier, seen - 1))].astype(np.int64)


def _parse(path: Path, raw: Mapping[str, Any]) -> Workload:
    top = _typed(path, raw, {"description": str, "arrivals": dict, "images": dict, "mix": dict}, "")
    images = _typed(path, top.get("images", {}), {"repeat_share": float}, "images.")
    mix = top.get("mix", {})
    workload = Workload(
        name=path.stem,
        description=top.get("description", ""),
        arrivals=Arrivals(**_typed(path, top.get("arrivals", {}), get_type_hints(Arrivals), "arrivals.")),
        repeat_share=images.get("repeat_share", 0.0),
        mix=_typed(path, mix, dict.fromkeys(mix, float), "mix."),
    )
    checks = [
        (workload.arrivals.process in ("poisson", "constant"), "arrivals.process is poisson or constant"),
        (0 <= workload.arrivals.diurnal_amplitude < 1, "arrivals.diurnal_amplitude is in [0, 1)"),
        (workload.arrivals.bursts_per_day >= 0, "arrivals.bursts_per_day is 0 or more"),
        (workload.arrivals.burst_multiplier > 0, "arrivals.burst_multiplier is above 0"),
        (0 <= workload.arrivals.burst_day_fraction <= 1, "arrivals.burst_day_fraction is in [0, 1]"),
        (0 <= workload.repeat_share < 1, "images.repeat_share is in [0, 1)"),
        (bool(workload.mix), "mix names at least one pipeline"),
        (all(share > 0 for share in workload.mix.values()), "every share in mix is above 0"),
    ]
    for holds, rule in checks:
        if not holds:
            raise ConfigurationError(f"{path}: {rule}")
    return workload


def _typed(path: Path, raw: Mapping[str, Any], types: Mapping[str, type], prefix: str) -> dict[str, Any]:
    """The values of a table, whole numbers as float where ``types`` says so. Raises ConfigurationError."""
    if unknown := sorted(set(raw) - set(types)):
        names = ", ".join(prefix + name for name in unknown)
        raise ConfigurationError(f"{path}: unknown key {names}; known here: {', '.join(sorted(types))}")
    values: dict[str, Any] = {}
    for name, value in raw.items():
        kind = types[name]
        try:
            values[name] = float(value) if kind is float and type(value) is int else value
        except OverflowError:  # TOML's whole numbers have no upper bound
            values[name] = math.inf
        fits = type(values[name]) is kind
        if not fits or (kind is float and not math.isfinite(values[name])):
            raise ConfigurationError(f"{path}: {prefix}{name} must be {_KINDS[kind]}, not {value!r}")
    return values
