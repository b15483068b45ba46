"""What a run leaves on external servers, and how it is removed: all of it begins with the run's namespace."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from signals.architecture import RpcEndpoint, S3Endpoint
from signals.errors import ServiceError
from signals.gss import GssClient
from signals.object_store import ObjectStore

REQUEST_SECONDS = 10.0


def remove_topics(bootstrap: str, options: Mapping[str, str], namespace: str) -> None:
    """Delete the topics and consumer groups of ``namespace``. Raises ServiceError."""
    try:
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **options})
        topics = [
            name for name in admin.list_topics(timeout=REQUEST_SECONDS).topics if _is_of(name, namespace)
        ]
        listed = admin.list_consumer_groups(request_timeout=REQUEST_SECONDS).result()
        groups = [group.group_id for group in listed.valid if _is_of(group.group_id, namespace)]
        futures = []
        if groups:
            deleted = admin.delete_consumer_groups(groups, request_timeout=REQUEST_SECONDS)
            futures += list(deleted.values())
        if topics:
            futures += list(admin.delete_topics(topics, request_timeout=REQUEST_SECONDS).values())
        for future in futures:
            future.result()
    except KafkaException as error:
        raise ServiceError(f"Kafka: {error.args[0].str()}") from error


def remove_queues(dsn: str, namespace: str) -> None:
    """Drop the PinLater queues of ``namespace``. Raises ServiceError."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            rows = connection.execute("select queue_name from pgmq.list_queues()").fetchall()
            for (queue,) in rows:
                if _is_of(queue, namespace):
                    connection.execute("select pgmq.drop_queue(%s)", [queue])
    except psycopg.Error as error:
        raise ServiceError(f"PostgreSQL: {error}") from error


def remove_objects(endpoint: S3Endpoint, namespace: str) -> None:
    """Delete the objects of ``namespace``; the bucket stays. Raises ServiceError."""
    with ObjectStore(endpoint) as store:
        store.remove([key for key in store.list(namespace) if _is_of(key, namespace)])


def remove_stores(endpoint: RpcEndpoint, namespace: str) -> None:
    """Drop the stores of ``namespace`` from GSS. Raises ServiceError."""
    with GssClient(endpoint, f"{namespace}_", retry_seconds=0.0) as gss:
        gss.drop()


def _is_of(name: str, namespace: str) -> bool:
    return name.startswith((f"{namespace}_", f"{namespace}/"))
