"""The formats of ``lkbench export``: each a function that writes its files and returns their paths."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import orjson

from bench.compare.sides import StoredRun
from bench.exports.benchmark_files import (
    bencher_metric_format,
    github_action_benchmark,
    otava_csv,
    pytest_benchmark,
)
from bench.exports.run_markdown import run_markdown
from bench.exports.tables import metric_rows, tables, write_csv, write_parquet
from bench.metrics import Direction
from bench.schema import result_schema
from signals.errors import ConfigurationError

Format = Callable[[StoredRun, Path], list[Path]]


def _markdown(run: StoredRun, folder: Path) -> list[Path]:
    path = folder / "report.md"
    path.write_text(run_markdown(run.result), encoding="utf-8")
    return [path]


def _json(run: StoredRun, folder: Path) -> list[Path]:
    schema = folder / "result.schema.json"
    schema.write_bytes(result_schema())
    return [_write_json(folder / "result.json", run.result), schema]


def _csv(run: StoredRun, folder: Path) -> list[Path]:
    if not _has_ledger(run):
        return [write_csv(metric_rows(run.result), folder / "metrics.csv")]
    return [write_csv(rows, folder / f"{name}.csv") for name, rows in tables(run.path.parent, run.result)]


def _parquet(run: StoredRun, folder: Path) -> list[Path]:
    if not _has_ledger(run):
        return [write_parquet(list(metric_rows(run.result)), folder / "metrics.parquet")]
    named = tables(run.path.parent, run.result)
    return [write_parquet(rows, folder / f"{name}.parquet") for name, rows in named]


def _figures(run: StoredRun, folder: Path) -> list[Path]:
    if not _has_ledger(run):
        raise ConfigurationError(f"{run.path} has no ledger beside it, which figures are drawn from")
    (point,) = entry_points(group="lkbench.reports", name="figure")
    svg: Path = point.load()(run.path.parent)
    return [Path(shutil.copy(svg.with_suffix(end), folder / f"{svg.stem}{end}")) for end in (".svg", ".png")]


def _pytest_benchmark(run: StoredRun, folder: Path) -> list[Path]:
    return [_write_json(folder / "pytest-benchmark.json", pytest_benchmark(run.result))]


def _github(run: StoredRun, folder: Path) -> list[Path]:
    files = {"smaller": Direction.SMALLER, "bigger": Direction.BIGGER}
    found = {name: github_action_benchmark(run.result, direction) for name, direction in files.items()}
    # That tool refuses an empty array.
    return [
        _write_json(folder / f"github-action-benchmark-{name}-is-better.json", entries)
        for name, entries in found.items()
        if entries
    ]


def _bencher(run: StoredRun, folder: Path) -> list[Path]:
    return [_write_json(folder / "bencher.json", bencher_metric_format(run.result))]


def _otava(run: StoredRun, folder: Path) -> list[Path]:
    path = folder / "otava.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(otava_csv([run.result]))
    return [path]


FORMATS: dict[str, Format] = {
    "markdown": _markdown,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "figures": _figures,
    "pytest-benchmark": _pytest_benchmark,
    "github-action-benchmark": _github,
    "bencher": _bencher,
    "otava": _otava,
}


# Of tools that keep a series of figures, or a baseline: what has no verdict there would count as any other.
WITHOUT_VERDICT = frozenset({"pytest-benchmark", "github-action-benchmark", "bencher", "otava"})


def export(run: StoredRun, names: Sequence[str], folder: Path) -> list[Path]:
    """Write the formats ``names`` of a run below ``folder``. Returns the files.

    Raises InvalidRun, and writes nothing, where an INVALID run is to go into a format ``WITHOUT_VERDICT``.
    """
    if WITHOUT_VERDICT.intersection(names):
        run.require_valid()
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name in names for path in FORMATS[name](run, folder)]


def _has_ledger(run: StoredRun) -> bool:
    return (run.path.parent / "ledger" / "events.parquet").is_file()


def _write_json(path: Path, content: Any) -> Path:
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return path
