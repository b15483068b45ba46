"""Faust: an agent that takes up to 32 events at a time; the engine's own batching."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import faust
from image_model import ImageModel, task

app = faust.App(
    "embeddings",
    broker=f"kafka://{task['kafka']}",
    datadir=f"{task['output']}/{os.environ['PEER_WORKER']}",
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
images = app.topic(task["input_topic"], key_serializer="raw", value_serializer="raw")
embeddings = app.topic(task["output_topic"], key_serializer="raw", value_serializer="raw")
model = ImageModel(task)
threads = ThreadPoolExecutor(3)


def embed(keys: list[bytes]) -> list[bytes]:
    """One batch; two threads fetch and decode."""
    tensors = threads.map(lambda key: model.load(key.decode()), keys)
    return [row.tobytes() for row in model.embed(list(tensors))]


@app.agent(images)
async def embed_images(keys: faust.Stream) -> None:
    """Take what is there, compute it beside the event loop, send it."""
    async for batch in keys.take(32, within=0.05):
        rows = await asyncio.get_running_loop().run_in_executor(threads, embed, batch)
        for key, row in zip(batch, rows, strict=True):
            await embeddings.send(key=key, value=row)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "--loglevel", "warn"]
    app.main()
