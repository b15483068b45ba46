"""What a projection is computed from: load, objective, device, coefficients, prices. Nothing is implicit."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

from bench.cost.pricebook import ON_DEMAND, PriceBook
from bench.cost.provenance import Figure, Kind
from signals.errors import ConfigurationError

DAY_SECONDS = 86_400.0
MOST_DEVICES = 1e12  # their counts, and what is summed of them, fit 64 bits


class PoolPolicy(StrEnum):
    """How the pool that serves live traffic is sized."""

    ALWAYS_ON = "always-on"  # for the peak, all day
    AUTOSCALED = "autoscaled"  # follows the day's curve, late by the provisioning time


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One accelerator (or CPU machine): a batch of n images takes overhead + n * per-image seconds."""

    name: str
    instance: str  # a line of the price book
    images_per_second: Figure  # at full batches
    max_batch: int = 1
    batch_overhead_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.images_per_second.value <= 0 or self.max_batch < 1 or self.batch_overhead_seconds < 0:
            raise ConfigurationError(f"device {self.name}: speed and batch are above 0, overhead 0 or more")
        if self.per_image_seconds <= 0:
            raise ConfigurationError(f"device {self.name}: its batch overhead takes all of a batch's time")

    @property
    def per_image_seconds(self) -> float:
        """The part of a batch's time that grows with its images."""
        return 1 / self.images_per_second.value - self.batch_overhead_seconds / self.max_batch

    @classmethod
    def load(cls, name_or_path: str) -> DeviceModel:
        """A model that ships with the project, by name, or a TOML file with the same keys.

        Raises ConfigurationError for an unknown name or key.
        """
        shipped = tomllib.loads((files("bench.cost") / "devices.toml").read_text())
        if name_or_path in shipped:
            return _device(name_or_path, shipped[name_or_path])
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigurationError(
                f"no device model {name_or_path!r}: give a TOML file, or one of {', '.join(sorted(shipped))}"
            )
        return _device(path.stem, _read(path))

    def with_speed(self, images_per_second: float, source: str = "", kind: Kind | None = None) -> DeviceModel:
        """A copy with another speed at full batches; the overhead keeps its share of a batch."""
        old = self.images_per_second
        speed = Figure(images_per_second, old.unit, kind or old.kind, source or old.source)
        overhead = self.batch_overhead_seconds * old.value / images_per_second
        return replace(self, images_per_second=speed, batch_overhead_seconds=overhead)


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Load shape, sizing rules and resource counts per image. See assumptions.toml for what each means."""

    peak_to_mean: Figure
    utilisation_target: Figure
    provisioning_seconds: Figure
    online_overhead_seconds: Figure
    nightly_window_hours: Figure
    nightly_fixed_seconds: Figure
    nightly_cpu_seconds_per_million: Figure
    dump_fixed_seconds: Figure
    dump_cpu_seconds_per_million: Figure
    results_per_put: Figure
    gets_per_image: Figure
    jobs_per_second_per_queue_node: Figure
    messages_per_second_per_broker: Figure
    images_per_second_per_job_node: Figure
    writes_per_second_per_store_node: Figure
    bytes_per_image: Figure
    retention_days: Figure
    signals_per_image: Figure
    upgrades_per_year: Figure
    backfill_window_days: Figure

    @classmethod
    def load(cls, path: str | Path = "") -> Coefficients:
        """The shipped assumptions, with the tables of ``path`` in their place.

        Raises ConfigurationError for an unknown or incomplete table, or a value out of range.
        """
        raw = tomllib.loads((files("bench.cost") / "assumptions.toml").read_text())
        if path:
            own = _read(Path(path))
            if unknown := sorted(set(own) - set(raw)):
                raise ConfigurationError(f"{path}: unknown assumption {', '.join(unknown)}")
            raw |= own
        return cls(**{name: _figure(name, table) for name, table in raw.items()})

    def __post_init__(self) -> None:
        may_be_zero = {"provisioning_seconds", "nightly_fixed_seconds", "dump_fixed_seconds"}
        may_be_zero |= {"online_overhead_seconds", "upgrades_per_year"}
        may_be_zero |= {"nightly_cpu_seconds_per_million", "dump_cpu_seconds_per_million"}
        for entry in fields(self):
            value = getattr(self, entry.name).value
            if not (0 < value < math.inf or (value == 0 and entry.name in may_be_zero)):
                raise ConfigurationError(f"{entry.name} = {value} is out of range")
        if self.peak_to_mean.value < 1:
            raise ConfigurationError("peak_to_mean is 1 or more: a peak is not below the mean")
        if self.utilisation_target.value > 1:
            raise ConfigurationError("utilisation_target is at most 1")

    def with_value(self, name: str, value: float, source: str = "") -> Coefficients:
        """A copy in which ``name`` has another value."""
        old: Figure = getattr(self, name)
        low = None if old.low is None else min(old.low, value)
        high = None if old.high is None else max(old.high, value)
        changed: Any = {name: replace(old, value=value, low=low, high=high, source=source or old.source)}
        return replace(self, **changed)

    def with_band(self, name: str, low: float, high: float, source: str) -> Coefficients:
        """A copy in which ``name`` has another band, and its geometric middle as value."""
        old: Figure = getattr(self, name)
        value = math.sqrt(low * high)
        changed: Any = {name: replace(old, value=value, low=low, high=high, source=source, kind=Kind.ASSUMED)}
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """Everything a projection depends on."""

    images_per_day: float
    device: DeviceModel
    coefficients: Coefficients
    book: PriceBook
    freshness_seconds: float = 60.0  # 95 % of images available to an online consumer within this
    batch_table: bool = True  # whether batch consumers need the Hive table
    pool_policy: PoolPolicy = PoolPolicy.ALWAYS_ON
    min_devices: int = 1
    online_purchase: str = ON_DEMAND
    nightly_purchase: str = ON_DEMAND

    def __post_init__(self) -> None:
        if not self.images_per_day > 0:
            raise ConfigurationError("images per day is above 0")
        if not self.freshness_seconds > 0:
            raise ConfigurationError("the freshness objective is above 0 s")
        if self.min_devices < 1:
            raise ConfigurationError("a pool has at least one device")
        per_device = self.device.images_per_second.value * self.at("utilisation_target")
        peak = self.images_per_day / DAY_SECONDS * self.at("peak_to_mean")
        if peak > MOST_DEVICES * per_device or self.min_devices > MOST_DEVICES:
            raise ConfigurationError(
                f"a pool of more than {MOST_DEVICES:.0e} devices can't be planned: give fewer images per "
                "day, a faster device or a smaller pool"
            )

    @property
    def devices_per_instance(self) -> int:
        """Devices that are rented together; 1 where the instance is not in the book."""
        line = self.book.lines.get(self.device.instance)
        return max(1, line.devices) if line else 1

    def at(self, name: str) -> float:
        """The value of a coefficient."""
        figure: Figure = getattr(self.coefficients, name)
        return figure.value

    def with_coefficient(self, name: str, value: float) -> PlanInputs:
        """A copy in which one coefficient has another value."""
        return replace(self, coefficients=self.coefficients.with_value(name, value))


def _device(name: str, raw: Mapping[str, Any]) -> DeviceModel:
    known = {"instance", "images_per_second", "kind", "source", "max_batch", "batch_overhead_seconds"}
    if unknown := sorted(set(raw) - known):
        raise ConfigurationError(f"device {name}: unknown key {', '.join(unknown)}")
    if absent := sorted({"instance", "images_per_second", "kind", "source"} - set(raw)):
        raise ConfigurationError(f"device {name}: {', '.join(absent)} is absent")
    speed = Figure(float(raw["images_per_second"]), "images/s", _kind(name, raw["kind"]), str(raw["source"]))
    return DeviceModel(
        name=name,
        instance=str(raw["instance"]),
        images_per_second=speed,
        max_batch=int(raw.get("max_batch", 1)),
        batch_overhead_seconds=float(raw.get("batch_overhead_seconds", 0.0)),
    )


def _figure(name: str, raw: Mapping[str, Any]) -> Figure:
    required, optional = {"value", "unit", "kind", "source"}, {"low", "high"}
    if set(raw) - required - optional or required - set(raw):
        raise ConfigurationError(f"assumption {name}: keys are value, unit, kind, source and maybe low, high")
    low, high = raw.get("low"), raw.get("high")
    if (low is not None and low > raw["value"]) or (high is not None and high < raw["value"]):
        raise ConfigurationError(f"assumption {name}: low <= value <= high")
    return Figure(float(raw["value"]), raw["unit"], _kind(name, raw["kind"]), raw["source"], low, high)


def _kind(name: str, text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: kind is one of {', '.join(Kind)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
