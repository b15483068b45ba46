"""Apache Kafka as child processes: one KRaft node on loopback, or a cluster of several."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from bench.services.jars import KAFKA, S3PROXY, jar, jar_folder
from bench.services.java import SERVER_FLAGS, class_path, find_java
from bench.services.startup import LOOPBACK, start_on_free_ports
from signals.errors import ServiceError
from signals.process import Child, ProcessGroup

START_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 5.0
FORMAT_TIMEOUT_SECONDS = 60.0
_LOGBACK = Path(__file__).parent / "logback.xml"
# The last four suit a small machine: fewer threads that wake up to find nothing to do, no record in the
# metadata log every half a second, and followers that wait for news instead of asking twice a second each.
_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{broker_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{broker_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=8
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=8388608
controlled.shutdown.enable=false
num.network.threads=1
num.io.threads=1
metadata.max.idle.interval.ms=0
replica.fetch.wait.max.ms=5000
"""


class KafkaServer:
    """Brokers with their data in ``folder``; each is a controller, too. From three on, every message is kept
    by three of them, and is acknowledged when two have it."""

    def __init__(self, group: ProcessGroup, folder: Path, brokers: int = 1) -> None:
        self._group, self._folder, self._brokers = group, folder, brokers
        self._children: list[Child] = []

    def start(self) -> str:
        """Format, start and check. Returns the bootstrap address. Raises ServiceError, MissingRequirement."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _, ports = start_on_free_ports(
            self._group, 2 * self._brokers, self._launch, self._check, START_TIMEOUT_SECONDS
        )
        return self._bootstrap(ports)

    def stop(self) -> None:
        """Stop the brokers."""
        for child in self._children:
            self._group.stop_child(child, timeout_seconds=5.0)

    def _bootstrap(self, ports: list[int]) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port in ports[: self._brokers])

    def _check(self, ports: list[int]) -> None:
        check_kafka(self._bootstrap(ports), {}, self._brokers)

    def _launch(self, ports: list[int]) -> Child:
        """Start all of them, and return the first."""
        self.stop()  # what an attempt on other ports has started
        controllers = list(enumerate(ports[self._brokers :], start=1))
        cluster_id = _cluster_id()
        settings = {
            "host": LOOPBACK,
            "voters": ",".join(f"{node}@{LOOPBACK}:{port}" for node, port in controllers),
            "replicas": min(3, self._brokers),
            "in_sync": min(2, self._brokers - 1) or 1,
        }
        files: list[Path] = []
        for (node, controller_port), port in zip(controllers, ports, strict=False):
            one = self._brokers == 1
            files.append(self._folder / ("server.properties" if one else f"server-{node}.properties"))
            log_dir = self._folder / f"log-{port}"  # its metadata names the ports
            own = {"node": node, "broker_port": port, "controller_port": controller_port, "log_dir": log_dir}
            files[-1].write_text(_PROPERTIES.format(**settings, **own))
            self._format(files[-1], cluster_id)
        names = ["kafka"] if self._brokers == 1 else [f"kafka-{node}" for node, _ in controllers]
        self._children = [
            self._group.start(name, [*_java_command(), "kafka.Kafka", str(file)])
            for name, file in zip(names, files, strict=True)
        ]
        return self._children[0]

    def _format(self, properties: Path, cluster_id: str) -> None:
        tool = [
            *_java_command(),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",
            "-c",
            str(properties),
        ]
        done = subprocess.run(tool, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_SECONDS)
        if done.returncode != 0:
            log = self._folder / "format.log"
            log.write_text(done.stdout + done.stderr)
            raise ServiceError(f"kafka: its storage can't be formatted; the log is {log}\n{done.stderr}")


def check_kafka(bootstrap: str, options: Mapping[str, str], brokers: int = 1) -> None:
    """Ask for the cluster's metadata. Raises ServiceError if nothing answers at ``bootstrap``, or fewer than
    ``brokers`` are there."""
    # Without these callbacks librdkafka prints each refused connection to stderr.
    settings = {
        "bootstrap.servers": bootstrap,
        "socket.timeout.ms": 2000,
        "log_level": 0,
        "error_cb": lambda _: None,
        **options,
    }
    try:
        metadata = AdminClient(settings).list_topics(timeout=PROBE_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise ServiceError(f"kafka at {bootstrap} does not answer: {error.args[0].str()}") from error
    if len(metadata.brokers) < brokers:
        raise ServiceError(f"kafka at {bootstrap} has {len(metadata.brokers)} of {brokers} brokers")


def _cluster_id() -> str:
    """A new one. The tool would take one that begins with a dash for an option."""
    while (found := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found


def _java_command() -> list[str]:
    # Kafka's jars bring no logging backend; S3Proxy's do, and their slf4j 2 serves callers of slf4j 1.7.
    logging = [jar(S3PROXY, name) for name in ("slf4j-api", "logback-classic", "logback-core")]
    return [
        find_java().path,
        *SERVER_FLAGS,
        f"-Dlogback.configurationFile={_LOGBACK}",
        "-cp",
        class_path(*logging, f"{jar_folder(KAFKA)}/*"),
    ]
