"""One set of servers for several runs: each run then takes them as external ones."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from bench.config import (
    HarnessConfig,
    InferenceConfig,
    KafkaConfig,
    PostgresConfig,
    S3Config,
    ServicesConfig,
    SparkConfig,
)
from bench.services.stack import ServiceStack
from bench.setup import prepare_servers
from signals.architecture import RpcEndpoint
from signals.process import ProcessGroup


@contextmanager
def shared_servers(
    folder: Path, config: HarnessConfig, needed: frozenset[str], progress: Callable[[str], None]
) -> Iterator[HarnessConfig]:
    """Start the servers that ``config`` does not name and ``needed`` does, with their data in ``folder``.

    Yields a configuration that names them all. Leaving the context stops them. Raises ServiceError or
    MissingRequirement.
    """
    prepare_servers(config, progress)
    with (
        ProcessGroup(folder / "logs") as group,
        ServiceStack(folder, config, group, f"lk_{secrets.token_hex(3)}", needed) as stack,
    ):
        endpoints = stack.start(progress)
        yield replace(
            config,
            kafka=KafkaConfig(endpoints.kafka_bootstrap, endpoints.kafka_options),
            s3=S3Config(**asdict(endpoints.s3)),
            postgres=PostgresConfig(endpoints.postgres_dsn),
            spark=SparkConfig(endpoints.spark_master, endpoints.spark_conf),
            inference=_named(config.inference, endpoints.inference),
            services=ServicesConfig(),
        )


def _named(config: InferenceConfig, services: tuple[RpcEndpoint, ...]) -> InferenceConfig:
    if not services:
        return config
    addresses = ",".join(service.address for service in services)
    return replace(config, endpoint=addresses, token=services[0].token)
