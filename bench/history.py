"""What a folder of runs says over time: every metric from run to run, and where it seems to have shifted.

Only VALID runs count; runs that :mod:`bench.compare.alike` would not compare, or that have another number of
replicates, stand in groups of their own.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.change_point import MIN_VALUES, best_split, fewest_values
from bench.compare.alike import differences
from bench.compare.sides import StoredRun
from bench.manifest import read_manifest
from bench.metrics import Definition, Direction, Measurement
from signals.errors import ConfigurationError

ALPHA = 0.01  # for all series of a history together: Bonferroni


@dataclass(frozen=True, slots=True)
class HistoryRun:
    """One run; ``number`` counts from 1 in its group."""

    number: int
    stored: StoredRun
    tags: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        """Whether its figures count."""
        return self.stored.is_valid

    @property
    def broken(self) -> list[str]:
        """The rules of validity that it broke."""
        return [str(rule["id"]) for rule in self.stored.broken_rules]

    @property
    def started(self) -> str:
        """When it started, ISO 8601."""
        return _started(self.stored)

    @property
    def commit(self) -> str:
        """Commit of the code, or an empty text for a run from no checkout."""
        found = self.stored.result["provenance"].get("commit") or {}
        return f"{found.get('sha') or ''}{' (dirty)' if found.get('dirty') else ''}"


@dataclass(frozen=True, slots=True)
class Change:
    """A shift between VALID runs; ``run`` is the number of the first one after it.

    ``before`` and ``after`` are medians; ``p_value`` is corrected for the number of series.
    """

    run: int
    before: float
    after: float
    p_value: float
    verdict: str  # better, worse, or changed where neither direction is better


@dataclass(frozen=True, slots=True)
class Trend:
    """One metric of one arm: a value per run of its group, None where it was not measured."""

    id: str
    arm: str | None  # None: of the runs as a whole
    values: tuple[float | None, ...]
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """The same metric of all arms. ``name`` is the metric's id without the arm."""

    name: str
    label: str
    definition: Definition
    trends: tuple[Trend, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in the code and nothing else, in order of time; ``unlike``: from the first group."""

    runs: tuple[HistoryRun, ...]
    arms: tuple[str, ...]
    charts: tuple[Chart, ...]
    unlike: tuple[str, ...]

    def changes(self) -> list[tuple[Trend, Change]]:
        """Every shift that was found, in order of the runs."""
        found = [(t, t.change) for chart in self.charts for t in chart.trends if t.change is not None]
        return sorted(found, key=lambda pair: pair[1].run)


@dataclass(frozen=True, slots=True)
class History:
    """All runs below ``folder``; ``skipped`` holds (folder name, reason) of results that can't be read."""

    folder: Path
    groups: tuple[Group, ...]
    skipped: tuple[tuple[str, str], ...]
    tested_series: int

    @property
    def fewest_runs(self) -> int:
        """VALID runs that it takes before a clean shift in the middle can be seen."""
        return fewest_values(max(1, self.tested_series), ALPHA)


def load_history(folder: Path) -> History:
    """Every run directly below ``folder``. Raises ConfigurationError if it holds no readable result."""
    stored: list[StoredRun] = []
    skipped: list[tuple[str, str]] = []
    for path in sorted(folder.glob("*/result.json")):
        try:
            stored.append(StoredRun.load(path))
        except ConfigurationError as error:
            skipped.append((path.parent.name, str(error)))
    if not stored:
        why = f"; the first of {len(skipped)} that can't be read: {skipped[0][1]}" if skipped else ""
        raise ConfigurationError(
            f"{folder} holds no run with a result: give the folder that holds run folders{why}"
        )
    alike = _alike(sorted(stored, key=lambda run: (_started(run), run.name)))
    first = alike[0][0]
    groups = [_group(runs, tuple(_unlike(first, runs[0]))) for runs in alike]
    tested = sum(_is_tested(group, chart, trend) for group, chart, trend in _trends(groups))
    return History(folder, tuple(_with_changes(group, tested) for group in groups), tuple(skipped), tested)


def _alike(runs: Iterable[StoredRun]) -> list[list[StoredRun]]:
    groups: list[list[StoredRun]] = []
    for run in runs:
        for group in groups:
            if not any(_unlike(group[0], run)):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _unlike(left: StoredRun, right: StoredRun) -> Iterator[str]:
    """What keeps two runs from sharing a chart, one sentence each."""
    yield from differences(left.result, right.result)
    if left.replicates != right.replicates:  # a count of a run is the sum of its replicates'
        yield f"replicates: {left.replicates} and {right.replicates}"


def _group(stored: Sequence[StoredRun], unlike: tuple[str, ...]) -> Group:
    runs = tuple(HistoryRun(number, run, _tags(run)) for number, run in enumerate(stored, start=1))
    known: dict[str, dict[str, Measurement]] = {}  # of each chart: metric id -> where it was seen first
    for run in stored:
        for metric_id, found in run.metrics.items():
            name = metric_id.removeprefix(f"{found.arm}.") if found.arm else metric_id
            known.setdefault(name, {}).setdefault(metric_id, found)
    charts = []
    for name, metrics in known.items():
        trends = tuple(Trend(found.id, found.arm, _values(stored, found.id)) for found in metrics.values())
        if sum(any(t.values[i] is not None for t in trends) for i in range(len(stored))) >= 2:
            some = next(iter(metrics.values()))
            charts.append(Chart(name, some.label, some.definition, trends))
    return Group(runs, tuple(stored[0].result["arms"]), tuple(charts), unlike)


def _values(runs: Iterable[StoredRun], metric_id: str) -> tuple[float | None, ...]:
    found = (run.metrics.get(metric_id) for run in runs)
    return tuple(None if m is None or m.value is None else float(m.value) for m in found)


def _trends(groups: Iterable[Group]) -> Iterable[tuple[Group, Chart, Trend]]:
    return ((group, chart, trend) for group in groups for chart in group.charts for trend in chart.trends)


def _counted(group: Group, trend: Trend) -> list[tuple[int, float]]:
    """(run number, value) of the VALID runs that have one."""
    pairs = zip(group.runs, trend.values, strict=True)
    return [(run.number, value) for run, value in pairs if run.is_valid and value is not None]


def _is_tested(group: Group, chart: Chart, trend: Trend) -> bool:
    """Constant series can't have a shift; conditions are not a result."""
    values = [value for _, value in _counted(group, trend)]
    is_result = chart.definition.direction is not Direction.CONTEXT
    return is_result and len(values) >= MIN_VALUES and len(set(values)) > 1


def _with_changes(group: Group, tests: int) -> Group:
    charts = []
    for chart in group.charts:
        trends = tuple(
            replace(trend, change=_change(group, chart, trend, tests))
            if _is_tested(group, chart, trend)
            else trend
            for trend in chart.trends
        )
        charts.append(replace(chart, trends=trends))
    return replace(group, charts=tuple(charts))


def _change(group: Group, chart: Chart, trend: Trend, tests: int) -> Change | None:
    counted = _counted(group, trend)
    values = [value for _, value in counted]
    split = best_split(values)
    if split is None or split.p_value * tests >= ALPHA:
        return None
    before = statistics.median(values[: split.position])
    after = statistics.median(values[split.position :])
    direction = chart.definition.direction
    verdict = "changed"
    if direction in (Direction.SMALLER, Direction.BIGGER):
        verdict = "better" if (after > before) == (direction is Direction.BIGGER) else "worse"
    return Change(counted[split.position][0], before, after, split.p_value * tests, verdict)


def _started(run: StoredRun) -> str:
    return str(run.result["provenance"].get("started") or "")


def _tags(run: StoredRun) -> tuple[str, ...]:
    """Tags of the manifest; a result that was copied without one has none."""
    if not (run.path.parent / "manifest.json").is_file():
        return ()
    return tuple(str(tag) for tag in read_manifest(run.path.parent).get("tags") or ())
