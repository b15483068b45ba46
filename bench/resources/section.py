"""Result section ``resources``: everything that was counted, and the few figures that people compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_OF_THE_ARCHITECTURE = ("harness", "consumer", "other")  # generator and clients of the benchmark
NOT_COUNTED = "the run has no ledger/resources.parquet"
NONE_COUNTED = "no process of the arm counted any"
S3_REQUESTS = ("s3_get", "s3_put", "s3_list", "s3_other")
STORED = ("parquet_stored", "rockstore_stored", "s3_stored")

Rows = Sequence[Mapping[str, Any]]


def resources_section(rows: Rows, *, signals: int | None) -> dict[str, Any]:
    """``rows`` of the query ``resources`` for one arm, over all replicates; ``signals`` that it holds."""
    of_arm = [row for row in rows if row["stage"] not in NOT_OF_THE_ARCHITECTURE]
    figures: dict[str, Any] = {"reasons": {}}
    reason = NONE_COUNTED if rows else NOT_COUNTED
    _add(figures, "cpu_seconds_per_image", _per_image(of_arm, ("cpu",)), reason)
    _add(figures, "s3_requests_per_image", _per_image(rows, S3_REQUESTS), reason)
    _add(figures, "kafka_messages_per_image", _per_image(rows, ("kafka_produced",)), reason)
    _add(figures, "rpc_calls_per_image", _per_image(of_arm, ("rpc_gss", "rpc_inference")), reason)
    stored = [row["value"] for row in rows if row["resource"] in STORED]
    per_signal = sum(stored) / signals if stored and signals else None
    _add(figures, "bytes_stored_per_signal", per_signal, reason)
    return {"source": "measured", "query": "resources", **figures, "rows": [dict(row) for row in rows]}


def _per_image(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> float | None:
    found = [row["value_per_image"] for row in rows if row["resource"] in names]
    return sum(found) if found and None not in found else None


def _add(figures: dict[str, Any], name: str, value: float | None, reason: str) -> None:
    figures[name] = value
    if value is None:
        figures["reasons"][name] = reason
