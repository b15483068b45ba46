from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lambda_pipeline.online.inference_idl import IMAGES_PER_CALL
from lambda_pipeline.online.inference_service import InferenceHandler
from signals.errors import ConfigurationError
from signals.inference import InferenceEngine, signal_values
from signals.model import Model
from signals.near_free import build_near_free_model

MAX_BATCH = 4


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
