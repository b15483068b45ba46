"""What the steps of a night share: context, clients, ledger, and the Spark session and pool once started."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import SparkSession

from lambda_pipeline.offline.step3_pool import WorkerPool
from lambda_pipeline.pinlater import PgmqPinLater
from signals.architecture import RunContext
from signals.errors import PipelineError
from signals.hive import create_database_sql, create_table_sql, spark_conf
from signals.ledger import Ledger
from signals.object_store import ObjectStore


@dataclass(slots=True)
class Night:
    """One attempt at the nightly workflow of one day. Use as a context manager."""

    context: RunContext
    context_path: Path
    day: int
    ledger: Ledger
    attempt_id: str = field(default_factory=lambda: f"{time.time_ns()}")
    _spark: SparkSession | None = None
    _pinlater: PgmqPinLater | None = None
    _pool: WorkerPool | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _objects: ObjectStore | None = None

    @property
    def work_dir(self) -> Path:
        """Scratch of this attempt: delta, Thrift files, SST files."""
        return self.context.arm_dir / "nightly" / f"day={self.day}" / f"run-{self.attempt_id}"

    @property
    def object_prefix(self) -> str:
        """Where this attempt's workers write their outputs in the object store."""
        return f"{self.context.namespace}/nightly/day={self.day}/run-{self.attempt_id}"

    @property
    def database(self) -> str:
        """The Hive database of this arm and replicate."""
        return self.context.namespace

    @property
    def pinlater(self) -> PgmqPinLater:
        """The nightly queue."""
        if self._pinlater is None:
            self._pinlater = PgmqPinLater(self.context.postgres_dsn, self.context.namespace, "nightly")
            self._stack.callback(self._pinlater.close)
        return self._pinlater

    @property
    def objects(self) -> ObjectStore:
        """The object store, open while the night is entered."""
        if self._objects is None:
            raise PipelineError("the night was not entered")
        return self._objects

    @property
    def pool(self) -> WorkerPool:
        """The GPU worker pool of step 3."""
        if self._pool is None:
            self._pool = WorkerPool(self.context, self.context_path, self.ledger)
            self._stack.callback(self._pool.stop)
        return self._pool

    @property
    def spark(self) -> SparkSession:
        """The session that :meth:`start_spark` started."""
        if self._spark is None:
            raise PipelineError("the Spark session was not started")
        return self._spark

    def start_spark(self) -> SparkSession:
        """Start the session, and create the Hive table unless it exists."""
        builder = SparkSession.Builder().master(self.context.spark_master).appName(self.context.namespace)
        for name, value in spark_conf(self.context).items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        self._stack.callback(session.stop)
        session.sparkContext.setLogLevel("ERROR")
        session.sql(create_database_sql(self.database, self.context.warehouse_dir))
        session.sql(create_table_sql(self.database))
        self._spark = session
        return session

    def __enter__(self) -> Night:
        # At once: step 5, in which the devices are done and not yet released, would have to wait for it.
        self._objects = self._stack.enter_context(ObjectStore(self.context.s3))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
