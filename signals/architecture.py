"""The contract between the harness and an architecture under test.

The harness knows an arm only through :class:`Pipeline`, found by the entry point group
``lkbench.arms``. Everything an arm (and each of its processes) needs to know about a run is a
:class:`RunContext`, which travels to child processes as a 0600 JSON file, because it holds secrets.
"""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import orjson

from signals.whole_file import replace_secret


@dataclass(frozen=True, slots=True)
class MediaEvent:
    """One image has arrived (or, with ``kind="heartbeat"``, the stream's time is now ``scheduled_ns``)."""

    event_id: int
    image_signature: str
    pipeline: str
    galaxy: str
    day: int
    scheduled_ns: int  # Unix time in ns at which the schedule says that it arrives
    object_key: str
    kind: Literal["media", "heartbeat"] = "media"
    lateness_ns: int = 0  # it happened this long before it arrived; says nothing about its partition

    def to_bytes(self) -> bytes:
        """JSON, as it travels through Kafka and PinLater."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> MediaEvent:
        """Inverse of :meth:`to_bytes`."""
        return cls(**orjson.loads(data))


@dataclass(frozen=True, slots=True)
class AvailabilityEvent:
    """The signals of one arrival can now be fetched through GSS. Published after the write, never before."""

    event_id: int
    image_signature: str
    galaxy: str
    day: int
    scheduled_ns: int
    published_ns: int
    recomputed: bool  # False: the signals were already in the store, nothing was computed for this arrival

    @classmethod
    def of(cls, arrival: MediaEvent, *, published_ns: int, recomputed: bool) -> AvailabilityEvent:
        """The announcement of one arrival's signals."""
        return cls(
            event_id=arrival.event_id,
            image_signature=arrival.image_signature,
            galaxy=arrival.galaxy,
            day=arrival.day,
            scheduled_ns=arrival.scheduled_ns,
            published_ns=published_ns,
            recomputed=recomputed,
        )

    def to_bytes(self) -> bytes:
        """JSON, as it travels through Kafka."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> AvailabilityEvent:
        """Inverse of :meth:`to_bytes`."""
        return cls(**orjson.loads(data))


DETAIL_CHARACTERS = 2_000  # a dead letter must fit a message, whatever the image's event said


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One arrival (or one image of a nightly delta) that can't become a signal, with the reason."""

    event_id: int  # -1 on the nightly path, which works on distinct signatures
    image_signature: str
    galaxy: str
    day: int
    path: Literal["online", "nightly", "stream"]
    stage: str  # where it failed: fetch, decode, inference, …
    reason: str  # ImageError.reason
    detail: str
    attempts: int
    input_hash: str  # signature of the bytes as fetched, "" if they could not be fetched

    @classmethod
    def of(
        cls,
        arrival: MediaEvent,
        *,
        path: Literal["online", "stream"],
        stage: str,
        reason: str,
        detail: str,
        attempts: int,
        input_hash: str,
    ) -> DeadLetter:
        """The dead letter of one arrival."""
        return cls(
            event_id=arrival.event_id,
            image_signature=arrival.image_signature,
            galaxy=arrival.galaxy,
            day=arrival.day,
            path=path,
            stage=stage,
            reason=reason,
            detail=detail,
            attempts=attempts,
            input_hash=input_hash,
        )

    def to_bytes(self) -> bytes:
        """JSON, as it travels through Kafka, with as much of the detail as fits."""
        return orjson.dumps(dataclasses.replace(self, detail=self.detail[:DETAIL_CHARACTERS]))

    @classmethod
    def from_bytes(cls, data: bytes) -> DeadLetter:
        """Inverse of :meth:`to_bytes`."""
        return cls(**orjson.loads(data))


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """An S3 endpoint and the bucket of this run."""

    endpoint: str  # host:port, no scheme
    access_key: str
    secret_key: str
    bucket: str
    secure: bool = False
    region: str = "us-east-1"


@dataclass(frozen=True, slots=True)
class RpcEndpoint:
    """A server of our own RPC. Port 0: it is not up yet; the token is then the one to start it with."""

    host: str
    port: int
    token: str = field(repr=False)

    @classmethod
    def to_be_started(cls) -> RpcEndpoint:
        """One with a token of its own."""
        return cls("", 0, secrets.token_hex(16))

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def is_up(self) -> bool:
        """Whether there is an address to call."""
        return self.port > 0


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything that an arm and its processes need to know about one replicate of one run."""

    run_id: str
    arm: str
    replicate: int
    namespace: str  # [a-z][a-z0-9_]{0,23}; prefixes topics, queues, the Hive database and S3 keys
    run_dir: Path
    arm_dir: Path  # scratch of this arm and replicate: warehouse, checkpoints, SST files, address files
    kafka_bootstrap: str
    s3: S3Endpoint
    postgres_dsn: str  # libpq URI; PinLater's queues
    metastore_dsn: str  # libpq URI; the Hive metastore's database
    gss: RpcEndpoint  # its store for this replicate is called as the namespace
    inference: RpcEndpoint  # the online path's service; one that is not up is started by the arm that uses it
    day_seconds: float  # length of a compressed day
    model_dir: Path  # folder of the model and its manifest
    more_inference: tuple[RpcEndpoint, ...] = ()  # services that share the online path's work with the first
    kafka_options: dict[str, str] = field(default_factory=dict)  # more librdkafka options
    spark_master: str = "local[2]"
    spark_conf: dict[str, str] = field(default_factory=dict)
    jdbc_jar: str = ""  # PostgreSQL JDBC driver for the metastore
    catalog_path: str = ""  # empty: the catalog that ships with the package
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = 2  # devices per pool, each with a process, or a thread of the inference service
    stream_workers: int = 1  # workers of the stream job, which share its devices
    max_batch: int = 8
    max_batch_wait_seconds: float = 0.0  # 0 on CPU: run whatever is ready
    drain_timeout_seconds: float = 300.0  # of each wait for arrivals to end, midnight's included
    claim_seconds: float = 30.0  # PinLater claim timeout
    max_attempts: int = 5  # attempts before a job that keeps failing is dead-lettered

    @property
    def kafka_client(self) -> dict[str, Any]:
        """librdkafka settings that every client of this run starts from. A new dict at every call."""
        # librdkafka logs to stderr by itself, which in the driver is the user's: errors only.
        return {"bootstrap.servers": self.kafka_bootstrap, "log_level": 3, **self.kafka_options}

    def for_worker(self, index: int) -> RunContext:
        """The same, with one inference service: the share of the online worker called ``index``."""
        services = (self.inference, *self.more_inference)
        return dataclasses.replace(self, inference=services[index % len(services)], more_inference=())

    def devices_of_stream_worker(self, worker: int) -> range:
        """The numbers of the devices that stream worker ``worker`` has: its share of them. One that has
        joined later brings as many more."""
        return range(*(number * self.workers // self.stream_workers for number in (worker, worker + 1)))

    @property
    def media_topic(self) -> str:
        """Kafka topic of :class:`MediaEvent`."""
        return f"{self.namespace}.media_events"

    @property
    def availability_topic(self) -> str:
        """Kafka topic of :class:`AvailabilityEvent`."""
        return f"{self.namespace}.signal_available"

    @property
    def dead_letter_topic(self) -> str:
        """Kafka topic of :class:`DeadLetter`."""
        return f"{self.namespace}.dead_letters"

    @property
    def watermark_topic(self) -> str:
        """Kafka topic of the stream's watermarks, one message per partition and advance."""
        return f"{self.namespace}.watermarks"

    @property
    def warehouse_dir(self) -> Path:
        """Root of the Hive warehouse of this arm and replicate."""
        return self.arm_dir / "warehouse"

    @property
    def ledger_dir(self) -> Path:
        """Where processes append their raw ledger streams."""
        return self.run_dir / "ledger" / "raw"

    @property
    def log_dir(self) -> Path:
        """Where processes of this arm and replicate write their logs."""
        return self.run_dir / "logs" / f"{self.arm}-{self.replicate}"

    def save(self, path: Path) -> Path:
        """Write as JSON, readable by the owner only. Returns ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = orjson.dumps(dataclasses.asdict(self), default=str, option=orjson.OPT_INDENT_2)
        return replace_secret(path, content.decode())

    @classmethod
    def load(cls, path: Path) -> RunContext:
        """Inverse of :meth:`save`."""
        raw: dict[str, Any] = orjson.loads(path.read_bytes())
        raw["s3"] = S3Endpoint(**raw["s3"])
        for name in ("gss", "inference"):
            raw[name] = RpcEndpoint(**raw[name])
        raw["more_inference"] = tuple(RpcEndpoint(**service) for service in raw["more_inference"])
        for name in ("run_dir", "arm_dir", "model_dir"):
            raw[name] = Path(raw[name])
        return cls(**raw)


class Pipeline(Protocol):
    """An architecture under test. The harness computes all statistics; an arm only does the work.

    Calls come from one thread, in the order start, (submit*, end_day)*, drain, stop; ``stop`` may come
    at any time after ``start`` was entered, also when ``start`` failed, and must not raise.
    """

    def start(self, context: RunContext) -> None:
        """Bring the arm up; return once arrivals can be submitted and its always-on pools are warm."""

    def submit(self, event: MediaEvent) -> None:
        """Take one arrival. Must not block on the system under test: the load is open-loop."""

    def end_day(self, day: int) -> None:
        """Midnight of ``day`` has passed. Return when the day's partitions are visible to batch consumers.

        Raises PipelineError naming the step and its log when that can't be done.
        """

    def drain(self, timeout_seconds: float) -> None:
        """Return when every submitted arrival is a signal or a dead letter; PipelineError on timeout."""

    def stop(self) -> None:
        """Stop every process of the arm. Never raises; leaves no process behind."""


@runtime_checkable
class HasNightlySteps(Protocol):
    """A pipeline that can say how far ``end_day`` is, for those who wait. Called from another thread."""

    def nightly_step(self, day: int) -> str:
        """Name of the step that the work of ``day`` is in; "" before its first."""
