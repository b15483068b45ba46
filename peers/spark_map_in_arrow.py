"""PySpark: mapInArrow, one partition of keys per core; two threads fetch and decode ahead of the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from image_model import ImageModel, task
from pyspark.sql import SparkSession


def embed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Keys to embeddings, in one Python worker."""
    model = ImageModel(task)
    size = task["batch"]
    with ThreadPoolExecutor(2) as pool:
        for batch in batches:
            keys = batch["key"].to_pylist()
            tensors = pool.map(model.load, keys)
            for start in range(0, len(keys), size):
                chunk = keys[start : start + size]
                rows = model.embed([next(tensors) for _ in chunk])
                done_ns = [time.time_ns()] * len(chunk)
                columns = [pa.array(chunk), pa.array([r.tobytes() for r in rows]), pa.array(done_ns)]
                yield pa.record_batch(columns, ["key", "embedding", "done_ns"])


if __name__ == "__main__":
    spark = (
        SparkSession.builder.master(f"local[{task['workers']}]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 16 * task["batch"])  # bounds what waits
        .getOrCreate()
    )
    keys = spark.createDataFrame([(key,) for key in task["keys"]], "key string").repartition(task["workers"])
    embedded = keys.mapInArrow(embed, "key string, embedding binary, done_ns long")
    embedded.write.mode("overwrite").parquet(task["output"])
