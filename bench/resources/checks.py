"""Cross-checks of what a run counted against what independent sources say about the same.

Each pair agrees within 2 %, or the difference has a known cause that is quantified here and said in the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.ledger_query import LedgerQuery, open_ledger
from bench.resources.probe import readings_path

TOLERANCE = 0.02
SMALL = 3  # requests or messages: below that, a share says nothing
_QUEUE = ("queue_enqueued", "queue_claimed", "queue_prolonged", "queue_failed", "queue_acked", "queue_dead")
_SUMS_SQL = """
SELECT resource, sum(value) AS value FROM resources
WHERE arm = $arm AND replicate = $replicate AND resource <> 'peak_memory'
GROUP BY resource
"""
# What the driver's own children have taken, servers apart: they live longer than a replicate.
_CHILDREN_SQL = """
SELECT coalesce(sum(value), 0) AS value FROM resources r
WHERE arm = $arm AND replicate = $replicate AND resource = 'cpu' AND pid <> recorder_pid
  AND kind NOT IN ('kafka', 's3proxy', 'postgres', 'spark_master', 'spark_worker', 'inference')
  AND recorder_pid IN (SELECT pid FROM resources WHERE arm = $arm AND kind = 'driver')
"""
_ALL_CPU_SQL = """
SELECT coalesce(sum(value) FILTER (pid = recorder_pid OR recorder_pid IN (
    SELECT pid FROM resources WHERE arm = $arm AND kind = 'driver')), 0) AS value
FROM resources WHERE arm = $arm AND replicate = $replicate AND resource = 'cpu'
"""
_DEVICES_SQL = """
SELECT pool, count(DISTINCT device) AS devices, sum(end_ns - start_ns) / 1e9 AS busy,
    any_value(device) AS device
FROM events WHERE stage = 'device_busy' AND arm = $arm AND replicate = $replicate GROUP BY pool ORDER BY pool
"""
_DEVICE_CPU_SQL = """
SELECT pool, sum(value) AS cpu FROM resources r
JOIN (SELECT DISTINCT arm, replicate, pid, pool FROM events WHERE stage = 'device_provisioned') d
    USING (arm, replicate, pid)
WHERE arm = $arm AND replicate = $replicate AND resource = 'cpu'
GROUP BY pool
"""


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """One figure of the run beside that of an independent source; ``ok`` None: it could not be compared."""

    name: str
    ok: bool | None
    detail: str


def cross_checks(run_dir: Path, arm: str, replicate: int) -> list[CrossCheck]:
    """Every comparison of one replicate; one line without readings, as runs of earlier versions are."""
    path = readings_path(run_dir, arm, replicate)
    if not path.is_file():
        return [CrossCheck("sources", None, "this run recorded no independent sources")]
    readings = orjson.loads(path.read_bytes())
    with open_ledger(run_dir) as query:
        return list(_Replicate(query, readings, arm, replicate).checks())


class _Replicate:
    def __init__(self, query: LedgerQuery, readings: Mapping[str, Any], arm: str, replicate: int) -> None:
        self._query, self._scope = query, {"arm": arm, "replicate": replicate}
        self._sources: Mapping[str, Mapping[str, float]] = readings["sources"]
        self._absent: Mapping[str, str] = readings["absent"]
        self._sums = {row["resource"]: row["value"] for row in query.execute(_SUMS_SQL, self._scope)}

    def checks(self) -> Iterator[CrossCheck]:
        for source, compare in (
            ("kernel", self._kernel),
            ("process_tree", self._process_tree),
            ("cgroup", self._cgroup),
            ("s3proxy", self._s3proxy),
            ("kafka", self._kafka),
            ("kafka_disk", self._kafka_disk),
            ("postgres", self._postgres),
        ):
            if source in self._sources:
                yield from compare(self._sources[source])
            else:
                reason = self._absent.get(source, "it was not read")
                yield CrossCheck(source.replace("_", " "), None, f"not compared: {reason}")
        yield from self._devices()
        yield from self._gpus()

    def _kernel(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        """Every child's own usage, added up, against the kernel's sum over all children of the driver."""
        counted = self._query.execute(_CHILDREN_SQL, self._scope)[0]["value"]
        yield _compared(
            "CPU of all processes, by the kernel's own sum", counted, reading["children_cpu_seconds"], "s"
        )

    def _process_tree(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        """Driver, servers and everything that they started, whether it ended or not."""
        counted = self._query.execute(_ALL_CPU_SQL, self._scope)[0]["value"]
        yield _compared("CPU of all processes, by the process tree", counted, reading["cpu_seconds"], "s")

    def _cgroup(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        """The control group's clock counts everything in it, also what is not of this run."""
        counted = self._query.execute(_ALL_CPU_SQL, self._scope)[0]["value"]
        clock, name = reading["cpu_seconds"], "CPU of all processes, by the control group's clock"
        others = clock - counted
        if abs(others) <= TOLERANCE * clock:
            yield _compared(name, counted, clock, "s")
        else:
            detail = f"{counted:.1f} s of {clock:.1f} s; the other {others:.1f} s were taken outside this run"
            yield CrossCheck(name, others > 0, detail)

    def _s3proxy(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        for kind in ("get", "put", "list"):
            yield _compared(
                f"S3 {kind.upper()} requests, by S3Proxy's log", self._sum(f"s3_{kind}"), reading[kind]
            )

    def _kafka(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        yield _compared(
            "Kafka messages produced, by its log end offsets",
            self._sum("kafka_produced"),
            reading["messages"],
        )

    def _kafka_disk(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        """Segments hold the payload and, for every batch and record, a header."""
        payload, messages = self._sum("kafka_produced_bytes"), self._sum("kafka_produced")
        name, size = "Kafka bytes, by the size of its segments", reading["bytes"]
        overhead = (size - payload) / messages if messages else 0.0
        # Kafka's message format, version 2: 61 bytes a batch, 7 to 25 a record beside its key and value.
        ok = 0 <= overhead <= 61 + 25
        detail = f"{payload:,.0f} of payload, {size:,.0f} on disk: {overhead:.0f} a message for headers of"
        yield CrossCheck(name, ok, f"{detail} records and batches (at most 61 + 25)")

    def _postgres(self, reading: Mapping[str, float]) -> Iterator[CrossCheck]:
        """What PGMQ did to its tables: a send inserts, a claim or a change of one updates, an end deletes."""
        enqueued, claimed, prolonged, failed, acked, dead = map(self._sum, _QUEUE)
        yield _compared("jobs enqueued, by PostgreSQL's statistics", enqueued, reading["inserted"])
        updates = claimed + prolonged + failed + dead
        yield _compared("job claims and changes, by PostgreSQL's statistics", updates, reading["updated"])
        yield _compared("jobs ended, by PostgreSQL's statistics", acked + dead, reading["deleted"])

    def _devices(self) -> Iterator[CrossCheck]:
        """A device on CPU is one thread: it can't have computed for longer than its process had a core."""
        cpu = {row["pool"]: row["cpu"] for row in self._query.execute(_DEVICE_CPU_SQL, self._scope)}
        for row in self._query.execute(_DEVICES_SQL, self._scope):
            if row["pool"] not in cpu or not row["device"].startswith("cpu"):
                continue
            busy, had = row["busy"], cpu[row["pool"]]
            detail = f"{busy:.1f} s in batches, its processes had {had:.1f} s of a core"
            if (waited := 1 - had / busy) > TOLERANCE:
                detail += f": for {waited:.0%} of its busy time the device waited for one"
            yield CrossCheck(f"busy hours of pool {row['pool']}", True, detail)

    def _gpus(self) -> Iterator[CrossCheck]:
        """A batch's wall time holds the copies and launches around its kernels, which NVML doesn't count."""
        devices = self._query.execute(_DEVICES_SQL, self._scope)
        ledger = sum(row["busy"] for row in devices if row["device"].startswith("cuda"))
        rows = [row for row in self._query.rows("gpu") if {**row, **self._scope} == row]
        nvml = sum((row["busy_hours"] or 0.0) * 3600 for row in rows)
        if not ledger or not rows:
            return
        name, detail = (
            "GPU busy time, by NVML",
            f"{ledger:.1f} s in batches, NVML saw kernels for {nvml:.1f} s",
        )
        if abs(nvml - ledger) <= TOLERANCE * ledger:
            yield CrossCheck(name, True, detail)
        elif nvml < ledger:
            yield CrossCheck(name, True, f"{detail}: the rest are copies and launches around them")
        else:
            yield CrossCheck(name, False, f"{detail}: something else ran on the GPU")

    def _sum(self, resource: str) -> float:
        return float(self._sums.get(resource, 0.0))


def _compared(name: str, counted: float, source: float, unit: str = "") -> CrossCheck:
    difference = counted - source
    ok = abs(difference) <= max(TOLERANCE * source, SMALL if not unit else 0.0)
    share = f" ({difference / source:+.2%})" if source else ""
    number = ",.1f" if unit else ",.0f"
    suffix = f" {unit}" if unit else ""
    return CrossCheck(
        name, ok, f"counted {counted:{number}}{suffix}, the source says {source:{number}}{suffix}{share}"
    )
