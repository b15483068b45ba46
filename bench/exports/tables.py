"""Every table of a run, as CSV and Parquet: the rows of each shipped query, and all metrics."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.exports.escape import csv_cell
from bench.ledger_query import open_ledger
from bench.metrics import measure
from bench.results import FIGURE_QUERIES

Rows = Sequence[Mapping[str, Any]]


def tables(run_dir: Path, result: Mapping[str, Any]) -> Iterator[tuple[str, Rows]]:
    """(name, rows) of each table; the rows of a query as it gives them."""
    yield "metrics", list(metric_rows(result))
    yield "cost", list(cost_rows(result))
    yield "availability", list(availability_rows(result))
    with open_ledger(run_dir) as ledger:
        for name in FIGURE_QUERIES:
            yield name, ledger.rows(name)


def metric_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row per metric and replicate; ``replicate`` is null for the run as a whole."""
    for metric in measure(result):
        for replicate, reading in [(None, metric.reading), *metric.replicates.items()]:
            yield {
                "run_id": str(result["run_id"]),
                "run_is_valid": bool(result["validity"]["valid"]),
                "metric": metric.id,
                "replicate": replicate,
                "value": None if reading.value is None else float(reading.value),
                "unit": str(metric.definition.unit),
                "reason": reading.reason,
                "direction": str(metric.definition.direction),
                "tag": metric.definition.tag,
                "query": metric.definition.query,
                "place": metric.where,
            }


def cost_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row per arm and priced line, over the whole run: quantity, price and cost."""
    for arm, content in result["arms"].items():
        for line in content["cost"]["lines"]:
            facts = {name: value for name, value in line.items() if not isinstance(value, dict)}
            prices = {"unit_price_usd": line["price"]["unit_price_usd"], "cost_usd": line["cost"]["cost_usd"]}
            yield {"arm": arm, "price_book": content["cost"]["price_book"], **facts, **prices}


def availability_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row per point of the availability curves; none of a result that was written without them."""
    for series in result.get("charts", {}).get("availability", {}).get("series", []):
        none = [None] * len(series["seconds"])
        columns = (series["seconds"], series["share"], series["low"] or none, series["high"] or none)
        for seconds, share, low, high in zip(*columns, strict=True):
            of_curve = {"arm": series["arm"], "consumer": series["consumer"]}
            yield {**of_curve, "seconds": seconds, "share": share, "low": low, "high": high}


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """UTF-8 with a header. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    listed = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if listed:
            writer.writerow(listed[0])
        writer.writerows([_cell(value) for value in row.values()] for row in listed)
    return path


def write_parquet(rows: Rows, path: Path) -> Path:
    """The rows with their types; text is kept as it is."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path, compression="zstd")
    return path


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, bool | int | float):
        return str(value)
    return csv_cell(orjson.dumps(value, default=str).decode())
