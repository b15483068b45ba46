"""``result.json``: every published figure of a run, each from a query of ``bench/sql`` over its ledger.

A figure is ``{"value", "unit", "source", "reason"}``: a value that could not be measured is null with its
reason, never 0. Sections name the query that they come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.agreement import compare_arms, inventory
from bench.ledger_query import open_ledger
from bench.manifest import read_manifest
from bench.validity import judge

SCHEMA_VERSION = 1
MEASURED = "measured"
Rows = Sequence[Mapping[str, Any]]


def write_result(run_dir: Path) -> dict[str, Any]:
    """Compute the result of a sealed run, write it as ``result.json``, and return it.

    Raises ConfigurationError if the run has no sealed ledger.
    """
    result = compute_result(run_dir)
    path = run_dir / "result.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    temporary.replace(path)
    return result


def compute_result(run_dir: Path) -> dict[str, Any]:
    """The content of ``result.json``, from the run folder alone."""
    manifest = read_manifest(run_dir)
    names = list(manifest.get("arms") or [])
    queries = _Queries(run_dir)
    names += sorted(queries.arms() - set(names))
    replicates = sorted(queries.replicates() | set(range(1, int(manifest.get("replicates") or 0) + 1)))
    arms = {name: _arm(run_dir, name, replicates, queries) for name in names}
    agreement = {"source": MEASURED, **compare_arms(run_dir, names, replicates)}
    conditions = {row["arm"]: row for row in queries["conditions"]}
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": manifest.get("run_id", run_dir.name),
        "day_seconds": manifest.get("day_seconds"),
        "compression": manifest.get("compression"),
        "validity": judge(
            status=str(manifest.get("status")), arms=arms, agreement=agreement, conditions=conditions
        ),
        "arms": arms,
        "agreement": agreement,
    }


class _Queries:
    """Rows of each shipped query, run once."""

    _NAMES = (
        "latency",
        "device_hours",
        "throughput",
        "completeness",
        "dead_letters",
        "retries",
        "restarts",
        "recomputed",
        "stages",
        "nightly_steps",
        "conditions",
    )

    def __init__(self, run_dir: Path) -> None:
        with open_ledger(run_dir) as query:
            self._rows = {name: query.rows(name) for name in self._NAMES}

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
    restarts = queries.of("restarts", arm)
    retries = queries.of("retries", arm)
    recomputed = queries.of("recomputed", arm)
    return {
        **_scope(arm, None, queries, list(held.values())),
        "dead_letters": _section("dead_letters", rows=queries.of("dead_letters", arm)),
        "retries": _section("retries", total=sum(row["retries"] for row in retries), rows=retries),
        "restarts": _section("restarts", total=sum(row["restarts"] for row in restarts), rows=restarts),
        "recomputed": _section("recomputed", **(recomputed[0] if recomputed else {})),
        "stages": _section("stages", rows=queries.of("stages", arm)),
        "nightly_steps": _section("nightly_steps", rows=queries.of("nightly_steps", arm)),
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

    completeness = of("completeness")
    pools = [_pool(row) for row in of("device_hours")]
    return {
        "latency": _section("latency", consumers=_latency(of("latency"))),
        "device_hours": _section("device_hours", pools=pools),
        "images_per_second": _section("throughput", **_throughput(of("throughput"))),
        "completeness": _section(
            "completeness", **(completeness[0] if completeness else {}), **_held_signals(held)
        ),
    }


def _latency(rows: Rows) -> dict[str, Any]:
    consumers: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        consumer = consumers[row["consumer"]]
        consumer["n"], consumer["lost"] = row["n"], row["lost"]
        consumer[row["statistic"]] = _figure(row["seconds"], "s", row["reason"])
    order = ("online", "batch", "online_repeat")
    return {name: consumers[name] for name in order if name in consumers}


def _pool(row: Mapping[str, Any]) -> dict[str, Any]:
    reason = "the ledger has no day that ended" if row["allocated_hours"] is None else None
    return {**row, "source": MEASURED, "reason": reason}


def _throughput(rows: Rows) -> dict[str, Any]:
    row = rows[0] if rows else {}
    no_day = "the ledger has no day that ended"
    return {
        "offered": _figure(row.get("offered_per_second"), "images/s", no_day),
        "sustained": _figure(row.get("sustained_per_second"), "images/s", no_day),
        "nightly_inference": _figure(
            row.get("nightly_per_second"), "images/s", "no inference on the nightly path"
        ),
    }


def _held_signals(held: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    known = [inventory for inventory in held if inventory is not None]
    if not known:
        return {"signals": None, "duplicated_signals": None, "reason": "no Hive partition was recorded"}
    names = ("signals", "duplicated_signals", "image_keys", "partitions")
    return {name: sum(inventory[name] for inventory in known) for name in names}


def _section(query: str, **content: Any) -> dict[str, Any]:
    return {"source": MEASURED, "query": query, **content}


def _figure(value: float | None, unit: str, reason: str | None) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": MEASURED, "reason": reason if value is None else None}


def _without(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != column}
