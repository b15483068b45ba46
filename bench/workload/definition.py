"""What a workload is: a TOML file, each key of it checked. ``docs/workloads.md`` describes them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from bench.definitions import definition_file, definition_names
from signals.catalog import Catalog, shipped_catalog
from signals.errors import ConfigurationError

PROCESSES = ("poisson", "constant", "trace")
DISTRIBUTIONS = ("exponential", "uniform", "constant")
UNITS = ("", "s", "ms", "us", "ns")
TIMINGS = ("compressed", "real")
_KINDS = {str: "a string", int: "a whole number", float: "a finite number", dict: "a section"}
# Of [arrivals], for process = "trace".
_TRACE_KEYS = dict.fromkeys(("path", "column", "pipeline_column", "image_column", "unit", "timing"), str)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrival process of a day. Fractions and amplitudes are shares; times are shares of a day."""

    process: str = "poisson"
    diurnal_amplitude: float = 0.0
    bursts_per_day: int = 0
    burst_multiplier: float = 1.0
    burst_day_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class TraceSource:
    """Where a trace is and how to read it. Columns that are "" are not in it.

    ``unit`` is that of a column of numbers, "" to guess. ``timing``: "compressed" scales the whole trace onto
    the run's days, "real" replays it at its own speed.
    """

    path: Path
    column: str
    pipeline_column: str = ""
    image_column: str = ""
    unit: str = ""
    timing: str = "compressed"


@dataclass(frozen=True, slots=True)
class Late:
    """Which share of the arrivals is of events that happened earlier, and by how much of a day on average."""

    share: float = 0.0
    distribution: str = "exponential"
    mean_day_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A named workload: arrivals, shares of repeated and of poison images, share of arrivals by pipeline.

    ``catalog``: file of the pipelines that it is made for; "" if those of the default catalog.
    """

    name: str
    description: str
    arrivals: Arrivals
    repeat_share: float
    mix: dict[str, float]
    poison_share: float = 0.0
    late: Late = Late()
    trace: TraceSource | None = None  # where arrivals.process is "trace"
    catalog: str = ""

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

    def check_against(self, catalog: Catalog, pipelines: Iterable[str] = ()) -> None:
        """Raise ConfigurationError if the mix, or ``pipelines`` of a trace, are not all in the catalog."""
        if unknown := sorted({*self.mix, *pipelines} - set(catalog.pipelines)):
            known = ", ".join(sorted(catalog.pipelines))
            raise ConfigurationError(
                f"workload {self.name}: the catalog has no pipeline {', '.join(unknown)}; it has {known}"
            )


def _parse(path: Path, raw: Mapping[str, Any]) -> Workload:
    kinds = {"description": str, "catalog": str, **dict.fromkeys(("arrivals", "images", "late", "mix"), dict)}
    top = _typed(path, raw, kinds, "")
    arrivals = _typed(path, top.get("arrivals", {}), {**get_type_hints(Arrivals), **_TRACE_KEYS}, "arrivals.")
    images = _typed(path, top.get("images", {}), {"repeat_share": float, "poison_share": float}, "images.")
    mix = top.get("mix", {})
    workload = Workload(
        name=path.stem,
        description=top.get("description", ""),
        arrivals=Arrivals(**{key: value for key, value in arrivals.items() if key not in _TRACE_KEYS}),
        repeat_share=images.get("repeat_share", 0.0),
        mix=_typed(path, mix, dict.fromkeys(mix, float), "mix."),
        poison_share=images.get("poison_share", 0.0),
        late=Late(**_typed(path, top.get("late", {}), get_type_hints(Late), "late.")),
        trace=_trace(path, arrivals),
        catalog=_catalog(path, top.get("catalog", "")),
    )
    for holds, rule in _rules(workload):
        if not holds:
            raise ConfigurationError(f"{path}: {rule}")
    return workload


def _trace(path: Path, arrivals: Mapping[str, Any]) -> TraceSource | None:
    given = {key: value for key, value in arrivals.items() if key in _TRACE_KEYS}
    if arrivals.get("process") != "trace":
        if given:
            raise ConfigurationError(f'{path}: {", ".join(given)} in [arrivals] needs process = "trace"')
        return None
    if missing := [key for key in ("path", "column") if not given.get(key)]:
        raise ConfigurationError(f"{path}: a trace needs {' and '.join(missing)} in [arrivals]")
    if shaping := sorted(set(arrivals) - {"process", *_TRACE_KEYS}):
        raise ConfigurationError(f"{path}: {', '.join(shaping)} in [arrivals]: a trace has its own arrivals")
    return TraceSource(**{**given, "path": path.absolute().parent / Path(given["path"]).expanduser()})


def _catalog(path: Path, name: str) -> str:
    if name.endswith(".toml"):
        return str(path.absolute().parent / Path(name).expanduser())
    return str(shipped_catalog(name)) if name else ""


def _rules(workload: Workload) -> list[tuple[bool, str]]:
    arrivals, late, trace = workload.arrivals, workload.late, workload.trace
    rules = [
        (arrivals.process in PROCESSES, f"arrivals.process is one of {', '.join(PROCESSES)}"),
        (0 <= arrivals.diurnal_amplitude < 1, "arrivals.diurnal_amplitude is in [0, 1)"),
        (arrivals.bursts_per_day >= 0, "arrivals.bursts_per_day is 0 or more"),
        (arrivals.burst_multiplier > 0, "arrivals.burst_multiplier is above 0"),
        (0 <= arrivals.burst_day_fraction <= 1, "arrivals.burst_day_fraction is in [0, 1]"),
        (0 <= workload.repeat_share < 1, "images.repeat_share is in [0, 1)"),
        (0 <= workload.poison_share < 1, "images.poison_share is in [0, 1)"),
        (0 <= late.share <= 1, "late.share is in [0, 1]"),
        (late.distribution in DISTRIBUTIONS, f"late.distribution is one of {', '.join(DISTRIBUTIONS)}"),
        (not late.share or late.mean_day_fraction > 0, "late.mean_day_fraction is above 0"),
        (all(share > 0 for share in workload.mix.values()), "every share in mix is above 0"),
        (trace is None or trace.unit in UNITS, "arrivals.unit is one of s, ms, us, ns"),
        (trace is None or trace.timing in TIMINGS, f"arrivals.timing is one of {', '.join(TIMINGS)}"),
        (
            trace is None or not (trace.image_column and workload.repeat_share),
            "images.repeat_share is what arrivals.image_column says: leave one out",
        ),
    ]
    if trace is not None and trace.pipeline_column:
        return [
            *rules,
            (not workload.mix, "mix is what arrivals.pipeline_column says: leave one out"),
        ]
    return [*rules, (bool(workload.mix), "mix names at least one pipeline")]


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
