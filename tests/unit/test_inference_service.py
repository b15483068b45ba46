from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lambda_pipeline.online import inference_idl as idl
from lambda_pipeline.online.inference_client import InferenceClient
from lambda_pipeline.online.inference_idl import IMAGES_PER_CALL
from lambda_pipeline.online.inference_service import InferenceHandler
from lambda_pipeline.online.ready_files import inference_address_file
from signals.architecture import RpcEndpoint, RunContext
from signals.errors import ConfigurationError, ServiceError
from signals.inference import InferenceEngine, signal_values
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.process import write_ready_file
from signals.rpc import RpcServer

MAX_BATCH = 4
TOKEN = "the token of this run"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> InferenceEngine:
    return InferenceEngine(Model.load(build_near_free_model(tmp_path_factory.mktemp("cache"))))


@pytest.fixture
def handler(engine: InferenceEngine) -> Iterator[InferenceHandler]:
    made = InferenceHandler([engine], max_batch=MAX_BATCH, max_batch_wait_seconds=0.0)
    with contextlib.closing(made):
        yield made


def images(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def soon_ns() -> int:
    return time.time_ns() + 20 * 10**9


def test_a_call_answers_for_each_image_in_order(handler: InferenceHandler, engine: InferenceEngine) -> None:
    tensors, galaxies = images(6), ["pins", "videos", "pins", "products", "pins", "videos"]
    answers: list[Any] = handler.infer(tensors.tobytes(), galaxies, soon_ns())
    assert len(answers) == 6
    for tensor, galaxy, answer in zip(tensors, galaxies, answers, strict=True):
        (expected,) = signal_values(engine.run(tensor[None]), galaxy)
        assert isinstance(expected, dict)
        assert [(s.name, s.version) for s in answer.signals] == [(d.name, d.version) for d in expected]
        for signal, value in zip(answer.signals, expected.values(), strict=True):
            np.testing.assert_allclose(np.frombuffer(signal.values, "<f4"), value.ravel(), atol=1e-4)
        assert 1 <= answer.batch_size <= MAX_BATCH
        assert answer.batch_start_ns <= answer.inference_end_ns
    # Each batch can be booked once, whoever's images it held.
    batches = {answer.batch_start_ns: answer.batch_size for answer in answers if answer.batch_position == 0}
    assert sum(batches.values()) == 6


@pytest.mark.parametrize("count", [0, IMAGES_PER_CALL + 1])
def test_a_call_is_bounded(handler: InferenceHandler, count: int) -> None:
    with pytest.raises(ConfigurationError, match="1 to 64 images"):
        handler.infer(b"", ["pins"] * count, soon_ns())


def test_bytes_that_are_not_whole_images_are_refused(handler: InferenceHandler) -> None:
    with pytest.raises(ConfigurationError, match="uint8"):
        handler.infer(images(2).tobytes()[:-1], ["pins", "pins"], soon_ns())


def test_a_deadline_that_passed_fails_the_call(handler: InferenceHandler) -> None:
    with pytest.raises(Exception, match=r"deadline|in time"):
        handler.infer(images(1).tobytes(), ["pins"], time.time_ns() - 1)


class Refuser:
    """An inference service without signals, which finds every image at fault."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def infer(self, _images: bytes, galaxies: list[str], _deadline_ns: int) -> list[Any]:
        self.calls.append(len(galaxies))
        return [idl.Answer(failure_reason="non_finite_output") for _ in galaxies]

    def describe(self) -> Any:
        return idl.Description(model_sha256="", devices=[], signals=[])


def client_of(endpoint: RpcEndpoint, arm_dir: Path) -> InferenceClient:
    context = cast(RunContext, SimpleNamespace(inference=endpoint, arm_dir=arm_dir))
    return InferenceClient(context, timeout_seconds=10.0, absence_seconds=0.0)


@pytest.mark.parametrize(
    ("size", "count", "calls"), [(224, 70, [64, 6]), (600, 64, [58, 6]), (4500, 2, [1, 1])]
)
def test_a_call_holds_as_many_images_as_fit(tmp_path: Path, size: int, count: int, calls: list[int]) -> None:
    service = Refuser()
    with RpcServer(idl.Inference, service, TOKEN) as server:
        client = client_of(RpcEndpoint(server.host, server.port, TOKEN), tmp_path)
        with contextlib.closing(client):
            found = client.infer([np.zeros((size, size, 3), np.uint8)] * count, ["pins"] * count)
    assert len(found) == count
    assert service.calls == calls


@pytest.mark.parametrize("was_connected", [False, True])
def test_a_client_leaves_an_address_that_is_another_runs_now(tmp_path: Path, was_connected: bool) -> None:
    def serve(token: str, port: int = 0) -> RpcServer:
        server = servers.enter_context(RpcServer(idl.Inference, Refuser(), token, port=port))
        write_ready_file(inference_address_file(tmp_path), {"host": server.host, "port": server.port})
        return server

    with contextlib.ExitStack() as servers:
        client = servers.enter_context(contextlib.closing(client_of(RpcEndpoint("", 0, TOKEN), tmp_path)))
        mine = serve(TOKEN)
        if was_connected:
            client.describe()
        mine.close()
        serve("another", mine.port)
        with pytest.raises(ServiceError, match="refuses the token"):
            client.describe()
        serve(TOKEN)
        client.describe()
