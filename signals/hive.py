"""Hive, as everything outside of this package uses it: the table's layout, publishing, and the metastore."""

from __future__ import annotations

from signals.hive_rows import hive_batches
from signals.hive_table import (
    HIVE_SCHEMA,
    KEY_COLUMNS,
    TABLE,
    add_partition_sql,
    create_database_sql,
    create_table_sql,
    partition_dir,
    publish_partition,
    read_partition,
    set_location_sql,
    verify_partition,
)
from signals.metastore import SPARK_SECRETS, MetastoreReader, spark_conf

__all__ = [
    "HIVE_SCHEMA",
    "KEY_COLUMNS",
    "SPARK_SECRETS",
    "TABLE",
    "MetastoreReader",
    "add_partition_sql",
    "create_database_sql",
    "create_table_sql",
    "hive_batches",
    "partition_dir",
    "publish_partition",
    "read_partition",
    "set_location_sql",
    "spark_conf",
    "verify_partition",
]
