"""The Hive metastore on PostgreSQL: how Spark is told of it, and how others see its partitions."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from signals.architecture import RunContext
from signals.errors import ConfigurationError, PipelineError, ServiceError
from signals.hive_table import TABLE
from signals.postgres import connect
from signals.whole_file import replace_secret

SPARK_SECRETS = "spark-secrets.properties"  # in the arm's folder, for as long as the arm is up
SHUFFLE_PARTITIONS = 8  # Spark's 200 is meant for clusters; spark_conf overrides it

_JDO = "javax.jdo.option"
_SECRET = re.compile(r"secret|password|token|access[.]?key", re.IGNORECASE)  # what Spark itself masks in logs
_SUBMIT_ARGS = "PYSPARK_SUBMIT_ARGS"
_PARTITION_NAME = re.compile(r"galaxy=([a-z0-9_]+)/day=(\d+)", re.ASCII)

_PARTITIONS_SQL = """
SELECT partition."PART_NAME", storage."LOCATION"
FROM "PARTITIONS" partition
JOIN "TBLS" tbl ON tbl."TBL_ID" = partition."TBL_ID"
JOIN "DBS" db ON db."DB_ID" = tbl."DB_ID"
JOIN "SDS" storage ON storage."SD_ID" = partition."SD_ID"
WHERE db."NAME" = %s AND tbl."TBL_NAME" = %s
"""


def spark_conf(context: RunContext) -> dict[str, str]:
    """Spark's settings for Hive support with this run's metastore, bound to loopback.

    Secrets, the metastore's password and what ``context.spark_conf`` holds, go to :data:`SPARK_SECRETS` in
    the arm's folder, readable by the owner only, because settings appear on the JVM's command line; this
    process's environment names that file to Spark, and this Python to its tasks. ``context.spark_conf`` wins
    where both set something.
    Raises ConfigurationError for a metastore that JDBC can't reach.
    """
    dsn = conninfo_to_dict(context.metastore_dsn)
    host, port = str(dsn.get("host") or "127.0.0.1"), str(dsn.get("port") or "5432")
    if host.startswith("/"):
        raise ConfigurationError("the metastore's DSN names a Unix socket; Spark needs a host and a port")
    secrets = {f"spark.hadoop.{_JDO}.ConnectionPassword": str(dsn.get("password") or "")}
    own = {name: value for name, value in context.spark_conf.items() if not _SECRET.search(name)}
    secrets |= {name: value for name, value in context.spark_conf.items() if name not in own}
    _name_secrets(context.arm_dir / SPARK_SECRETS, secrets)
    os.environ["PYSPARK_PYTHON"] = sys.executable  # one set for other work lacks what the tasks import
    spark_event_dir(context).mkdir(parents=True, exist_ok=True)  # Spark refuses to make it
    temporary = context.arm_dir / "spark-tmp"  # Hive leaves a folder of each session behind
    temporary.mkdir(exist_ok=True)
    return {
        "spark.ui.enabled": "false",
        # Spark's own account of its tasks: how long each ran, on how much CPU.
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": str(spark_event_dir(context)),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(context.warehouse_dir),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(SHUFFLE_PARTITIONS),
        "spark.sql.parquet.compression.codec": "zstd",
        f"spark.hadoop.{_JDO}.ConnectionURL": f"jdbc:postgresql://{host}:{port}/{dsn.get('dbname', '')}",
        f"spark.hadoop.{_JDO}.ConnectionDriverName": "org.postgresql.Driver",
        f"spark.hadoop.{_JDO}.ConnectionUserName": str(dsn.get("user") or ""),
        # Tables are made when first needed. Making constraints as well deadlocks on PostgreSQL.
        "spark.hadoop.datanucleus.schema.autoCreateAll": "false",
        "spark.hadoop.datanucleus.schema.autoCreateTables": "true",
        "spark.hadoop.datanucleus.schema.autoCreateColumns": "true",
        "spark.hadoop.datanucleus.schema.autoCreateConstraints": "false",
        "spark.hadoop.hive.metastore.schema.verification": "false",
        **own,
        # What the user adds to these three comes on top.
        "spark.driver.extraJavaOptions": _joined(
            *(" ", f"-Djava.io.tmpdir={shlex.quote(str(temporary))}"),
            context.spark_conf.get("spark.driver.extraJavaOptions"),
        ),
        "spark.jars": _joined(",", context.jdbc_jar, context.spark_conf.get("spark.jars")),
        "spark.driver.extraClassPath": _joined(
            os.pathsep, context.jdbc_jar, context.spark_conf.get("spark.driver.extraClassPath")
        ),
    }


def spark_event_dir(context: RunContext) -> Path:
    """Where Spark writes its event logs, one file per application."""
    return context.arm_dir / "spark-events"


def _joined(separator: str, *parts: str | None) -> str:
    return separator.join(part for part in parts if part)


def _name_secrets(path: Path, settings: Mapping[str, str]) -> None:
    """Have the JVM that PySpark starts read ``settings`` from a file, beside the user's own defaults."""
    lines = [f"{name}={value}\n".replace("\\", "\\\\") for name, value in settings.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_secret(path, "".join(lines))  # several of the arm's processes may write it
    given = shlex.split(os.environ.get(_SUBMIT_ARGS, "pyspark-shell"))
    if given[:1] == ["--properties-file"] and Path(given[1]).name == path.name:
        given = given[3:]  # those of an earlier context
    if "--properties-file" in given:
        raise ConfigurationError(
            f"{_SUBMIT_ARGS} names a --properties-file, of which Spark reads only one: "
            "move its settings to [spark.conf]"
        )
    os.environ[_SUBMIT_ARGS] = shlex.join(["--properties-file", str(path), "--load-spark-defaults", *given])


class MetastoreReader:
    """Sees which partitions are visible, without Spark, cheaply enough to poll. One per thread."""

    def __init__(self, dsn: str, database: str) -> None:
        """Connects at the first read."""
        self._dsn, self._database = dsn, database
        self._connection: psycopg.Connection | None = None

    def partitions(self) -> dict[tuple[str, int], str]:
        """Location of each partition by (galaxy, day); empty while the table or the metastore is not made.

        Raises ServiceError when the database can't be reached (after one attempt to connect anew).
        """
        try:
            rows = self._query()
        except psycopg.OperationalError:
            self.close()
            try:
                rows = self._query()
            except psycopg.OperationalError as error:
                raise ServiceError(f"the Hive metastore can't be read: {error}") from error
        found = {}
        for name, location in rows:
            if (match := _PARTITION_NAME.fullmatch(name)) is None:
                raise PipelineError(f"{self._database}.{TABLE} has a partition {name!r}")
            found[match[1], int(match[2])] = str(location)
        return found

    def _query(self) -> list[tuple[str, str]]:
        if self._connection is None:
            self._connection = connect(self._dsn)
        try:
            return self._connection.execute(_PARTITIONS_SQL, (self._database, TABLE)).fetchall()
        except psycopg.errors.UndefinedTable:
            return []

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def __enter__(self) -> MetastoreReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
