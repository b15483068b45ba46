"""What a measured run took, as priced usages: device hours held and used, CPU of all else, requests, bytes.

Device pools are booked for the time that they were held, idle as a line of its own. Every other process is
booked for the CPU seconds that it took, as if its machine were always full: sizing whole machines is what a
projection does (:mod:`bench.cost.counts`). The object store alone is not: the price of a request to S3 pays
for the computer that answers it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.cost.counts import BATCH_NODE, BROKER, DAYS_PER_MONTH, GIGABYTE, SERVICE_NODE, VCPU_PER_NODE
from bench.cost.ledger_cost import CostReport, Usage, cost_of, machine_usages
from bench.cost.pricebook import ON_DEMAND, PriceBook
from bench.cost.provenance import Kind
from bench.resources.section import NOT_OF_THE_ARCHITECTURE
from signals.errors import ConfigurationError

BROKER_VCPU = 2  # of kafka.t3.small
CPU_DEVICES_PER_INSTANCE = VCPU_PER_NODE  # a device on CPU is one thread
_OBJECT_STORE = "s3proxy"
_SPARK = re.compile(r"^(nightly|dump)|spark|java")
_GETS, _PUTS = ("s3_get",), ("s3_put", "s3_list")  # a LIST costs what a PUT costs


@dataclass(frozen=True, slots=True)
class Machine:
    """What holds the devices: a line of the price book, and how many devices it has."""

    line: str
    devices: int

    @classmethod
    def of(cls, device: str, book: PriceBook) -> Machine:
        """For a device of the ledger. A GPU that the book doesn't name is a line without a price."""
        if not device.startswith("cuda"):
            return cls(SERVICE_NODE, CPU_DEVICES_PER_INSTANCE)
        for name, line in book.lines.items():
            model = line.device.partition(" ")[2]
            if model and re.search(rf"\b{re.escape(model)}\b", device):
                return cls(name, line.devices)
        return cls(f"an instance with {device.partition(' ')[2] or device}", 1)


@dataclass(frozen=True, slots=True)
class ArmCost:
    """Cost of one arm over all replicates and days of a run."""

    report: CostReport
    signals: int | None  # in the Hive table


def run_costs(
    result: Mapping[str, Any], book: PriceBook, machine: Machine | None = None, purchase: str = ON_DEMAND
) -> dict[str, ArmCost]:
    """By arm, from the content of ``result.json``. ``machine`` None: found by the device's name.

    Raises ConfigurationError for a run whose resources were not counted.
    """
    costs = {}
    for arm, content in result["arms"].items():
        try:
            costs[arm] = arm_cost(content, book, machine, purchase)
        except ConfigurationError as error:
            raise ConfigurationError(f"arm {arm} has no cost: {error}") from error
    return costs


def arm_cost(
    content: Mapping[str, Any], book: PriceBook, machine: Machine | None = None, purchase: str = ON_DEMAND
) -> ArmCost:
    """The same for one arm, or for one of its replicates, from its part of the result."""
    if not content.get("resources", {}).get("rows"):
        raise ConfigurationError("its resources were not counted")
    days = max((pool["days"] or 0 for pool in content["device_hours"]["pools"]), default=0)
    usages = [*_devices(content, book, machine, purchase), *_counted(content["resources"]["rows"])]
    return ArmCost(cost_of(usages, book, days=days or 1), content["completeness"]["signals"])


def _devices(
    content: Mapping[str, Any], book: PriceBook, machine: Machine | None, purchase: str
) -> Iterator[Usage]:
    for pool in content["device_hours"]["pools"]:
        if pool["allocated_hours"] is None:
            raise ConfigurationError(f"pool {pool['pool']} has no allocated hours: the run's day did not end")
        held = machine or Machine.of(pool["device"], book)
        yield from machine_usages(
            line=held.line,
            allocated_hours=pool["allocated_hours"] / held.devices,
            busy_hours=pool["busy_hours"] / held.devices,
            stage=f"{pool['pool']} inference",
            kind=Kind.MEASURED,
            formula=f"device hours of {pool['device']} / {held.devices} devices of an instance",
            pool=pool["pool"],
            purchase=purchase,
        )


def _counted(rows: list[dict[str, Any]]) -> Iterator[Usage]:
    """CPU of what holds no device and is no object store, requests, and a day's storage of what is stored."""
    hours: defaultdict[tuple[str, str], float] = defaultdict(float)
    requests: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        if row["stage"] in NOT_OF_THE_ARCHITECTURE:
            continue
        stage, resource, value = row["stage"], row["resource"], row["value"]
        if resource == "cpu":
            if not row["holds_device"] and row["process"] != _OBJECT_STORE:
                for line, vcpu in _nodes(row["process"]):
                    hours[line, stage] += value / 3600 / vcpu
        elif resource in (*_GETS, *_PUTS):
            requests["s3.get" if resource in _GETS else "s3.put", stage] += value
        elif resource in ("parquet_stored", "s3_stored", "rockstore_stored"):
            yield _storage(resource, value)
    for (line, stage), quantity in hours.items():
        formula = "CPU seconds / vCPUs of an instance: as if it were always full"
        yield Usage(line, "hour", quantity, stage, Kind.PROJECTED, formula)
    for (line, stage), count in requests.items():
        yield Usage(line, "1000 requests", count / 1000, f"{stage} requests", Kind.MEASURED, "counted / 1000")


def _nodes(process: str) -> list[tuple[str, int]]:
    if process == "kafka":
        return [(BROKER, BROKER_VCPU)]
    if _SPARK.search(process):
        return [(BATCH_NODE, VCPU_PER_NODE), (f"emr.{BATCH_NODE}", VCPU_PER_NODE)]
    return [(SERVICE_NODE, VCPU_PER_NODE)]


def _storage(resource: str, size_bytes: float) -> Usage:
    store = resource == "rockstore_stored"
    line, stage = ("ebs.gp3", "store storage") if store else ("s3.storage", "table storage")
    quantity = size_bytes / GIGABYTE / DAYS_PER_MONTH
    return Usage(line, "GB-month", quantity, stage, Kind.MEASURED, "bytes, kept for one day of a month")
