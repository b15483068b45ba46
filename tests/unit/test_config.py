from __future__ import annotations

import re
import traceback
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from bench.config import HarnessConfig
from bench.services.postgres import check_postgres
from bench.services.stack import Endpoints
from bench.services.standalone import as_toml
from signals.architecture import RpcEndpoint, S3Endpoint
from signals.errors import ConfigurationError, ServiceError

S3 = '[s3]\nendpoint = "s3:9000"\naccess_key = "AK"\nsecret_key = "SK-secret"\nbucket = "b"\n'


def load(tmp_path: Path, text: str) -> HarnessConfig:
    path = tmp_path / "lkbench.toml"
    path.write_text(text)
    return HarnessConfig.load(path)


def test_without_a_file_everything_is_started_here() -> None:
    config = HarnessConfig.load(None)
    assert not config.kafka.bootstrap
    assert not config.s3.endpoint
    assert not config.postgres.dsn
    assert config.inference.device == "cpu"


def test_a_full_file_is_read(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        'catalog = "pipelines.toml"\n'
        '[kafka]\nbootstrap = "k:9092"\noptions = { "security.protocol" = "SSL" }\n' + S3 + "secure = true\n"
        '[postgres]\ndsn = "postgresql://u:p@h/d"\n'
        '[spark]\nmaster = "spark://m:7077"\nconf = { "spark.executor.memory" = "2g" }\n'
        '[model]\npath = "my-model"\n'
        '[inference]\ndevice = "cuda"\nworkers = 3\nmax_batch = 64\nmax_batch_wait_seconds = 1\n',
    )
    assert config.kafka.options == {"security.protocol": "SSL"}
    assert config.s3.secure
    assert config.inference.max_batch_wait_seconds == 1.0
    assert config.model.path == str(tmp_path / "my-model")
    assert config.catalog == str(tmp_path / "pipelines.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[kafka]\nbootstap = "k:9092"', r"\[kafka\] unknown key bootstap; known are bootstrap, options"),
        ('[redis]\nhost = "r"', "unknown key redis"),
        ("kafka = 3", r"write \[kafka\]"),
        ("[inference]\nworkers = true", "workers must be a whole number"),
        ("[inference]\nworkers = 0", "workers must be at least 1"),
        ('[inference]\ndevice = "tpu"', "device must be 'cpu' or 'cuda'"),
        ("[inference]\nmax_batch_wait_seconds = -1", "negative"),
        ('[kafka]\nbootstrap = "k"\noptions = { a = 1 }', "options must be a table of strings"),
        ('[kafka]\noptions = { a = "1" }', "bootstrap is missing"),
        ('[gss]\nendpoint = "g:1"', r"\[gss\] an external server needs both, endpoint and token"),
        ('[inference]\ntoken = "t"', r"\[inference\] an external server needs both"),
        ('[gss]\nendpoint = "g"\ntoken = "t"', "endpoint must be host:port"),
        ('[s3]\nendpoint = "s3:9000"', "access_key, secret_key, bucket"),
        (S3.replace("s3:9000", "http://s3:9000"), "without a scheme"),
        ('[postgres]\ndsn = "host=h"', "URI"),
        ("[services]\nkafka_brokers = 0", r"\[services\] kafka_brokers must be at least 1"),
        ("[inference]\nworkers = 1\n[services]\nstream_workers = 2", "workers, and there are fewer"),
        ("[services]\nspark_workers = -1", "spark_workers must be at least 0"),
        ('[spark]\nmaster = "spark://m:1"\n[services]\nspark_workers = 2', "spark://m:1 is named"),
        ('[inference]\nendpoint = "i:1,i"\ntoken = "t"', "endpoint must be host:port, not 'i'"),
        ('[gss]\nendpoint = "g:1,g:2"\ntoken = "t"', "there is one GSS"),
        ("[kafka", "lkbench.toml"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize("password", ["hid%den", "hid%zzden", "hid@den", "hid/den", "hid?den"])
def test_a_password_that_needs_encoding_is_refused_and_not_shown(tmp_path: Path, password: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[postgres\] dsn must be a URI.*%25") as raised:
        load(tmp_path, f'[postgres]\ndsn = "postgresql://u:{password}@h/d"\n')
    shown = "".join(traceback.format_exception(raised.value, limit=0))
    assert "hid" not in shown
    assert "den" not in shown
    encoded = quote(password, safe="")
    load(tmp_path, f'[postgres]\ndsn = "postgresql://u:{encoded}@h/d"\n')


@pytest.mark.parametrize("password", ["hid%den", "hid%zz", "hid/den"])
def test_a_server_that_can_not_be_asked_is_reported_without_its_password(password: str) -> None:
    with pytest.raises(ServiceError, match="postgres does not answer") as raised:
        check_postgres(f"postgresql://u:{password}@127.0.0.1:1/d")
    assert "hid" not in "".join(traceback.format_exception(raised.value, limit=0))


def test_the_configurations_of_the_cluster_page_are_understood(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    files = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(files) == 2
    for text in files:
        load(tmp_path, text)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml"):
        HarnessConfig.load(tmp_path / "missing.toml")


def test_what_is_shown_holds_no_secret(tmp_path: Path) -> None:
    text = '[kafka]\nbootstrap = "k"\noptions = { "sasl.password" = "K-secret" }\n' + S3
    text += '[postgres]\ndsn = "postgresql://u:P-secret@host/db?password=Q-secret"\n'
    text += '[spark]\nconf = { "spark.hadoop.key" = "H-secret" }\n'
    text += '[gss]\nendpoint = "g:1"\ntoken = "G-secret"\n[inference]\nendpoint = "i:2"\ntoken = "I-secret"\n'
    shown = orjson.dumps(load(tmp_path, text).public()).decode()
    assert "secret" not in shown.replace("secret_key", "")
    assert "host/db" in shown
    assert "sasl.password" in shown


def test_servers_written_down_are_a_configuration_that_names_them(tmp_path: Path) -> None:
    endpoints = Endpoints(
        namespace="lk_test",
        kafka_bootstrap="127.0.0.1:1",
        kafka_options={"client.id": 'a "b"'},
        s3=S3Endpoint("127.0.0.1:2", "AK", "SK", "b"),
        postgres_dsn="postgresql://u:p@127.0.0.1:3/d",
        metastore_dsn="",
        jdbc_jar=tmp_path,
        spark_master="spark://127.0.0.1:7",
        spark_conf={"spark.authenticate.secret": "hid"},
        gss=RpcEndpoint("127.0.0.1", 4, "G"),
        inference=(RpcEndpoint("127.0.0.1", 5, "I"), RpcEndpoint("127.0.0.1", 6, "I")),
    )
    text = as_toml(endpoints)
    config = load(tmp_path, text)
    assert config.kafka.bootstrap == "127.0.0.1:1"
    assert config.kafka.options == {"client.id": 'a "b"'}
    assert config.s3.secret_key == "SK"
    assert (config.gss.endpoint, config.gss.token) == ("127.0.0.1:4", "G")
    assert (config.inference.endpoint, config.inference.token) == ("127.0.0.1:5,127.0.0.1:6", "I")
    assert (config.spark.master, config.spark.conf) == (endpoints.spark_master, endpoints.spark_conf)
    assert config.postgres.dsn == endpoints.postgres_dsn
    assert text.splitlines()[-1].startswith("dsn")
