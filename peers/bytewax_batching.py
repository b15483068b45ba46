"""Bytewax: a cluster of one process per core; each takes what its partition has, up to a batch."""

from __future__ import annotations

import os

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main  # what bytewax.run does with addresses, without importing this twice
from image_model import ImageModel, task

model = ImageModel(task)


def embed(messages: list) -> list:
    """One batch, as many as were there."""
    rows = model.embed([model.load(message.value.decode()) for message in messages])
    return [KafkaSinkMessage(m.value, row.tobytes()) for m, row in zip(messages, rows, strict=True)]


brokers = [task["kafka"]]
flow = Dataflow("embeddings")
source = KafkaSource(brokers, [task["input_topic"]], batch_size=task["batch"])
images = op.input("images", flow, source)
embeddings = op.flat_map_batch("embed", images, embed)
op.output("embeddings", embeddings, KafkaSink(brokers, task["output_topic"]))

if __name__ == "__main__":
    cluster_main(flow, task["addresses"], int(os.environ["PEER_WORKER"]))
