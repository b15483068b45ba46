"""The Hive metastore's database: made from a cached schema, so that no run pays for its tables."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from signals.cache import cache_dir
from signals.errors import ServiceError

SCHEMA_VERSION = 1  # raise it when the way the schema is made changes


def schema_file() -> Path:
    """The SQL that makes all tables of the metastore for this PySpark. It may not exist yet."""
    return cache_dir() / "metastore" / f"pyspark-{version('pyspark')}-v{SCHEMA_VERSION}.sql"


def create_metastore(server_dsn: str, database: str) -> str:
    """Make a database with the metastore's tables next to the one that ``server_dsn`` names.

    Nothing happens if it exists. Without a cached schema it stays empty, and Spark makes the tables when
    it needs them. Returns the database's libpq URI; raises ServiceError.
    """
    dsn = database_dsn(server_dsn, database)
    try:
        with psycopg.connect(server_dsn, autocommit=True, connect_timeout=5) as server:
            query = "select 1 from pg_database where datname = %s"
            if server.execute(query, [database]).fetchone():
                return dsn
            server.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
        if schema_file().exists():
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                connection.execute(schema_file().read_bytes())
    except psycopg.Error as error:
        raise ServiceError(
            f"postgres: the Hive metastore's database {database} can't be made: {error}; the user of the DSN "
            "must be allowed to create databases"
        ) from error
    return dsn


def drop_metastore(server_dsn: str, database: str) -> None:
    """Drop the database, whoever is connected. Raises ServiceError."""
    try:
        with psycopg.connect(server_dsn, autocommit=True, connect_timeout=5) as server:
            server.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database))
            )
    except psycopg.Error as error:
        raise ServiceError(f"postgres: the database {database} can't be dropped: {error}") from error


def database_dsn(server_dsn: str, database: str) -> str:
    """The URI of another database on the same server."""
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{database}"))
