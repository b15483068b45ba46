"""``result.json``: every published figure of a run, each from a query of ``bench/sql`` over its ledger.

Units are in the names. Every section says where its figures come from (``source``) and which query made
them. A figure that could not be measured is null, never 0, and ``reasons`` says why under the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.agreement import compare_arms, inventory
from bench.charts import drawn_sections
from bench.cost.pricebook import DEFAULT_BOOK, PriceBook
from bench.cost.section import cost_section
from bench.ledger_query import open_ledger
from bench.manifest import read_manifest
from bench.provenance import provenance
from bench.resources.section import resources_section
from bench.result_section import MEASURED, Rows, add_figure, section
from bench.statistics.availability import curves_of
from bench.statistics.steady_state import steady_state
from bench.validity import judge
from signals.whole_file import replace_file

SCHEMA_VERSION = 2
CONSUMERS = ("online", "batch", "online_repeat")


def write_result(run_dir: Path) -> dict[str, Any]:
    """Compute the result of a sealed run, write it as ``result.json``, and return it.

    Raises ConfigurationError if the run has no sealed ledger.
    """
    result = compute_result(run_dir)
    replace_file(run_dir / "result.json", orjson.dumps(result, option=orjson.OPT_INDENT_2))
    return result


def compute_result(run_dir: Path) -> dict[str, Any]:
    """The content of ``result.json``, from the run folder alone."""
    manifest = read_manifest(run_dir)
    names = list(manifest.get("arms") or [])
    queries = _Queries(run_dir)
    names += sorted(queries.arms() - set(names))
    replicates = sorted(queries.replicates() | set(range(1, int(manifest.get("replicates") or 0) + 1)))
    arms = {name: _arm(run_dir, name, replicates, queries) for name in names}
    steady, prices = steady_state(queries["steady_state"]), PriceBook.load(DEFAULT_BOOK)
    for name, content in arms.items():
        content["steady_state"] = section("steady_state", series=steady.get(name, []))
        for scope in (content, *content["replicates"].values()):
            scope["cost"] = cost_section(scope, prices)
    agreement = {"source": MEASURED, **compare_arms(run_dir, names, replicates)}
    machine = queries["machine"][0]
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": manifest.get("run_id", run_dir.name),
        "day_seconds": manifest.get("day_seconds"),
        "compression": manifest.get("compression"),
        "provenance": provenance(manifest),
        "validity": judge(
            manifest,
            arms=arms,
            agreement=agreement,
            conditions={row["arm"]: row for row in queries["conditions"]},
            machine=machine,
        ),
        "machine": section("machine", **machine, reasons=_unsampled(machine)),
        "arms": arms,
        "agreement": agreement,
        **drawn_sections(queries.__getitem__, queries.curves),
    }


FIGURE_QUERIES = (
    "latency",
    "device_hours",
    "throughput",
    "completeness",
    "dead_letters",
    "retries",
    "restarts",
    "recomputed",
    "nightly_steps",
    "conditions",
    "steady_state",
    "machine",
    "resources",
    "gpu",
    "percentile_curve",
    "over_time",
    "lives",
    "stage_parts",
    "parts_check",
)  # of bench/sql, each run once for a result; those that need the parts of waits come last


class _Queries:
    """Rows of each shipped query, run once, and the availability curves."""

    def __init__(self, run_dir: Path) -> None:
        with open_ledger(run_dir) as query:
            self.curves = curves_of(query)
            self._rows = {name: query.rows(name) for name in FIGURE_QUERIES}

    def __getitem__(self, name: str) -> Rows:
        return self._rows[name]

    def of(self, name: str, arm: str) -> list[dict[str, Any]]:
        """Rows of one arm, without the column that names it."""
        return [_without(row, "arm") for row in self._rows[name] if row["arm"] == arm]

    def arms(self) -> set[str]:
        """Arms that arrivals were offered to."""
        return {row["arm"] for row in self._rows["completeness"]}

    def replicates(self) -> set[int]:
        """Replicates that arrivals were offered to."""
        found = {row["replicate"] for row in self._rows["completeness"]}
        return {int(replicate) for replicate in found if replicate is not None}


def _arm(run_dir: Path, arm: str, replicates: Sequence[int], queries: _Queries) -> dict[str, Any]:
    held = {replicate: inventory(run_dir, arm, replicate) for replicate in replicates}
    return {
        **_scope(arm, None, queries, list(held.values())),
        "dead_letters": section("dead_letters", rows=queries.of("dead_letters", arm)),
        "parts_check": section("parts_check", rows=queries.of("parts_check", arm)),
        "nightly_steps": section("nightly_steps", rows=queries.of("nightly_steps", arm)),
        "replicates": {
            str(replicate): _scope(arm, replicate, queries, [held[replicate]]) for replicate in replicates
        },
    }


def _scope(
    arm: str, replicate: int | None, queries: _Queries, held: Iterable[Mapping[str, Any] | None]
) -> dict[str, Any]:
    """The sections that exist for an arm as a whole (``replicate`` None) and for each replicate."""

    def of(name: str) -> list[dict[str, Any]]:
        rows = (row for row in queries.of(name, arm) if row["replicate"] == replicate)
        return [_without(row, "replicate") for row in rows]

    completeness, recomputed = of("completeness"), of("recomputed")
    retries, restarts = of("retries"), of("restarts")
    pools = [_pool(row) for row in of("device_hours")]
    complete = _completeness(completeness[0] if completeness else {}, held)
    return {
        "latency": section("latency", **_latency(of("latency"))),
        "device_hours": section("device_hours", pools=pools),
        "images_per_second": section("throughput", **_throughput(of("throughput"))),
        "completeness": complete,
        "resources": resources_section(of("resources"), signals=complete["signals"]),
        "gpu": section("gpu", rows=of("gpu")),
        "retries": section("retries", total=sum(row["retries"] for row in retries), rows=retries),
        "restarts": section("restarts", total=sum(row["restarts"] for row in restarts), rows=restarts),
        "recomputed": section("recomputed", **(recomputed[0] if recomputed else {})),
        "stage_parts": section("stage_parts", rows=of("stage_parts")),
    }


def _latency(rows: Rows) -> dict[str, Any]:
    consumers: dict[str, dict[str, Any]] = {}
    for row in rows:
        new = {
            **{"source": MEASURED, "n": row["n"], "lost": row["lost"], "cycles": row["cycles"]},
            **{"interval_unit": row["interval_unit"], "interval_confidence": 0.95, "reasons": {}},
        }
        figures, statistic = consumers.setdefault(row["consumer"], new), row["statistic"]
        add_figure(figures, f"{statistic}_seconds", row["seconds"], row["reason"])
        if statistic != "max":
            for end in ("low", "high"):
                name = f"{statistic}_{end}_seconds"
                add_figure(figures, name, row[f"{end}_seconds"], row["interval_reason"])
    return {name: consumers[name] for name in CONSUMERS if name in consumers}


def _pool(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("allocated_hours", "wasted_hours")
    reasons = {name: "the ledger has no day that ended" for name in names if row[name] is None}
    return {**row, "source": MEASURED, "reasons": reasons}


def _throughput(rows: Rows) -> dict[str, Any]:
    row = rows[0] if rows else {}
    no_day, no_night = "the ledger has no day that ended", "no inference on the nightly path"
    figures: dict[str, Any] = {"reasons": {}}
    add_figure(figures, "offered_per_second", row.get("offered_per_second"), no_day)
    add_figure(figures, "sustained_per_second", row.get("sustained_per_second"), no_day)
    add_figure(figures, "nightly_inference_per_second", row.get("nightly_per_second"), no_night)
    return figures


def _completeness(row: Mapping[str, Any], held: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """``lost`` and ``duplicated`` sum up what a run must not have; None where it could not be counted."""
    signals = _held_signals(held)
    lost = row["lost_arrivals"] + row["lost_keys"] if row else None
    return section("completeness", **row, **signals, lost=lost, duplicated=signals["duplicated_signals"])


def _held_signals(held: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    names = ("signals", "duplicated_signals", "image_keys", "partitions")
    known = [inventory for inventory in held if inventory is not None]
    if not known:
        return {**dict.fromkeys(names), "reasons": dict.fromkeys(names, "no Hive partition was recorded")}
    return {name: sum(inventory[name] for inventory in known) for name in names}


def _unsampled(machine: Mapping[str, Any]) -> dict[str, str]:
    return {name: "the machine was not sampled" for name, value in machine.items() if value is None}


def _without(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != column}
