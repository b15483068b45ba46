"""What systems say about a replicate that do not take our word for it.

The kernel's sum over reaped children and the control group's CPU clock, S3Proxy's log of requests, Kafka's
log end offsets and segment sizes, PostgreSQL's statistics of the queues' tables. A source that can't be read
(an external server, another platform) is absent, with its reason.
"""

from __future__ import annotations

import contextlib
import resource
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.machine_watch import sample
from bench.services.s3proxy import request_log
from signals.architecture import RunContext

Reading = Mapping[str, float]
REQUEST_SECONDS = 10.0
_CPU_CLOCKS = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpuacct/cpuacct.usage"))
# What each statement of PgmqPinLater does to the rows of a queue's table.
_QUEUE_SQL = """
SELECT coalesce(sum(n_tup_ins), 0)::float8, coalesce(sum(n_tup_upd), 0)::float8,
    coalesce(sum(n_tup_del), 0)::float8
FROM pg_stat_user_tables WHERE schemaname = 'pgmq' AND relname LIKE %s
"""


@dataclass(frozen=True, slots=True)
class Readings:
    """What each source says at one moment, by source; ``absent`` says why one says nothing."""

    values: Mapping[str, Reading]
    absent: Mapping[str, str]

    def since(self, earlier: Readings) -> dict[str, Any]:
        """The differences, as they are kept in the run folder."""
        differences = {}
        for source, of in self.values.items():
            before = earlier.values.get(source, {})
            differences[source] = {name: value - before.get(name, 0.0) for name, value in of.items()}
        return {"sources": differences, "absent": dict(self.absent)}


class Sources:
    """Reads all sources for one replicate."""

    def __init__(self, context: RunContext, services_dir: Path) -> None:
        self._context, self._services_dir = context, services_dir

    def read(self) -> Readings:
        """Every source that answers, now."""
        values: dict[str, Reading] = {}
        absent: dict[str, str] = {}
        for name, read in (
            ("kernel", _kernel),
            ("process_tree", _process_tree),
            ("cgroup", _cgroup),
            ("s3proxy", self._s3proxy),
            ("kafka", self._kafka),
            ("kafka_disk", self._kafka_disk),
            ("postgres", self._postgres),
        ):
            try:
                values[name] = read()
            except (OSError, LookupError, KafkaException, psycopg.Error) as error:
                absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return Readings(values, absent)

    def _s3proxy(self) -> Reading:
        log = request_log(self._services_dir / "s3proxy")
        bucket, counts = self._context.s3.bucket, Counter[str]()
        with log.open() as file:
            for line in file:
                if line.startswith("request: Request("):
                    method, url = line.removeprefix("request: Request(").split(")")[0].split(" ", 1)
                    counts[_kind(method, url, bucket)] += 1
        return {kind: counts[kind] for kind in ("get", "put", "list", "other")}

    def _kafka(self) -> Reading:
        consumer = Consumer({**self._context.kafka_client, "group.id": f"{self._context.namespace}.readings"})
        try:
            topics = consumer.list_topics(timeout=REQUEST_SECONDS).topics
            mine = {name: topic for name, topic in topics.items() if name.startswith(self._prefix)}
            messages = 0
            for name, topic in mine.items():
                for partition in topic.partitions:
                    low, high = consumer.get_watermark_offsets(
                        TopicPartition(name, partition), timeout=REQUEST_SECONDS
                    )
                    messages += high - low
            return {"messages": messages}
        finally:
            consumer.close()

    def _kafka_disk(self) -> Reading:
        folders = list((self._services_dir / "kafka").glob(f"log-*/{self._prefix}*"))
        if not folders and not (self._services_dir / "kafka").is_dir():
            raise FileNotFoundError("the broker is not the harness's own")
        one_replica = {folder.name: folder for folder in folders}  # of each partition
        segments = [path for folder in one_replica.values() for path in folder.glob("*.log")]
        return {"bytes": sum(path.stat().st_size for path in segments)}

    def _postgres(self) -> Reading:
        with psycopg.connect(self._context.postgres_dsn, connect_timeout=5, autocommit=True) as connection:
            pattern = f"q_{self._context.namespace}_".replace("_", r"\_") + "%"
            row = connection.execute(_QUEUE_SQL, (pattern,)).fetchone()
        inserted, updated, deleted = row or (0.0, 0.0, 0.0)
        return {"inserted": inserted, "updated": updated, "deleted": deleted}

    @property
    def _prefix(self) -> str:
        return f"{self._context.namespace}."


def _kernel() -> Reading:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"children_cpu_seconds": children.ru_utime + children.ru_stime}


def _process_tree() -> Reading:
    """CPU of this process and of all its descendants, those included that have ended, from ``/proc``."""
    return {"cpu_seconds": sample().own_seconds}


def _cgroup() -> Reading:
    """CPU of everything in the control group of this machine or container."""
    for path in _CPU_CLOCKS:
        with contextlib.suppress(OSError):
            text = path.read_text()
            if path.name == "cpuacct.usage":
                return {"cpu_seconds": int(text) / 1e9}
            return {"cpu_seconds": int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6}
    raise FileNotFoundError("no CPU clock of a control group")


def _kind(method: str, url: str, bucket: str) -> str:
    parts = urlsplit(url)
    if method == "PUT":
        return "put"
    if method == "GET" and "list-type=" in parts.query:
        return "list"
    return "get" if method == "GET" and parts.path.strip("/") != bucket else "other"
