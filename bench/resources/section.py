"""Result section ``resources``: everything that was counted, and the few figures that people compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.result_section import Rows, add_figure, section

NOT_OF_THE_ARCHITECTURE = ("harness", "consumer", "other")  # generator and clients of the benchmark
NOT_COUNTED = "the run has no ledger/resources.parquet"
NONE_COUNTED = "no process of the arm counted any"
S3_REQUESTS = ("s3_get", "s3_put", "s3_list", "s3_other")
STORED = ("parquet_stored", "rockstore_stored", "s3_stored")


def resources_section(rows: Rows, *, signals: int | None) -> dict[str, Any]:
    """``rows`` of the query ``resources`` for one arm, over all replicates; ``signals`` that it holds."""
    of_arm = [row for row in rows if row["stage"] not in NOT_OF_THE_ARCHITECTURE]
    figures: dict[str, Any] = {"reasons": {}}
    reason = NONE_COUNTED if rows else NOT_COUNTED
    add_figure(figures, "cpu_seconds_per_image", _per_image(of_arm, ("cpu",)), reason)
    add_figure(figures, "s3_requests_per_image", _per_image(rows, S3_REQUESTS), reason)
    add_figure(figures, "kafka_messages_per_image", _per_image(rows, ("kafka_produced",)), reason)
    add_figure(figures, "rpc_calls_per_image", _per_image(of_arm, ("rpc_gss", "rpc_inference")), reason)
    stored = [row["value"] for row in rows if row["resource"] in STORED]
    per_signal = sum(stored) / signals if stored and signals else None
    add_figure(figures, "bytes_stored_per_signal", per_signal, reason)
    return section("resources", **figures, rows=[dict(row) for row in rows])


def _per_image(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> float | None:
    found = [row["value_per_image"] for row in rows if row["resource"] in names]
    return sum(found) if found and None not in found else None
