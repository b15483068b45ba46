"""What a run measures of a projection's inputs, as the TOML that ``lkbench plan`` takes.

Only what one run can tell apart: the device's batch times, the path around the device, bytes, requests. The
rest stays assumed: in one run of a compressed day, a night's fixed work and its work per image look alike,
and a small night has smaller jobs, so more PUTs per image, than a large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

from bench.cost.provenance import Kind
from bench.cost.queues import BatchService
from bench.cost.run_cost import Machine
from bench.ledger_query import LedgerQuery
from signals.errors import ConfigurationError

Rows = Sequence[Mapping[str, Any]]

BATCHES_SQL = """
SELECT batch_size, (end_ns - start_ns) / 1e9 AS seconds FROM events
WHERE stage = 'device_busy' AND batch_size > 0 AND ($pool = '' OR pool = $pool) AND ($arm = '' OR arm = $arm)
ORDER BY start_ns
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One value with its unit and how it came about."""

    name: str
    value: float
    unit: str
    source: str


def fit_batches(sizes: Sequence[int], seconds: Sequence[float], max_batch: int) -> BatchService:
    """Least squares of seconds = overhead + size x per-image seconds, over all batches.

    Where either part would be negative, or there is one size only, all of the time is per image. So the busy
    time of the batches is reproduced in any case. Raises ConfigurationError without batches.
    """
    if not sizes:
        raise ConfigurationError("the run has no batches of a device: nothing to fit")
    n, s = np.asarray(sizes, float), np.asarray(seconds, float)
    design = np.column_stack([np.ones_like(n), n])
    (overhead, per_image), _ = nnls(design, s)
    if overhead == 0 or per_image == 0:  # the best line through the origin has another sum
        overhead, per_image = 0.0, float(s.sum() / n.sum())
    return BatchService(float(per_image), float(overhead), max_batch)


def device_toml(query: LedgerQuery, *, run_id: str, device: str, machine: Machine, max_batch: int) -> str:
    """A device model, from all batches of the run.

    On CPU a device is one thread, and a plan rents whole instances: the instance's threads are taken to be as
    fast together as one alone times their number, which nobody measured, so the speed is *projected*.
    """
    rows = query.execute(BATCHES_SQL, {"pool": "", "arm": ""})
    service = fit_batches([r["batch_size"] for r in rows], [r["seconds"] for r in rows], max_batch)
    source = f"{len(rows)} batches on {device} in run {run_id}: overhead + n x per-image time, least squares"
    threads, kind = 1, Kind.MEASURED
    if device.startswith("cpu"):
        threads, kind = machine.devices, Kind.PROJECTED
        source += f"; times {threads} threads of an instance"
    return (
        f'instance = "{machine.line}"\nimages_per_second = {threads / service.full_batch_image_seconds:.6g}\n'
        f'kind = "{kind}"\nsource = "{source}"\nmax_batch = {max_batch}\n'
        f"batch_overhead_seconds = {service.overhead_seconds / threads:.6g}\n"
    )


def measured_coefficients(query: LedgerQuery, result: Mapping[str, Any], run_id: str) -> list[Measured]:
    """Coefficients that the run gives; what it can't give is left out."""
    found: list[Measured] = []
    overheads = _seconds_outside_device(query)
    if overheads:
        text = "median of an image's time to availability outside the device, in the slower arm"
        found.append(Measured("online_overhead_seconds", max(overheads.values()), "s", text))
    contents: Mapping[str, Mapping[str, Any]] = result["arms"]
    for content in contents.values():
        found += _stored(content["completeness"], content["resources"]["rows"])
    unique = {measured.name: measured for measured in found if measured.value > 0}
    return [replace(measured, source=f"{measured.source}; run {run_id}") for measured in unique.values()]


def coefficients_toml(measured: Sequence[Measured]) -> str:
    """The tables of ``lkbench plan --assumptions``."""
    return "\n".join(
        f'[{m.name}]\nvalue = {m.value:.6g}\nunit = "{m.unit}"\nkind = "measured"\nsource = "{m.source}"\n'
        for m in measured
    )


def _seconds_outside_device(query: LedgerQuery) -> dict[str, float]:
    by_arm: dict[str, list[float]] = {}
    for row in query.rows("replay_images"):
        if row["online_seconds"] is not None and row["on_device_seconds"] is not None:
            by_arm.setdefault(row["arm"], []).append(row["online_seconds"] - row["on_device_seconds"])
    return {arm: median(values) for arm, values in by_arm.items()}


def _stored(completeness: Mapping[str, Any], rows: Rows) -> list[Measured]:
    signals, keys = completeness["signals"], completeness["image_keys"]
    stored = _of(rows, "rockstore_stored", "stored")
    if not signals or not keys or not stored:
        return []
    return [
        Measured("signals_per_image", signals / keys, "signals", "signals / images in the Hive table"),
        Measured("bytes_per_image", stored / keys, "B", "bytes of the key-value store / images"),
    ]


def _of(rows: Rows, resource: str, process: str) -> float | None:
    found = [row["value"] for row in rows if row["resource"] == resource and row["process"] == process]
    return sum(found) if found else None
