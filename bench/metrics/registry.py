"""The registry: every family of metrics, in order of reading. ``docs/metrics.md`` is made from it."""

from __future__ import annotations

from bench.metrics.definition import Definition, Direction, Noise, Unit
from bench.metrics.readers import AllPools, Figure, Pairs, Pools, Rows

CONSUMERS = {
    "online": "from the scheduled first arrival of a key until the online client holds all its signals, "
    "fetched through GSS",
    "batch": "from the scheduled first arrival of a key until the batch client has read all its signals from "
    "the Hive table",
    "online_repeat": "from the scheduled time of an arrival whose key had arrived before until the online "
    "client holds its signals",
}
STATISTICS = {
    "p50": "Median",
    "p90": "90th percentile",
    "p95": "95th percentile",
    "p99": "99th percentile",
    "max": "Longest",
}
# What processes of a kind (gpu_worker, kafka, …) took: resource, end of the metric's name, text, unit. Calls
# and bytes vary too, by what happened to be worked on together.
COUNTED = (
    ("cpu", "cpu_seconds", "CPU seconds", Unit.SECONDS),
    ("peak_memory", "peak_memory_bytes", "Peak memory of the largest process", Unit.BYTES),
    ("s3_get", "s3_gets", "S3 GET requests", Unit.COUNT),
    ("s3_put", "s3_puts", "S3 PUT requests", Unit.COUNT),
    ("s3_read", "s3_read_bytes", "Bytes read from S3", Unit.BYTES),
    ("s3_written", "s3_written_bytes", "Bytes written to S3", Unit.BYTES),
    ("kafka_produced", "kafka_messages", "Messages sent to Kafka", Unit.COUNT),
    ("queue_statements", "queue_statements", "SQL statements to PinLater's queue", Unit.COUNT),
    ("rpc_gss", "gss_calls", "Calls of GSS", Unit.COUNT),
)
HOURS = {
    "allocated": "Hours for which devices are held: an always-on pool for the days, any other pool for its "
    "sessions",
    "busy": "Hours inside inference, the union of the batches of each device",
    "wasted": "Allocated hours less busy hours",
}


def _latency() -> list[Definition]:
    figures = [
        Definition(
            pattern=f"{{arm}}.{consumer}.{statistic}_seconds",
            label=f"time to availability, {consumer.replace('_', ' ')}: {statistic}",
            unit=Unit.SECONDS,
            direction=Direction.SMALLER,
            noise=Noise.TIME,
            definition=f"{name} of the time {meaning}. A lost key counts as infinitely late; dead letters "
            "are no part of it. Null where the sample is too small to carry the percentile.",
            query="latency",
            reader=Figure(f"latency.{consumer}.{statistic}_seconds"),
        )
        for consumer, meaning in CONSUMERS.items()
        for statistic, name in STATISTICS.items()
    ]
    samples = [
        _count(
            f"{{arm}}.{consumer}.samples",
            f"samples, {consumer.replace('_', ' ')}",
            f"Samples behind the latencies of the {consumer.replace('_', ' ')} consumer.",
            "latency",
            f"latency.{consumer}.n",
            Direction.EXACT,
        )
        for consumer in CONSUMERS
    ]
    return figures + samples


def _device_hours() -> list[Definition]:
    totals = [
        _hours(
            f"{{arm}}.{kind}_hours",
            f"device hours per compressed day, {kind}",
            f"{meaning}; all pools, per compressed day, whatever the device.",
            AllPools(f"{kind}_hours"),
        )
        for kind, meaning in HOURS.items()
    ]
    by_unit = [
        _hours(
            f"{{arm}}.{name}",
            f"{unit} per compressed day, allocated",
            f"{HOURS['allocated']}; the pools that are booked in {unit}, per compressed day. {note}",
            AllPools("allocated_hours", unit),
        )
        for name, unit, note in (
            ("gpu_hours", "GPU hours", "Null on a run without a GPU: a CPU is never called one."),
            ("cpu_device_hours", "CPU device hours", "Null on a run without a pool on CPUs."),
        )
    ]
    pools = [
        _hours(
            f"{{arm}}.{{pool}}.{kind}_hours",
            f"{{pool}} pool: device hours per compressed day, {kind}",
            f"{meaning}; one pool, per compressed day.",
            Pools(f"{kind}_hours"),
        )
        for kind, meaning in {
            **HOURS,
            "session": "Hours from the launch of a process to the release of its device",
            "provisioning": "Hours from the launch of a process until its model is warm",
            "busy_outside": "Hours inside inference after midnight, of a pool that is booked for the days",
        }.items()
    ]
    counts = [
        Definition(
            f"{{arm}}.{{pool}}.{name}", label, Unit.COUNT, Direction.EXACT, Noise.COUNT, text, "device_hours",
            Pools(name, is_per_day=False),
        )
        for name, label, text in (
            ("sessions", "{pool} pool: sessions", "Device sessions of a pool."),
            ("images", "{pool} pool: images", "Images that went through inference in a pool."),
        )
    ]  # fmt: skip
    return [*totals, *by_unit, *pools, *counts]


def _throughput() -> list[Definition]:
    texts = {
        "offered": ("Arrivals scheduled during the days, per second.", Direction.CONTEXT),
        "sustained": ("Arrivals that became available online during the days, per second.", Direction.BIGGER),
        "nightly_inference": (
            "Images through inference on the nightly path, over the time from the first fetch to the last "
            "inference of each night. Null for an arm without a nightly inference.",
            Direction.BIGGER,
        ),
    }
    return [
        Definition(
            f"{{arm}}.{name}_per_second", f"{name.replace('_', ' ')} images per second", Unit.PER_SECOND,
            direction, Noise.TIME, text, "throughput", Figure(f"images_per_second.{name}_per_second"),
        )
        for name, (text, direction) in texts.items()
    ]  # fmt: skip


def _completeness() -> list[Definition]:
    texts = {
        "offered_arrivals": ("Arrivals of the schedule.", Direction.EXACT),
        "distinct_keys": ("Distinct (galaxy, image) among them.", Direction.EXACT),
        "available_arrivals": ("Arrivals that became available to the online client.", Direction.BIGGER),
        "batch_keys": ("Keys that the batch client read from the Hive table.", Direction.BIGGER),
        "signals": ("Rows of the Hive table.", Direction.BIGGER),
        "dead_letter_arrivals": ("Arrivals that ended as a dead letter.", Direction.EXACT),
        "dead_letter_keys": ("Keys that ended as a dead letter for the batch client.", Direction.EXACT),
        "lost_arrivals": ("Arrivals that ended neither as a signal nor as a dead letter.", Direction.SMALLER),
        "lost_keys": ("Keys neither in the Hive table nor a dead letter.", Direction.SMALLER),
        "contradicted_arrivals": ("Arrivals that ended as both.", Direction.SMALLER),
        "contradicted_keys": ("Keys that ended as both.", Direction.SMALLER),
        "duplicated_signals": ("Rows of the Hive table beyond the first of a signal.", Direction.SMALLER),
        "phantom_keys": ("Keys in the Hive table that never arrived.", Direction.SMALLER),
        "unreadable_announcements": (
            "Availability events after which a signal could not be fetched.",
            Direction.SMALLER,
        ),
        "redelivered_announcements": (
            "Availability events that came again, which at-least-once delivery allows.",
            Direction.CONTEXT,
        ),
    }
    return [
        _count(
            f"{{arm}}.{name}", name.replace("_", " "), text,
            "" if name in ("signals", "duplicated_signals") else "completeness",
            f"completeness.{name}", direction,
        )
        for name, (text, direction) in texts.items()
    ]  # fmt: skip


def _work() -> list[Definition]:
    return [
        _count(f"{{arm}}.{name}", label, text, query, where, direction)
        for name, label, text, query, where, direction in (
            ("inferences", "inferences", "Inferences that succeeded, on any path.", "recomputed",
             "recomputed.inferences", Direction.SMALLER),
            ("recomputed_keys", "keys computed more than once", "Keys with more than one inference.",
             "recomputed", "recomputed.recomputed_keys", Direction.SMALLER),
            ("extra_inferences_across_paths", "inferences repeated by another path",
             "Inferences of a key by a second path: an architecture that computes every image twice.",
             "recomputed", "recomputed.extra_across_paths", Direction.SMALLER),
            ("extra_inferences_within_path", "inferences repeated within a path",
             "Inferences of a key beyond the first on the same path: retries, restarts, repeats computed at "
             "the same time.", "recomputed", "recomputed.extra_within_path", Direction.CONTEXT),
            ("retries", "retries", "Attempts after the first, of an arrival or a key.", "retries",
             "retries.total", Direction.CONTEXT),
            ("restarts", "restarted processes", "Processes that died and were started again.", "restarts",
             "restarts.total", Direction.SMALLER),
        )
    ]  # fmt: skip


def _parts() -> list[Definition]:
    statistics = {
        "p50": ("median_seconds", "Median of one part of the consumer's wait, over the images that had it"),
        "mean": (
            "mean_seconds",
            "Mean of one part of the consumer's wait, over all its images: means add up to that of the part "
            "`whole`",
        ),
    }
    stages = [
        Definition(
            pattern=f"{{arm}}.stage.{{consumer}}.{{part}}.{statistic}_seconds",
            label=f"{{consumer}} consumer, {{part}}: {'median' if statistic == 'p50' else statistic}",
            unit=Unit.SECONDS,
            direction=Direction.SMALLER,
            noise=Noise.TIME,
            definition=f"{text}. The parts are those of docs/method.md; `after_midnight` is all that follows "
            "the midnight of the day.",
            query="stage_parts",
            reader=Rows("stage_parts", column, ("consumer", "part")),
        )
        for statistic, (column, text) in statistics.items()
    ]
    step = Definition(
        pattern="{arm}.step.{step}_seconds",
        label="nightly step {step}",
        unit=Unit.SECONDS,
        direction=Direction.SMALLER,
        noise=Noise.TIME,
        definition="Length of a step of the nightly workflow or dump: the median over the nights.",
        query="nightly_steps",
        reader=Rows("nightly_steps", "duration_seconds", ("step",)),
    )
    return [*stages, step]


def _resources() -> list[Definition]:
    figures = {
        "cpu_seconds_per_image": (
            "CPU seconds of all processes of the arm and its servers per distinct image, without the harness "
            "and its clients.",
            Unit.SECONDS_PER_IMAGE,
        ),
        "s3_requests_per_image": ("S3 requests per distinct image.", Unit.PER_IMAGE),
        "kafka_messages_per_image": ("Messages sent to Kafka per distinct image.", Unit.PER_IMAGE),
        "rpc_calls_per_image": (
            "Calls of GSS and of the inference service per distinct image, without those of the harness's "
            "clients.",
            Unit.PER_IMAGE,
        ),
        "bytes_stored_per_signal": (
            "Bytes in S3, in the Hive table and in Rockstore at the end, per signal of the table.",
            Unit.BYTES,
        ),
    }
    return [
        *(
            Definition(
                f"{{arm}}.{name}", name.replace("_", " "), unit, Direction.SMALLER, Noise.TIME, text,
                "resources", Figure(f"resources.{name}"),
            )
            for name, (text, unit) in figures.items()
        ),
        *(
            Definition(
                f"{{arm}}.{{process}}.{ending}", f"{{process}}: {text}", unit, Direction.SMALLER, Noise.TIME,
                f"{text} of one kind of process.", "resources",
                Rows("resources", "value", ("process",), ("resource", name)),
            )
            for name, ending, text, unit in COUNTED
        ),
    ]  # fmt: skip


def _cost() -> list[Definition]:
    texts = {
        "per_day": "Cost of a compressed day: device hours held, CPU, requests, storage.",
        "idle_per_day": "What of it pays for devices that are held and not busy.",
        "per_million_signals": "Cost of a million signals in the Hive table.",
    }
    return [
        Definition(
            f"{{arm}}.cost_{name}_usd", f"cost {name.replace('_', ' ')}", Unit.USD, Direction.SMALLER,
            Noise.TIME,
            f"{text} Prices are assumed, those of the shipped book; a lower bound where one is missing.",
            "resources", Figure(f"cost.{name}_usd"), tag="projected",
        )
        for name, text in texts.items()
    ]  # fmt: skip


def _agreement() -> list[Definition]:
    counts = [
        _count(
            f"agreement.{name}", f"agreement: {name.replace('_', ' ')} signals", text, "", reader, direction
        )
        for name, text, reader, direction in (
            ("compared", "Signals that both arms hold.", Pairs("compared", "sum"), Direction.BIGGER),
            ("missing", "Signals that only the first arm holds.", Pairs("missing", "sum"), Direction.SMALLER),
            ("extra", "Signals that only the second arm holds.", Pairs("extra", "sum"), Direction.SMALLER),
            ("wrong_day", "Signals in partitions of different days.", Pairs("wrong_day", "sum"),
             Direction.SMALLER),
            ("mismatched", "Signals whose values differ.", Pairs("mismatched", "sum"), Direction.SMALLER),
        )
    ]  # fmt: skip
    return [
        _count("agreement", "arms agree", "1 if the Hive tables of all arms hold the same keys, days, schema "
               "and values, else 0.", "", Pairs("agrees", "all"), Direction.BIGGER),
        Definition(
            "agreement.lowest_cosine", "lowest cosine between the arms", Unit.RATIO, Direction.BIGGER,
            Noise.COUNT, "Lowest cosine between the arms' values of a signal, over all that both hold.", "",
            Pairs("lowest_cosine", "min"),
        ),
        *counts,
    ]  # fmt: skip


def _count(
    pattern: str, label: str, text: str, query: str, reader: str | Pairs, direction: Direction
) -> Definition:
    read = Figure(reader) if isinstance(reader, str) else reader
    return Definition(pattern, label, Unit.COUNT, direction, Noise.COUNT, text, query, read)


def _hours(pattern: str, label: str, text: str, reader: AllPools | Pools) -> Definition:
    return Definition(pattern, label, Unit.HOURS, Direction.SMALLER, Noise.TIME, text, "device_hours", reader)


DEFINITIONS: tuple[Definition, ...] = (
    *_latency(),
    *_device_hours(),
    *_throughput(),
    *_completeness(),
    *_work(),
    *_parts(),
    *_resources(),
    *_cost(),
    *_agreement(),
)
