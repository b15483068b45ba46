"""Goes through what a run asks of Spark once, in a scratch database, and keeps two things of it.

The schema of the Hive metastore, since Hive's own scripts for PostgreSQL are not in PySpark's wheel; and the
classes that the JVM has loaded. ``python -m`` runs the part that needs Spark, in a process of its own, as a
session leaves a JVM behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from bench.services import class_archive
from bench.services.jars import JDBC, jar
from bench.services.metastore import create_metastore, schema_file
from bench.services.postgres import PostgresServer, binaries_dir
from signals.architecture import RpcEndpoint, RunContext, S3Endpoint
from signals.cache import cache_dir
from signals.errors import ServiceError
from signals.hive import (
    add_partition_sql,
    create_database_sql,
    create_table_sql,
    set_location_sql,
    spark_conf,
)
from signals.process import ProcessGroup

SESSION_TIMEOUT_SECONDS = 600.0  # on two cores one took 73 to 86 s
DUMP_TIMEOUT_SECONDS = 60.0
_DATABASE = "scratch"
_CLASSES = "classes"


def is_rehearsed() -> bool:
    """Whether the cache has what a rehearsal leaves. Raises MissingRequirement without Java or PySpark."""
    return schema_file().exists() and class_archive.was_tried()


def rehearse_spark(progress: Callable[[str], None] | None = None) -> None:
    """Make the cached schema and the archive of classes, unless both are there.

    Takes a Spark session, a minute or so, and the JDBC driver in the cache. Raises ServiceError,
    MissingRequirement.
    """
    if is_rehearsed():
        return
    schema = schema_file()
    if progress:
        progress("rehearsing a night's Spark session: the metastore's schema, and classes for a faster start")
    schema.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rehearsal-", dir=cache_dir()) as name:
        folder = Path(name)
        (folder / _CLASSES).mkdir()
        with ProcessGroup(folder / "logs") as group:
            server = PostgresServer(group, folder / "postgres")
            try:
                server_dsn = server.start()
                metastore_dsn = create_metastore(server_dsn, "metastore")
                _run_session(group, _context(folder, metastore_dsn))
                if not schema.exists():
                    (folder / "schema.sql").write_text(_dump(metastore_dsn))
                    (folder / "schema.sql").replace(schema)
                class_archive.keep(folder / _CLASSES)
            finally:
                server.stop()


def _run_session(group: ProcessGroup, context: RunContext) -> None:
    path = context.save(context.arm_dir / "context.json")
    child = group.start("spark-rehearsal", [sys.executable, "-m", __name__, str(path)])
    try:
        code = child.popen.wait(SESSION_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        group.stop_child(child)
        code = None
    child.expected = True
    if code != 0:
        outcome = f"ended with code {code}" if code is not None else "took too long"
        log = child.log.read_text(errors="replace")[-2000:]
        raise ServiceError(f"spark: the rehearsal of a session {outcome}; the end of its log is\n{log}")


def _dump(dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    argv = [str(binaries_dir() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges"]
    argv += ["-h", str(parts["host"]), "-p", str(parts["port"]), "-U", str(parts["user"]), "-w"]
    done = subprocess.run(
        [*argv, str(parts["dbname"])],
        capture_output=True,
        text=True,
        timeout=DUMP_TIMEOUT_SECONDS,
        env={**os.environ, "PGPASSWORD": str(parts["password"])},
    )
    if done.returncode != 0:
        raise ServiceError(f"postgres: pg_dump failed: {done.stderr}")
    # Session settings of this server's version, and commands to psql: another server knows neither.
    dropped = ("SET ", "\\", "SELECT pg_catalog.set_config", "--")
    lines = (line for line in done.stdout.splitlines() if line and not line.startswith(dropped))
    return "".join(f"{line}\n" for line in lines)


def _context(folder: Path, metastore_dsn: str) -> RunContext:
    return RunContext(
        run_id="rehearsal",
        arm="lambda",
        replicate=0,
        namespace=_DATABASE,
        run_dir=folder,
        arm_dir=folder / "arm",
        kafka_bootstrap="",
        s3=S3Endpoint("", "", "", ""),
        postgres_dsn="",
        metastore_dsn=metastore_dsn,
        gss=RpcEndpoint.to_be_started(),
        inference=RpcEndpoint.to_be_started(),
        day_seconds=0.0,
        model_dir=folder,
        spark_master="local[1]",
        spark_conf=class_archive.recorded_to(folder / _CLASSES, {}),
        jdbc_jar=str(jar(JDBC, "postgresql")),
    )


def _rehearse(context: RunContext) -> None:
    """Do with Hive what a run does, so that the metastore makes every table that a run needs, and with rows
    what a night does, so that the JVM loads what a night needs."""
    # Found at run time: PySpark's types would cost every check of this project half a minute.
    session = import_module("pyspark.sql").SparkSession
    builder = session.builder.master(context.spark_master).appName("rehearsal")
    for key, value in spark_conf(context).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    folder = context.warehouse_dir / "partition"
    folder.mkdir(parents=True)
    spark.sql(create_database_sql(_DATABASE, context.warehouse_dir))
    spark.sql(create_table_sql(_DATABASE))
    spark.sql(add_partition_sql(_DATABASE, "pins", 0, folder))
    spark.sql(set_location_sql(_DATABASE, "pins", 0, folder))
    spark.table(f"{_DATABASE}.signals").count()
    spark.sql(f"show partitions {_DATABASE}.signals").collect()
    spark.sql(f"drop database {_DATABASE} cascade")
    _move_rows(spark, context.arm_dir)
    jvm = spark.sparkContext._gateway.proc
    spark.stop()
    jvm.stdin.close()  # upon which it ends, and writes the archive before it does
    jvm.wait()


def _move_rows(spark: Any, folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"key": "a", "n": 1}\n{"key": "b", "n": 2}\n')
    read = spark.read.schema("key string, n int").json(str(folder / "rows.jsonl"))
    distinct = read.groupBy("key").agg({"n": "max"}).join(read, "key", "left_anti").union(read).sort("key")
    distinct.write.partitionBy("key").parquet(str(folder / "rows"))
    stored = spark.read.parquet(str(folder / "rows"))
    stored.select("key").mapInArrow(lambda batches: batches, "key string").write.parquet(
        str(folder / "mapped")
    )
    spark.sparkContext.parallelize(range(2)).map(str).collect()


if __name__ == "__main__":
    _rehearse(RunContext.load(Path(sys.argv[1])))
