"""A result as files of other tools: pytest-benchmark, github-action-benchmark, Bencher, Otava."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.exports.escape import csv_cell
from bench.metrics import Direction, Measurement, Unit, measure

_IN_SECONDS = {Unit.SECONDS: 1.0, Unit.SECONDS_PER_IMAGE: 1.0, Unit.HOURS: 3600.0}


def github_action_benchmark(result: Mapping[str, Any], direction: Direction) -> list[dict[str, Any]]:
    """The array of ``customSmallerIsBetter`` or ``customBiggerIsBetter``, of what was measured."""
    entries = []
    for metric in measure(result):
        if metric.definition.direction is not direction or metric.value is None:
            continue
        values = _replicate_values(metric)
        entry = {"name": metric.id, "value": _median(metric), "unit": str(metric.definition.unit)}
        if len(values) > 1:
            entry["range"] = f"± {(max(values) - min(values)) / 2:.4g}"
        entries.append({**entry, "extra": metric.definition.definition})
    return entries


def bencher_metric_format(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: the arm and part is the benchmark, the last part of the name its measure."""
    report: dict[str, dict[str, dict[str, float]]] = {}
    for metric in measure(result):
        if metric.value is None:
            continue
        benchmark, _, measure_name = metric.id.rpartition(".")
        values = _replicate_values(metric)
        entry = {"value": float(_median(metric))}
        if len(values) > 1:
            entry |= {"lower_value": float(min(values)), "upper_value": float(max(values))}
        report.setdefault(benchmark or "run", {})[measure_name] = entry
    return report


def otava_csv(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of a CSV for Apache Otava, header first: ``time``, the attributes, then one column per metric.

    One row per run, in order of time. A figure that was not measured is an empty cell.
    """
    rows = sorted(results, key=lambda result: str(result["provenance"]["started"]))
    measured = [{metric.id: metric for metric in measure(result)} for result in rows]
    columns = list(dict.fromkeys(metric_id for metrics in measured for metric_id in metrics))
    header = ["time", "run_id", "commit", *columns]
    return [
        header,
        *(_otava_row(result, metrics, columns) for result, metrics in zip(rows, measured, strict=True)),
    ]


def pytest_benchmark(result: Mapping[str, Any]) -> dict[str, Any]:
    """The file that pytest-benchmark stores: every time as a benchmark whose rounds are the replicates.

    Hours are given in seconds, as that tool knows no other unit.
    """
    origin = result["provenance"]
    machine, commit = origin.get("machine") or {}, origin.get("commit") or {}
    benchmarks = []
    for metric in measure(result):
        factor = _IN_SECONDS.get(metric.definition.unit)
        if factor is None or metric.value is None:
            continue
        values = [factor * value for value in _replicate_values(metric)] or [factor * metric.value]
        benchmarks.append(_benchmark(metric, values))
    return {
        "machine_info": {
            "node": "",
            "processor": str(machine.get("cpu")),
            "machine": platform.machine(),
            "python_version": str(machine.get("python")),
            "system": str(machine.get("platform")),
            "cpu": {"brand_raw": str(machine.get("cpu")), "count": machine.get("cores")},
        },
        "commit_info": {
            "id": commit.get("sha") or "unknown",
            "time": origin.get("started"),
            "dirty": bool(commit.get("dirty")),
            "project": "lkbench",
            "branch": "(unknown)",
        },
        "benchmarks": benchmarks,
        "datetime": origin.get("started"),
        "version": "5.1.0",
    }


def _benchmark(metric: Measurement, values: Sequence[float]) -> dict[str, Any]:
    return {
        "group": metric.arm,
        "name": metric.id,
        "fullname": f"lkbench::{metric.id}",
        "params": None,
        "param": None,
        "extra_info": {"unit": "s", "definition": metric.definition.definition},
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": len(values),
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": False,
        },
        "stats": _stats(np.sort(np.asarray(values))),
    }


def _stats(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    mean, iqr = float(values.mean()), q3 - q1
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    low, high = q1 - 1.5 * iqr, q3 + 1.5 * iqr
    outside = int(np.sum((values < low) | (values > high)))
    far = int(np.sum(np.abs(values - mean) > deviation))
    inside = values[(values >= low) & (values <= high)]
    return {
        "min": float(values[0]),
        "max": float(values[-1]),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(values),
        "median": median,
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": float(inside[0]),
        "hd15iqr": float(inside[-1]),
        "ops": 1 / mean if mean > 0 else 0.0,
        "total": float(values.sum()),
        "iterations": 1,
        "data": [float(value) for value in values],
    }


def _otava_row(
    result: Mapping[str, Any], metrics: Mapping[str, Measurement], columns: Iterable[str]
) -> list[str]:
    origin = result["provenance"]
    found = [_median(metrics[name]) if name in metrics else None for name in columns]
    cells = [
        csv_cell(str(text)) for text in (result["run_id"], (origin.get("commit") or {}).get("sha") or "")
    ]
    return [str(origin["started"]), *cells, *("" if value is None else repr(value) for value in found)]


def _median(metric: Measurement) -> Any:
    """Of the replicates, as in a comparison: a count of the run is the sum of theirs, beyond their range."""
    values = _replicate_values(metric)
    return statistics.median(values) if len(values) > 1 else metric.value


def _replicate_values(metric: Measurement) -> list[float]:
    values = (reading.value for reading in metric.replicates.values())
    return [float(value) for value in values if value is not None and math.isfinite(value)]
