from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signals import hive_table
from signals.architecture import RpcEndpoint, RunContext, S3Endpoint
from signals.errors import ConfigurationError, PipelineError
from signals.hive import (
    HIVE_SCHEMA,
    SPARK_SECRETS,
    add_partition_sql,
    create_database_sql,
    create_table_sql,
    partition_dir,
    publish_partition,
    read_partition,
    set_location_sql,
    spark_conf,
    verify_partition,
)
from signals.image import image_signature


def rows(count: int, first: int = 0) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "image_signature": f"{first + number:032x}",
                "signal": "visual_embedding",
                "version": 1,
                "pipeline": "crawled",
                "shape": [2],
                "values": b"\0" * 8,
                "model_sha256": "ab" * 32,
            }
            for number in range(count)
        ],
        schema=HIVE_SCHEMA,
    )


@pytest.fixture
def partition(tmp_path: Path) -> Path:
    # Folder names that Parquet readers skip when they list files must not matter above the partition.
    path = partition_dir(tmp_path / ".cache" / "_run", "pins", 3, "a1")
    path.mkdir(parents=True)
    return path


class Metastore:
    """Keeps the statements; knows whether the partition exists."""

    def __init__(self, exists: bool) -> None:
        self.exists = exists
        self.changes: list[str] = []

    def sql(self, statement: str) -> Any:
        if not statement.startswith("SHOW"):
            self.changes.append(statement)
        return self

    def collect(self) -> list[str]:
        return ["galaxy=pins/day=3"] if self.exists else []


@pytest.mark.parametrize(("exists", "statement"), [(False, add_partition_sql), (True, set_location_sql)])
def test_publishing_is_one_change(partition: Path, exists: bool, statement: Callable[..., str]) -> None:
    pq.write_table(rows(5), partition / "part-0.parquet")
    pq.write_table(rows(5, first=5), partition / "part-1.parquet")
    metastore = Metastore(exists)

    assert publish_partition(metastore.sql, "lam", "pins", 3, partition, 10) == 10
    assert metastore.changes == [statement("lam", "pins", 3, partition)]


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ([rows(4)], "4 rows, it should have 5"),
        ([], "0 rows, it should have 5"),
        ([rows(3), rows(2, first=2)], "5 rows but only 4 distinct"),
        ([rows(5).drop_columns(["shape"])], "schema"),
        ([rows(5).set_column(2, "version", pa.array([1] * 5, pa.int64()))], "schema"),
        ([rows(4), rows(1, first=4).rename_columns([*HIVE_SCHEMA.names[:-1], "model"])], "schema"),
        ([rows(5).set_column(4, "shape", pa.array([[2]] * 5, pa.list_(pa.int64())))], "schema"),
    ],
)
def test_a_partition_that_is_wrong_is_not_published(
    partition: Path, tables: list[pa.Table], complaint: str
) -> None:
    for number, table in enumerate(tables):
        pq.write_table(table, partition / f"part-{number}.parquet")
    metastore = Metastore(False)

    with pytest.raises(PipelineError, match=complaint):
        publish_partition(metastore.sql, "lam", "pins", 3, partition, 5)
    assert metastore.changes == []


@pytest.mark.parametrize("at_a_time", [1, 7, 64])
def test_keys_are_told_apart_a_part_of_them_at_a_time(
    partition: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(hive_table, "KEYS_AT_A_TIME", at_a_time)
    signatures = pa.array([image_signature(b"%d" % number) for number in range(64)])
    table = rows(64).set_column(0, "image_signature", signatures)
    pq.write_table(table[:50], partition / "part-0.parquet")
    pq.write_table(table[50:], partition / "part-1.parquet")
    assert verify_partition(partition) == 64
    pq.write_table(table[20:21], partition / "part-2.parquet")
    with pytest.raises(PipelineError, match="65 rows but only 64 distinct"):
        verify_partition(partition)


def test_damaged_and_missing_partitions_are_not_published(partition: Path) -> None:
    (partition / "part-0.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(PipelineError, match="can't be read"):
        verify_partition(partition)
    with pytest.raises(PipelineError, match="not written"):
        verify_partition(partition.with_name("run-none"))


def test_what_writers_choose_freely_is_accepted(partition: Path) -> None:
    """The name of a list's element, and whether a column may be null."""
    shape = pa.field("shape", pa.list_(pa.field("element", pa.int32())))
    schema = HIVE_SCHEMA.set(4, shape).set(0, HIVE_SCHEMA.field(0).with_nullable(False))
    pq.write_table(rows(5).cast(schema), partition / "part-0.parquet")

    assert verify_partition(partition, 5) == 5
    assert read_partition(str(partition)).schema.equals(HIVE_SCHEMA)


def test_reading_back(partition: Path) -> None:
    pq.write_table(rows(5), partition / "part-0.parquet", compression="zstd")
    (partition / "_SUCCESS").touch()
    (partition / ".part-0.parquet.crc").write_bytes(b"crc")

    assert read_partition(f"file:{partition}").equals(rows(5))
    assert read_partition(f"file://{partition}", ["version", "signal"]).column_names == ["version", "signal"]
    query = f"SELECT count(*), min(galaxy), min(day) FROM read_parquet('{partition}/*.parquet')"
    assert duckdb.sql(query).fetchall() == [(5, "pins", 3)]


def test_a_partition_without_rows_has_the_schema(partition: Path) -> None:
    assert verify_partition(partition, 0) == 0
    assert read_partition(str(partition)).schema.equals(HIVE_SCHEMA)


def test_a_folder_may_have_an_odd_name(tmp_path: Path) -> None:
    odd = tmp_path / "a folder, 100%20 #odd?"
    odd.mkdir()
    pq.write_table(rows(5), odd / "part-0.parquet")

    assert verify_partition(odd, 5) == 5
    assert read_partition(f"file:{odd}").num_rows == 5


@pytest.mark.parametrize("location", ["s3://bucket/x", "file://host/x", "hdfs:/x", "x", ""])
def test_a_location_elsewhere_is_refused(location: str) -> None:
    with pytest.raises(ConfigurationError):
        read_partition(location)


def test_a_location_that_is_gone_is_an_error_not_an_empty_table(tmp_path: Path) -> None:
    with pytest.raises(PipelineError):
        read_partition(f"file:{tmp_path}/nothing")


@pytest.mark.parametrize(
    "make",
    [
        lambda: create_table_sql("lam; DROP TABLE x"),
        lambda: create_table_sql("`lam`"),
        lambda: create_database_sql("", Path("/w")),
        lambda: add_partition_sql("lam", "pins'", 0, Path("/w")),
        lambda: add_partition_sql("lam", "pins", -1, Path("/w")),
        lambda: add_partition_sql("lam", "pins", "0", Path("/w")),  # type: ignore[arg-type]
        lambda: set_location_sql("lam", "pins", 0, Path("/w'/x")),
        lambda: partition_dir(Path("/w"), "../pins", 0, "a"),
        lambda: partition_dir(Path("/w"), "pins", 0, "a/.."),
        lambda: partition_dir(Path("/w"), "pins", 0, ""),
    ],
)
def test_what_could_break_out_of_a_statement_or_folder_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_attempts_have_directories_of_their_own(tmp_path: Path) -> None:
    assert partition_dir(tmp_path, "pins", 0, "a1") != partition_dir(tmp_path, "pins", 0, "a2")


@pytest.fixture(autouse=True)
def submit_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "pyspark-shell")


def context(folder: Path, metastore_dsn: str, spark_conf: dict[str, str] | None = None) -> RunContext:
    return RunContext(
        run_id="run",
        arm="lambda",
        replicate=0,
        namespace="run_lambda_0",
        run_dir=folder,
        arm_dir=folder / "arm",
        kafka_bootstrap="",
        s3=S3Endpoint("127.0.0.1:1", "", "", ""),
        postgres_dsn="",
        metastore_dsn=metastore_dsn,
        gss=RpcEndpoint.to_be_started(),
        inference=RpcEndpoint.to_be_started(),
        day_seconds=60,
        model_dir=folder,
        jdbc_jar="/jars/postgresql.jar",
        spark_conf=spark_conf or {},
    )


def test_spark_is_bound_to_loopback_and_the_password_stays_off_the_command_line(tmp_path: Path) -> None:
    run = context(tmp_path, "postgresql://user:p%3Css%26@127.0.0.1:5433/metastore")

    conf = spark_conf(run)

    assert conf["spark.driver.bindAddress"] == conf["spark.driver.host"] == "127.0.0.1"
    assert conf["spark.ui.enabled"] == "false"
    url = "jdbc:postgresql://127.0.0.1:5433/metastore"
    assert conf["spark.hadoop.javax.jdo.option.ConnectionURL"] == url
    assert not any("p<ss&" in value or "p%3Css" in value for value in conf.values())
    assert conf["spark.driver.extraJavaOptions"] == f"-Djava.io.tmpdir={run.arm_dir / 'spark-tmp'}"
    assert (run.arm_dir / "spark-tmp").is_dir()
    assert conf["spark.driver.extraClassPath"] == "/jars/postgresql.jar"
    secrets = run.arm_dir / SPARK_SECRETS
    assert secrets.read_text() == "spark.hadoop.javax.jdo.option.ConnectionPassword=p<ss&\n"
    assert secrets.stat().st_mode & 0o777 == 0o600


def test_the_users_spark_settings_win_and_add_to_the_class_path(tmp_path: Path) -> None:
    mine = {"spark.sql.shuffle.partitions": "400", "spark.jars": "/my.jar"}
    conf = spark_conf(context(tmp_path, "postgresql://u:p@db/metastore", mine))

    assert conf["spark.sql.shuffle.partitions"] == "400"
    assert conf["spark.jars"] == "/jars/postgresql.jar,/my.jar"


def test_secrets_among_the_users_spark_settings_stay_off_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--verbose pyspark-shell")
    mine = {"spark.authenticate": "true", "spark.authenticate.secret": "hid\\den"}
    run = context(tmp_path / "a folder", "postgresql://u:p@db/metastore", mine)
    for earlier in (context(tmp_path / "earlier", "postgresql://u:p@db/metastore"), run, run):
        conf = spark_conf(earlier)  # what it does to the environment is about the last one
    assert conf["spark.authenticate"] == "true"
    assert "spark.authenticate.secret" not in conf
    first, path, defaults, *others = shlex.split(os.environ["PYSPARK_SUBMIT_ARGS"])
    assert (first, defaults) == ("--properties-file", "--load-spark-defaults")
    assert others == ["--verbose", "pyspark-shell"]
    assert Path(path) == run.arm_dir / SPARK_SECRETS
    assert "spark.authenticate.secret=hid\\\\den\n" in Path(path).read_text()
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_tasks_run_on_the_python_of_their_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", "/of/other/work/python")
    spark_conf(context(tmp_path, "postgresql://u:p@db/metastore"))
    assert os.environ["PYSPARK_PYTHON"] == sys.executable


def test_a_properties_file_of_the_users_environment_is_refused_and_told_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--properties-file /mine.conf pyspark-shell")
    with pytest.raises(ConfigurationError, match=r"\[spark.conf\]"):
        spark_conf(context(tmp_path, "postgresql://u:p@db/metastore"))


def test_a_metastore_behind_a_unix_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Unix socket"):
        spark_conf(context(tmp_path, "postgresql:///metastore?host=/run/pg"))
