"""Micro-benchmarks of the shared core. Names are stable: they are what two commits are compared by."""

from __future__ import annotations

import io
import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from lambda_pipeline.online.batcher import Batch, DynamicBatcher
from signals.catalog import MediaConfig
from signals.compute import load_image
from signals.encodings import (
    decode_protobuf,
    decode_thrift,
    encode_protobuf,
    encode_thrift,
    read_delimited,
    write_delimited,
)
from signals.image import RgbImage
from signals.inference import InferenceEngine
from signals.ledger import Ledger, Stage
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.record import SignalRecord
from tests.benchmarks.conftest import BesideBare

BATCH_SIZES = (1, 4, 8, 16, 32)
ROUNDS = 10
PROVIDERS = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(
                "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
                reason="no CUDA provider",
            ),
        ],
    ),
]


def record(number: int = 0) -> SignalRecord:
    return SignalRecord.from_array(
        np.random.default_rng(number).standard_normal(1280, dtype=np.float32),
        image_signature=f"{number:032x}",
        galaxy="pins",
        signal="visual_embedding",
        version=1,
        day=0,
        pipeline="crawled",
        model_sha256="0" * 64,
    )


def test_decode_and_resize(
    benchmark: Any, image_bytes: list[bytes], media: MediaConfig, model_dir: Path
) -> None:
    manifest = Model.load(model_dir).manifest
    images: Iterator[bytes] = itertools.cycle(image_bytes)
    benchmark(lambda: load_image(next(images), media, manifest))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_inference(
    benchmark: Any,
    provider: Any,
    batch: int,
    tensors: list[RgbImage],
    model_dir: Path,
    beside_bare: list[BesideBare],
) -> None:
    model = Model.load(model_dir)
    engine = InferenceEngine(model, device=provider, whole_batches=True)
    images = np.stack(tensors[:batch])
    engine.run(images)
    benchmark.pedantic(lambda: engine.run(images), rounds=10, warmup_rounds=1)
    share = share_of_bare(engine, model, images)
    beside_bare.append(BesideBare(engine.device, batch, batch / benchmark.stats.stats.median, share))
    benchmark.extra_info.update(device=engine.device, images=batch, share_of_bare_onnxruntime=share)


def share_of_bare(engine: InferenceEngine, model: Model, images: RgbImage) -> float:
    """The engine's speed as a share of ONNX Runtime's own on the same device, by turns: medians of ROUNDS."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as the engine has
    session = onnxruntime.InferenceSession(model.graph, options, providers=[engine.provider])
    feed = {model.manifest.input_name: images}
    seconds: dict[str, list[float]] = {"engine": [], "bare": []}
    session.run(None, feed)
    for _ in range(ROUNDS):
        for name, run in (("engine", lambda: engine.run(images)), ("bare", lambda: session.run(None, feed))):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return statistics.median(seconds["bare"]) / statistics.median(seconds["engine"])


def test_inference_near_free(benchmark: Any, tensors: list[RgbImage]) -> None:
    engine = InferenceEngine(Model.load(build_near_free_model()))
    images = np.stack(tensors[:8])
    benchmark(lambda: engine.run(images))


def test_batcher_64_items(benchmark: Any) -> None:
    def run(batch: Batch[int]) -> list[int]:
        return list(batch)

    with DynamicBatcher(run, max_batch=8, max_wait_seconds=0.0, capacity=64) as batcher:
        benchmark(lambda: [f.result() for f in [batcher.submit(number) for number in range(64)]])


@pytest.mark.parametrize("encode", [encode_protobuf, encode_thrift])
def test_encode(benchmark: Any, encode: Any) -> None:
    benchmark(encode, record())


@pytest.mark.parametrize(
    ("encode", "decode"), [(encode_protobuf, decode_protobuf), (encode_thrift, decode_thrift)]
)
def test_decode(benchmark: Any, encode: Any, decode: Any) -> None:
    benchmark(decode, encode(record()))


def test_read_delimited_64_records(benchmark: Any) -> None:
    stream = io.BytesIO()
    write_delimited(stream, [record(number) for number in range(64)])
    benchmark(lambda: list(read_delimited(io.BytesIO(stream.getvalue()))))


def test_ledger_1000_rows(benchmark: Any, tmp_path: Path) -> None:
    with Ledger(tmp_path, process="benchmark") as ledger:

        def rows() -> None:
            for number in range(1000):
                ledger.record(Stage.FETCH, start_ns=number, end_ns=number + 1, image_signature="0" * 32)
            ledger.flush()

        benchmark(rows)
