"""Step 1: the day's delta, which is its unique image signatures that no earlier partition has.

What the online path has stored meanwhile does not count: the batch computes it again, on a cluster of its
own, and that duplicate work is a property of the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import functions as f

from lambda_pipeline.offline.night import Night
from signals.hive import TABLE

EVENT_SCHEMA = (
    "event_id LONG, image_signature STRING, pipeline STRING, galaxy STRING, day INT, scheduled_ns LONG, "
    "object_key STRING, kind STRING"
)


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Write the delta as Parquet: galaxy, image_signature, pipeline, object_key; one row per key."""
    log = night.spark.read.schema(EVENT_SCHEMA).json(inputs["media_log"], mode="FAILFAST")
    first = f.struct("scheduled_ns", "event_id", "pipeline", "object_key")
    arrived = (
        log.where(f.col("kind") == "media")
        .groupBy("galaxy", "image_signature")
        .agg(f.min(first).alias("first"))  # the pipeline that brought it first
        .select("galaxy", "image_signature", "first.pipeline", "first.object_key")
    )
    known = (
        night.spark.table(f"{night.database}.{TABLE}")
        .where(f.col("day") < night.day)
        .select("galaxy", "image_signature")
    )
    path = str(night.work_dir / "delta")
    delta = arrived.join(known, ["galaxy", "image_signature"], "left_anti")
    delta.coalesce(1).write.parquet(path)
    return {"delta": path, "delta_images": night.spark.read.parquet(path).count()}
