"""Brings up every server that a run needs, or checks the external one that the configuration names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.config import HarnessConfig, S3Config
from bench.services.inference import start_inference
from bench.services.jars import JDBC, KAFKA, S3PROXY, JarSet, jar
from bench.services.kafka import KafkaServer, check_kafka
from bench.services.leftovers import remove_objects, remove_queues, remove_stores, remove_topics
from bench.services.metastore import create_metastore, drop_metastore
from bench.services.needs import EVERYTHING, OBJECT_STORE
from bench.services.postgres import PostgresServer, check_postgres, install_pgmq
from bench.services.rpc import external_endpoints
from bench.services.s3proxy import S3ProxyServer, check_s3
from bench.services.spark import SparkServer
from signals.architecture import RpcEndpoint, S3Endpoint
from signals.efficientnet import build_model
from signals.errors import LkbenchError
from signals.process import ProcessGroup

LOCAL_SPARK_CORES = 2
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where everything is."""

    namespace: str  # what a run makes on these servers has a name that begins with this, or is left behind
    kafka_bootstrap: str
    kafka_options: dict[str, str]
    s3: S3Endpoint  # its bucket exists
    postgres_dsn: str  # PGMQ is installed
    metastore_dsn: str  # the metastore's tables exist
    jdbc_jar: Path
    spark_master: str
    spark_conf: dict[str, str]
    gss: RpcEndpoint | None = None  # None: every replicate starts its own
    inference: tuple[RpcEndpoint, ...] = ()  # none: the arm that needs it starts its own


class ServiceStack:
    """The servers of one run. A context manager; leaving it stops them and removes their data.

    ``namespace`` (``[a-z][a-z0-9_]*``) keeps the run apart from others on external servers. Without the
    object store in ``needed`` (see :mod:`bench.services.needs`) its endpoint stays empty.
    """

    def __init__(
        self,
        run_dir: Path,
        config: HarnessConfig,
        group: ProcessGroup,
        namespace: str = "lk",
        needed: frozenset[str] = EVERYTHING,
    ) -> None:
        self._folder = run_dir / "services"
        self._config, self._group, self._namespace, self._needed = config, group, namespace, needed
        self._servers: list[KafkaServer | S3ProxyServer | PostgresServer | SparkServer] = []
        self._leftovers: dict[str, Callable[[], None]] = {}  # how to remove what was made on external servers
        self._progress: Progress = lambda _: None

    def start(self, progress: Progress = lambda _: None) -> Endpoints:
        """Start all servers, side by side. Returns when each has answered.

        Raises ServiceError naming the server and its log, or MissingRequirement.
        """
        self._progress = progress
        progress("starting " + ", ".join(self._own()) if self._own() else "checking external servers")
        self._folder.mkdir(parents=True, exist_ok=True)
        gss = next(iter(external_endpoints("GSS", self._config.gss)), None)
        if gss is not None:
            self._leftovers["the stores of GSS"] = lambda: remove_stores(gss, self._namespace)
        with ThreadPoolExecutor(5, thread_name_prefix="services") as pool:
            kafka = pool.submit(self._start_kafka)
            s3 = pool.submit(self._start_s3)
            postgres = pool.submit(self._start_postgres)
            spark = pool.submit(self._start_spark)
            inference = pool.submit(self._start_inference)
            try:
                for future in as_completed((kafka, s3, postgres, spark, inference)):
                    future.result()
            except BaseException:
                self._group.stop()  # or the others would be waited for
                raise
        dsn, metastore_dsn = postgres.result()
        progress("servers are up")
        spark_master, spark_conf = spark.result()
        return Endpoints(
            namespace=self._namespace,
            kafka_bootstrap=kafka.result(),
            kafka_options=dict(self._config.kafka.options),
            s3=s3.result(),
            postgres_dsn=dsn,
            metastore_dsn=metastore_dsn,
            jdbc_jar=jar(JDBC, "postgresql"),
            spark_master=spark_master,
            spark_conf=spark_conf,
            gss=gss,
            inference=inference.result(),
        )

    def stop(self) -> None:
        """Stop the servers and remove their data; logs stay. Never raises.

        What the run made on external servers is removed, too; what can't be is named to ``progress``.
        """
        for what, remove in self._leftovers.items():
            try:
                remove()
            except LkbenchError as error:  # that server may be gone; it is not ours to mend
                self._progress(f"left behind: {what} of {self._namespace} ({error})")
        self._leftovers.clear()
        for server in reversed(self._servers):
            server.stop()
        self._servers.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> ServiceStack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _metastore_name(self) -> str:
        return f"{self._namespace}_metastore"

    def _own(self) -> list[str]:
        external = {
            "Kafka": self._config.kafka.bootstrap,
            "S3Proxy": self._config.s3.endpoint or OBJECT_STORE not in self._needed,
            "PostgreSQL": self._config.postgres.dsn,
        }
        own = [name for name, address in external.items() if not address]
        if self._config.services.spark_workers:
            own.append("Spark")
        if self._config.services.inference_services:
            own.append("inference")
        return own

    def _start_kafka(self) -> str:
        external = self._config.kafka
        if external.bootstrap:
            check_kafka(external.bootstrap, external.options)
            self._leftovers["the Kafka topics"] = lambda: remove_topics(
                external.bootstrap, external.options, self._namespace
            )
            return external.bootstrap
        server = KafkaServer(self._group, self._folder / "kafka", self._config.services.kafka_brokers)
        self._servers.append(server)
        return server.start()

    def _start_s3(self) -> S3Endpoint:
        if OBJECT_STORE not in self._needed:
            return S3Endpoint(endpoint="", access_key="", secret_key="", bucket="")
        if self._config.s3.endpoint:
            endpoint = _external_endpoint(self._config.s3)
            check_s3(endpoint)
            self._leftovers["the objects in S3"] = lambda: remove_objects(endpoint, self._namespace)
            return endpoint
        server = S3ProxyServer(self._group, self._folder / "s3proxy")
        self._servers.append(server)
        return server.start(bucket=self._namespace.replace("_", "-"))

    def _start_spark(self) -> tuple[str, dict[str, str]]:
        """Its master, and the settings of an application."""
        external, workers = self._config.spark, self._config.services.spark_workers
        if not workers:
            cores = min(LOCAL_SPARK_CORES, os.cpu_count() or 1)
            return external.master or f"local[{cores}]", dict(external.conf)
        server = SparkServer(self._group, self._folder / "spark", workers)
        self._servers.append(server)
        master, conf = server.start()
        return master, {**conf, **external.conf}

    def _start_inference(self) -> tuple[RpcEndpoint, ...]:
        config, services = self._config.inference, self._config.services.inference_services
        if not services:
            return external_endpoints("the inference service", config)
        path = self._config.model.path
        model_dir = Path(path) if path else build_model()
        return start_inference(self._group, self._folder / "inference", model_dir, config, services)

    def _start_postgres(self) -> tuple[str, str]:
        dsn = self._config.postgres.dsn
        if dsn:
            check_postgres(dsn)
        else:
            server = PostgresServer(self._group, self._folder / "postgres")
            self._servers.append(server)
            dsn = server.start()
        install_pgmq(dsn)
        if self._config.postgres.dsn:
            self._leftovers["the queues in PostgreSQL"] = lambda: remove_queues(dsn, self._namespace)
            self._leftovers["the Hive metastore's database"] = lambda: drop_metastore(
                dsn, self._metastore_name
            )
        return dsn, create_metastore(dsn, self._metastore_name)


def jar_sets(config: HarnessConfig) -> list[JarSet]:
    """What has to be fetched for the servers that the harness starts itself, and for Spark."""
    needed = [JDBC]
    if not config.s3.endpoint or not config.kafka.bootstrap:
        needed.append(S3PROXY)  # Kafka borrows its logging
    if not config.kafka.bootstrap:
        needed.append(KAFKA)
    return needed


def _external_endpoint(s3: S3Config) -> S3Endpoint:
    return S3Endpoint(s3.endpoint, s3.access_key, s3.secret_key, s3.bucket, s3.secure, s3.region)
