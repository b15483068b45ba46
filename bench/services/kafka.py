"""Apache Kafka as a child process: one KRaft node on loopback."""

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
# The last three suit a small machine: fewer threads that wake up to find nothing to do, and no record in the
# metadata log every half a second for followers that do not exist.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{broker_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{broker_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=8388608
controlled.shutdown.enable=false
num.network.threads=2
num.io.threads=4
metadata.max.idle.interval.ms=0
"""


class KafkaServer:
    """One broker with its data in ``folder``."""

    def __init__(self, group: ProcessGroup, folder: Path) -> None:
        self._group, self._folder = group, folder
        self._child: Child | None = None

    def start(self) -> str:
        """Format, start and check. Returns the bootstrap address. Raises ServiceError, MissingRequirement."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._child, (port, _) = start_on_free_ports(
            self._group,
            2,
            self._launch,
            lambda ports: check_kafka(f"{LOOPBACK}:{ports[0]}", {}),
            START_TIMEOUT_SECONDS,
        )
        return f"{LOOPBACK}:{port}"

    def stop(self) -> None:
        """Stop the broker."""
        if self._child is not None:
            self._group.stop_child(self._child, timeout_seconds=5.0)

    def _launch(self, ports: list[int]) -> Child:
        properties = self._folder / "server.properties"
        attempt_dir = self._folder / f"log-{ports[0]}"  # its metadata names the ports
        properties.write_text(
            _PROPERTIES.format(
                host=LOOPBACK, broker_port=ports[0], controller_port=ports[1], log_dir=attempt_dir
            )
        )
        self._format(properties)
        return self._group.start("kafka", [*_java_command(), "kafka.Kafka", str(properties)])

    def _format(self, properties: Path) -> None:
        tool = [
            *_java_command(),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={_cluster_id()}",
            "-c",
            str(properties),
        ]
        done = subprocess.run(tool, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_SECONDS)
        if done.returncode != 0:
            log = self._folder / "format.log"
            log.write_text(done.stdout + done.stderr)
            raise ServiceError(f"kafka: its storage can't be formatted; the log is {log}\n{done.stderr}")


def check_kafka(bootstrap: str, options: Mapping[str, str]) -> None:
    """Ask for the cluster's metadata. Raises ServiceError if nothing answers at ``bootstrap``."""
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
    if not metadata.brokers:
        raise ServiceError(f"kafka at {bootstrap} has no broker")


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
