from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from bench.services.kafka import check_kafka
from bench.services.s3proxy import check_s3
from signals.architecture import RunContext, S3Endpoint
from signals.gss import GssClient

pytestmark = pytest.mark.integration


def test_each_fixture_is_a_working_service(kafka: str, s3: S3Endpoint, postgres: str) -> None:
    check_kafka(kafka, {})
    check_s3(s3)
    with psycopg.connect(postgres) as connection:
        connection.execute("select pgmq.create('q')")
        connection.execute("select pgmq.send('q', '{}')")


def test_contexts(context: Callable[..., RunContext]) -> None:
    made = context()
    client = GssClient(made.gss_host, made.gss_port, made.rpc_token)
    assert client.get(b"x") is None
    client.close()
