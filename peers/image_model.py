"""What any of these programs needs, whatever engine runs it: an image from S3, and embeddings of a batch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import simplejpeg
from minio import Minio
from PIL import Image

task = json.loads(Path(os.environ["PEER_TASK"]).read_text())  # bench/peers/task.py says what is in it


class ImageModel:
    """One per process: a session of one thread that does not spin while it is idle."""

    def __init__(self, task: dict) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(task["model"], options, ["CPUExecutionProvider"])
        self.output, self.input = task["model_output"], task["model_input"]
        self.size, self.resize = task["input_size"], task["resize_size"]
        s3 = task["s3"]
        self.bucket = s3["bucket"]
        self.s3 = Minio(
            s3["endpoint"], s3["access_key"], s3["secret_key"], secure=s3["secure"], region=s3["region"]
        )

    def load(self, key: str) -> np.ndarray:
        """From an object's key to the model's input."""
        response = self.s3.get_object(self.bucket, key)
        try:
            return self.prepare(response.data)
        finally:
            response.release_conn()

    def prepare(self, data: bytes) -> np.ndarray:
        """From the bytes of a JPEG to the model's input: the centre, resized in one go."""
        image = Image.fromarray(simplejpeg.decode_jpeg(data))
        side = min(image.size) * self.size / self.resize
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC, box))

    def embed(self, tensors: list[np.ndarray]) -> np.ndarray:
        """A batch of inputs to one row each. A CPU is faster with one after the other."""
        return np.concatenate([self.session.run([self.output], {self.input: t[None]})[0] for t in tensors])
