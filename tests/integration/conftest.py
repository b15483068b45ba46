"""Real services for integration tests, started once per session and only if a test asks for them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.services import jars
from bench.services.class_archive import with_class_archive
from bench.services.gss import start_gss
from bench.services.kafka import KafkaServer
from bench.services.metastore import create_metastore
from bench.services.postgres import PostgresServer, install_pgmq
from bench.services.s3proxy import S3ProxyServer
from bench.services.spark_rehearsal import rehearse_spark
from lambda_pipeline.pinlater import PgmqPinLater
from signals.architecture import RpcEndpoint, RunContext, S3Endpoint
from signals.efficientnet import build_model
from signals.process import ProcessGroup


@pytest.fixture(scope="session")
def services_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def group(services_dir: Path) -> Iterator[ProcessGroup]:
    jars.fetch_jars()
    with ProcessGroup(services_dir / "logs") as group:
        yield group


@pytest.fixture(scope="session")
def kafka(group: ProcessGroup, services_dir: Path) -> Iterator[str]:
    """The bootstrap address of a broker."""
    server = KafkaServer(group, services_dir / "kafka")
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def s3(group: ProcessGroup, services_dir: Path) -> Iterator[S3Endpoint]:
    """An S3 endpoint whose bucket exists."""
    server = S3ProxyServer(group, services_dir / "s3")
    yield server.start("tests")
    server.stop()


@pytest.fixture(scope="session")
def postgres(group: ProcessGroup, services_dir: Path) -> Iterator[str]:
    """The superuser's URI of a database with PGMQ."""
    server = PostgresServer(group, services_dir / "postgres")
    dsn = server.start()
    install_pgmq(dsn)
    yield dsn
    server.stop()


@pytest.fixture
def pinlater(postgres: str) -> Iterator[PgmqPinLater]:
    """An empty queue of its own."""
    queue = PgmqPinLater(postgres, f"test_{secrets.token_hex(4)}", "online")
    queue.create()
    queue.create()  # again: nothing happens
    yield queue
    queue.close()


@pytest.fixture(scope="session")
def metastore(postgres: str) -> str:
    """The URI of a database that holds the Hive metastore's tables."""
    rehearse_spark()
    return create_metastore(postgres, "metastore")


@pytest.fixture(scope="session")
def context(
    group: ProcessGroup, kafka: str, s3: S3Endpoint, postgres: str, metastore: str, services_dir: Path
) -> Callable[..., RunContext]:
    """Makes contexts of one replicate, each with a namespace, a Rockstore and a running GSS of its own.

    Keyword arguments replace fields. No topic exists yet, as in a run.
    """
    numbers = itertools.count(1)

    def make(arm: str = "lambda", **changes: Any) -> RunContext:
        number = next(numbers)
        run_dir = services_dir / f"run-{number}"
        arm_dir = run_dir / "arms" / f"{arm}-1"
        made = RunContext(
            run_id=run_dir.name,
            arm=arm,
            replicate=1,
            namespace=f"{arm[:8]}{number}_{secrets.token_hex(3)}",
            run_dir=run_dir,
            arm_dir=arm_dir,
            kafka_bootstrap=kafka,
            s3=s3,
            postgres_dsn=postgres,
            metastore_dsn=metastore,
            gss=start_gss(group, arm_dir, RpcEndpoint.to_be_started().token),
            inference=RpcEndpoint.to_be_started(),
            day_seconds=10.0,
            model_dir=build_model(),
            spark_conf=with_class_archive({}),
            jdbc_jar=str(jars.jar(jars.JDBC, "postgresql")),
            workers=min(2, os.cpu_count() or 1),
        )
        return dataclasses.replace(made, **changes)

    return make
