"""The nightly dump: ``python -m kappa_pipeline.dump --context PATH --day N --midnight-ns X``.

Waits until the stream has passed midnight, takes a checkpoint of Rockstore, lets Spark transform the day's
signals in it into the Hive table's layout, and makes the partitions visible. Holds no device: every value
was computed by the stream.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kappa_pipeline.dump_step import tell_step
from kappa_pipeline.dump_transform import transform
from kappa_pipeline.nrtg import plan_signals
from kappa_pipeline.watermark import wait_for_watermark
from signals.architecture import RunContext
from signals.catalog import Catalog
from signals.declaration import declared_signals
from signals.gss import GssClient
from signals.hive import create_database_sql, create_table_sql, publish_partition, spark_conf
from signals.ledger import Ledger, Stage
from signals.model import Model
from signals.program import exits_as

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def dump_day(context: RunContext, day: int, midnight_ns: int, ledger: Ledger) -> dict[str, int]:
    """Make the partitions of ``day`` visible once the watermark is at ``midnight_ns`` (Unix ns).

    Returns the number of rows by galaxy; galaxies without signals of that day have no partition. Can be
    repeated: each attempt writes files of its own, and swaps them in. Raises an error of the tree.
    """
    plan = plan_signals(
        declared_signals(),
        Catalog.load(context.catalog_path),
        Model.load(context.model_dir).manifest.outputs,
    )
    attempt_id = f"dump-{time.time_ns():x}"
    checkpoint = context.arm_dir / "checkpoints" / f"day-{day}-{attempt_id}"

    @contextlib.contextmanager
    def step(name: str) -> Iterator[None]:
        start_ns, outcome = time.time_ns(), "error"
        tell_step(context.arm_dir, day, name)
        try:
            yield
            outcome = "ok"
        finally:
            ledger.record(
                Stage.STEP,
                start_ns=start_ns,
                end_ns=time.time_ns(),
                path="dump",
                day=day,
                outcome=outcome,
                detail=name,
            )

    try:
        with step("dump.watermark"):
            wait_for_watermark(context, midnight_ns, context.drain_timeout_seconds)
        with step("dump.checkpoint"), GssClient.of_run(context) as gss:
            gss.checkpoint(checkpoint)
        with contextlib.ExitStack() as stack:
            with step("dump.spark_session"):
                spark = stack.enter_context(_spark(context))
                spark.sql(create_database_sql(context.namespace, context.warehouse_dir))
                spark.sql(create_table_sql(context.namespace))
            with step("dump.transform"):
                written = transform(spark, plan, checkpoint, context.warehouse_dir, day, attempt_id)
            with step("dump.swap"):
                for galaxy, (path, rows) in written.items():
                    start_ns = time.time_ns()
                    publish_partition(spark.sql, context.namespace, galaxy, day, path, rows)
                    ledger.record(
                        Stage.SWAP,
                        start_ns=start_ns,
                        end_ns=time.time_ns(),
                        path="dump",
                        day=day,
                        galaxy=galaxy,
                        detail=str(path),
                    )
    finally:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return {galaxy: rows for galaxy, (_, rows) in written.items()}


@contextlib.contextmanager
def _spark(context: RunContext) -> Iterator[SparkSession]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(f"{context.namespace}-dump").master(context.spark_master)
    spark = builder.config(map={**spark_conf(context)}).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


@click.command()
@click.option("--context", "context_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--day", type=int, required=True)
@click.option("--midnight-ns", type=int, required=True, help="Unix time of the day's end, ns.")
def main(context_path: Path, day: int, midnight_ns: int) -> None:
    """Dump one day of the key-value store into the Hive table."""
    context = RunContext.load(context_path)
    with Ledger.from_context(context, f"dump_day_{day}") as ledger, exits_as(f"dump of day {day}"):
        rows = dump_day(context, day, midnight_ns, ledger)
    click.echo(f"dump of day {day}: {sum(rows.values())} rows in {len(rows)} galaxies", err=True)


if __name__ == "__main__":
    main()
