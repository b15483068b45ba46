"""What each architecture takes in a day: machine hours, requests, stored bytes. No prices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.cost.architectures import Architecture
from bench.cost.inputs import DAY_SECONDS, PlanInputs
from bench.cost.ledger_cost import Usage, machine_usages
from bench.cost.pools import PoolHours, backfill_pool, inference_night_seconds, live_pool, nightly_pool
from bench.cost.pricebook import ON_DEMAND
from bench.cost.provenance import Kind, derived

VCPU_PER_NODE = 4  # of m5.xlarge and r5.xlarge
BATCH_NODE, SERVICE_NODE, BROKER = "r5.xlarge", "m5.xlarge", "msk.kafka.t3.small"
MIN_BROKERS = 3  # replication 3
TRANSFORM_WINDOW_SECONDS = 3600.0  # the Spark cluster is sized to finish its CPU work in this time
DAYS_PER_MONTH = 365 / 12
GIGABYTE = 1e9
DEVICE_SPEED = "device speed"


@dataclass(frozen=True, slots=True)
class SparkWork:
    """A Spark cluster for one nightly workflow."""

    nodes: int
    wall_seconds: float

    @property
    def node_hours(self) -> float:
        """Hours that are paid."""
        return self.nodes * self.wall_seconds / 3600


def spark_work(fixed_seconds: float, cpu_seconds: float) -> SparkWork:
    """A cluster that finishes ``cpu_seconds`` of vCPU work in at most an hour, plus the fixed time."""
    nodes = max(1, math.ceil(cpu_seconds / VCPU_PER_NODE / TRANSFORM_WINDOW_SECONDS))
    return SparkWork(nodes, fixed_seconds + cpu_seconds / VCPU_PER_NODE / nodes)


def nightly_spark(inputs: PlanInputs) -> SparkWork:
    """Delta, re-encode, table and upload of Lambda's night."""
    millions = inputs.images_per_day / 1e6
    cpu = millions * inputs.at("nightly_cpu_seconds_per_million")
    return spark_work(inputs.at("nightly_fixed_seconds"), cpu)


def dump_spark(inputs: PlanInputs) -> SparkWork:
    """Kappa's dump."""
    millions = inputs.images_per_day / 1e6
    return spark_work(inputs.at("dump_fixed_seconds"), millions * inputs.at("dump_cpu_seconds_per_million"))


def daily_pools(inputs: PlanInputs, architecture: Architecture) -> list[PoolHours]:
    """Device pools of a day."""
    parts = architecture.parts
    pools = [live_pool(inputs, parts.live_pool)] if parts.live_pool else []
    return [*pools, nightly_pool(inputs)] if parts.nightly else pools


def daily_usages(
    inputs: PlanInputs, architecture: Architecture, pools: Mapping[str, PoolHours] | None = None
) -> list[Usage]:
    """Everything taken in a day. ``pools`` replaces the sized pools, e.g. by simulated ones."""
    parts = architecture.parts
    held = pools if pools is not None else {p.pool: p for p in daily_pools(inputs, architecture)}
    usages: list[Usage] = []
    for pool in held.values():
        usages += device_usages(inputs, pool)
    if parts.live_pool:
        usages += _live_path(inputs, architecture)
    if parts.nightly:
        usages += _nightly_path(inputs, held.get("nightly"))
    if parts.dump:
        usages += _spark_usages(inputs, dump_spark(inputs), "dump", "dump")
    usages += _serving(inputs)
    if parts.table:
        usages.append(_storage(inputs, "s3.storage", "table storage"))
    return usages


def backfill_usages(inputs: PlanInputs) -> list[Usage]:
    """What one backfill of the corpus takes: the same for all architectures, on a pool that is spun up."""
    corpus = inputs.images_per_day * inputs.at("retention_days")
    return [
        *device_usages(inputs, backfill_pool(inputs)),
        _downloads(inputs, corpus, "backfill"),
    ]


def device_usages(inputs: PlanInputs, pool: PoolHours) -> list[Usage]:
    """A pool's device hours as hours of the instances that hold the devices, used and idle."""
    live = pool.pool in ("online", "stream")
    per_instance = inputs.devices_per_instance
    return machine_usages(
        line=inputs.device.instance,
        allocated_hours=pool.allocated_hours / per_instance,
        busy_hours=pool.busy_hours / per_instance,
        stage=f"{pool.pool} inference",
        kind=_kind(inputs, DEVICE_SPEED),
        formula=pool.formula,
        pool=pool.pool,
        purchase=inputs.online_purchase if live else inputs.nightly_purchase,
    )


def _live_path(inputs: PlanInputs, architecture: Architecture) -> list[Usage]:
    kappa = architecture is Architecture.KAPPA
    stage = architecture.parts.live_pool
    # Kappa: a media event and an availability event per image; Lambda: the availability event only.
    per_broker = "messages_per_second_per_broker"
    events = f"{stage} events"
    usages = [
        _downloads(inputs, inputs.images_per_day, stage),
        _nodes_all_day(inputs, BROKER, per_broker, events, messages=2 if kappa else 1, at_least=MIN_BROKERS),
    ]
    if not kappa:
        usages += [
            _nodes_all_day(inputs, SERVICE_NODE, "jobs_per_second_per_queue_node", f"{stage} queue"),
            _nodes_all_day(inputs, SERVICE_NODE, "images_per_second_per_job_node", f"{stage} jobs"),
        ]
    return usages


def _nightly_path(inputs: PlanInputs, pool: PoolHours | None) -> list[Usage]:
    images, per_put = inputs.images_per_day, inputs.at("results_per_put")
    usages = [
        _downloads(inputs, images, "nightly"),
        _requests(inputs, "s3.put", math.ceil(images / per_put), "nightly", "results_per_put"),
        *_spark_usages(inputs, nightly_spark(inputs), "nightly transforms", "nightly"),
    ]
    if pool is not None:
        # Batches of images are one job each, so one queue node carries any night; it is up while the pool is.
        hours = inference_night_seconds(pool) / 3600
        formula = "1 node while the pool is up"
        usages.append(_usage(inputs, SERVICE_NODE, "hour", hours, "nightly queue", formula, DEVICE_SPEED))
    return usages


def _spark_usages(inputs: PlanInputs, work: SparkWork, stage: str, prefix: str) -> list[Usage]:
    formula = "nodes x (fixed + vCPU seconds / vCPUs)"
    rests_on = (f"{prefix}_fixed_seconds", f"{prefix}_cpu_seconds_per_million")
    return [
        _usage(inputs, line, "hour", work.node_hours, stage, formula, *rests_on)
        for line in (BATCH_NODE, f"emr.{BATCH_NODE}")
    ]


def _serving(inputs: PlanInputs) -> list[Usage]:
    per_node, stage = "writes_per_second_per_store_node", "store and lookup service"
    return [
        _nodes_all_day(inputs, SERVICE_NODE, per_node, stage),
        _storage(inputs, "ebs.gp3", "store storage"),
    ]


def _storage(inputs: PlanInputs, line: str, stage: str) -> Usage:
    gigabytes = inputs.images_per_day * inputs.at("retention_days") * inputs.at("bytes_per_image") / GIGABYTE
    formula = "images x retention x bytes, for a day of a month"
    rests_on = ("retention_days", "bytes_per_image")
    return _usage(inputs, line, "GB-month", gigabytes / DAYS_PER_MONTH, stage, formula, *rests_on)


def _downloads(inputs: PlanInputs, images: float, stage: str) -> Usage:
    return _requests(inputs, "s3.get", images * inputs.at("gets_per_image"), stage, "gets_per_image")


def _requests(inputs: PlanInputs, line: str, requests: float, stage: str, rests_on: str) -> Usage:
    stage = f"{stage} requests"
    return _usage(inputs, line, "1000 requests", requests / 1000, stage, "requests / 1000", rests_on)


def _nodes_all_day(
    inputs: PlanInputs, line: str, per_node: str, stage: str, *, messages: int = 1, at_least: int = 1
) -> Usage:
    peak = messages * inputs.images_per_day / DAY_SECONDS * inputs.at("peak_to_mean")
    nodes = max(at_least, math.ceil(peak / inputs.at(per_node) - 1e-9))
    return _usage(inputs, line, "hour", nodes * 24.0, stage, "nodes for the peak x 24 h", per_node)


def _usage(
    inputs: PlanInputs, line: str, unit: str, quantity: float, stage: str, formula: str, *rests_on: str
) -> Usage:
    return Usage(line, unit, quantity, stage, _kind(inputs, *rests_on), formula, purchase=ON_DEMAND)


def _kind(inputs: PlanInputs, *rests_on: str) -> Kind:
    # The number of images is the user's word for it, so nothing here is ever plainly measured.
    coefficients, device = inputs.coefficients, inputs.device
    kinds: list[Kind] = [
        device.images_per_second.kind if name == DEVICE_SPEED else getattr(coefficients, name).kind
        for name in rests_on
    ]
    return derived([Kind.ASSUMED, *kinds])
