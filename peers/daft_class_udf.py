"""Daft: its own reader downloads ahead, a class UDF in one process per core decodes and infers."""

from __future__ import annotations

import time

import daft
from daft import DataType, Series, col
from image_model import ImageModel, task

ROW = DataType.struct({"embedding": DataType.binary(), "done_ns": DataType.int64()})


@daft.cls(max_concurrency=task["workers"], use_process=True)
class Embed:
    """Loads the model once per process."""

    def __init__(self, task: dict) -> None:
        self.model = ImageModel(task)

    @daft.method.batch(return_dtype=ROW, batch_size=task["batch"])
    def __call__(self, images: Series) -> list[dict]:
        """One batch of JPEGs."""
        rows = self.model.embed([self.model.prepare(data) for data in images.to_pylist()])
        done_ns = time.time_ns()
        return [{"embedding": row.tobytes(), "done_ns": done_ns} for row in rows]


if __name__ == "__main__":
    s3 = task["s3"]
    scheme = "https" if s3["secure"] else "http"
    config = daft.io.IOConfig(
        s3=daft.io.S3Config(
            endpoint_url=f"{scheme}://{s3['endpoint']}",
            key_id=s3["access_key"],
            access_key=s3["secret_key"],
            region_name=s3["region"],
            use_ssl=s3["secure"],
            force_virtual_addressing=False,
        )
    )
    embed = Embed(task)
    images = daft.from_pydict(
        {"key": task["keys"], "url": [f"s3://{s3['bucket']}/{k}" for k in task["keys"]]}
    )
    images = images.with_column("image", col("url").download(io_config=config))
    images = images.with_column("result", embed(col("image")))
    images.select("key", col("result").get("embedding"), col("result").get("done_ns")).write_parquet(
        task["output"]
    )
