from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from signals.batcher import BatcherClosed
from signals.catalog import Catalog
from signals.compute import ComputeResult, LocalCompute, load_image, records_of
from signals.errors import ConfigurationError, ImageError, ServiceError
from signals.image import image_signature
from signals.inference import InferenceEngine
from signals.ledger import Ledger
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.visual import top5_classes, visual_embedding

LONG = 60.0  # seconds; nothing here waits this long
NO_HASH = ""


class BrokenEngine(InferenceEngine):
    """A real engine whose first output of dark images is not a number."""

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = super().run(images)
        outputs["embedding"][images.reshape(len(images), -1).max(axis=1) == 0, 0] = np.nan
        return outputs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(build_near_free_model(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger", process="test") as ledger:
        yield ledger


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def black() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


Make = Callable[..., LocalCompute]


@pytest.fixture
def make(model: Model, ledger: Ledger) -> Make:
    def build(
        fetch: Callable[[str], bytes], max_batch: int = 4, engine: InferenceEngine | None = None
    ) -> LocalCompute:
        return LocalCompute(
            fetch,
            engine or InferenceEngine(model),
            Catalog.load(),
            max_batch=max_batch,
            max_wait_seconds=0.0,
            ledger=ledger,
            pool="stream",
        )

    return build


def test_images_become_the_values_that_the_core_gives(make: Make, model: Model) -> None:
    objects = {f"images/{seed}": jpeg(seed) for seed in range(20)}
    with make(objects.__getitem__) as compute:
        futures = {key: compute.submit(key, "crawled", "pins") for key in objects}
        results = {key: future.result(LONG) for key, future in futures.items()}
    engine, media = InferenceEngine(model), Catalog.load().media("pins")
    for key, result in results.items():
        assert result.failure is None and result.values is not None
        assert result.input_hash == image_signature(objects[key])
        assert 1 <= result.batch_size <= 4
        times = result.times
        order = [
            times.fetch_start_ns,
            times.fetch_end_ns,
            times.decode_end_ns,
            times.batch_start_ns,
            times.inference_end_ns,
        ]
        assert order == sorted(order) and order[0] > 0
        expected = engine.run(load_image(objects[key], media, model.manifest)[None])["embedding"][0]
        assert np.allclose(result.values[visual_embedding], expected, atol=1e-5)
        assert result.values[top5_classes].shape == (5, 2)


def test_each_bad_image_fails_alone_with_its_stage_and_reason(make: Make, model: Model) -> None:
    def missing(_: str) -> bytes:
        raise ImageError("missing_object", "no such key")

    sources: dict[str, Callable[[str], bytes]] = {
        "missing": missing,
        "empty": lambda _: b"",
        "html": lambda _: b"<html></html>",
        "truncated": lambda _: jpeg(1)[:-100],
        "poison": lambda _: black(),
        **{f"good-{seed}": (lambda _, seed=seed: jpeg(seed)) for seed in range(6)},
    }
    with make(lambda key: sources[key](key), engine=BrokenEngine(model)) as compute:
        futures = {key: compute.submit(key, "shopping", "products") for key in sources}
        results = {key: future.result(LONG) for key, future in futures.items()}
    verdicts = {key: (r.failure.stage, r.failure.reason) for key, r in results.items() if r.failure}
    assert verdicts == {
        "missing": ("fetch", "missing_object"),
        "empty": ("decode", "empty"),
        "html": ("decode", "unsupported_format"),
        "truncated": ("decode", "truncated"),
        "poison": ("inference", "non_finite_output"),
    }
    for key, result in results.items():
        assert (result.values is None) == (key in verdicts)
    assert results["missing"].input_hash == NO_HASH and results["missing"].times.decode_end_ns == 0
    assert results["empty"].input_hash == image_signature(b"") and results["empty"].times.batch_start_ns == 0
    assert results["poison"].batch_size >= 1


def test_galaxies_share_a_batch(make: Make) -> None:
    with make(lambda key: jpeg(int(key)), max_batch=8) as compute:
        places = [("crawled", "pins"), ("shopping", "products"), ("profile_images", "profiles")] * 4
        futures = [compute.submit(str(i), *place) for i, place in enumerate(places)]
        assert all(future.result(LONG).values for future in futures)


def test_a_store_that_is_down_is_an_exception_not_a_verdict(make: Make) -> None:
    def down(_: str) -> bytes:
        raise ServiceError("S3 does not answer")

    with make(down) as compute, pytest.raises(ServiceError, match="does not answer"):
        compute.submit("images/1", "crawled", "pins").result(LONG)


def test_an_engine_that_breaks_is_an_exception_not_a_verdict(make: Make, model: Model) -> None:
    class Lost(InferenceEngine):
        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            raise RuntimeError("device lost")

    with (
        make(lambda _: jpeg(1), engine=Lost(model)) as compute,
        pytest.raises(RuntimeError, match="device lost"),
    ):
        compute.submit("images/1", "crawled", "pins").result(LONG)


def test_every_batch_is_booked_on_the_device(make: Make, ledger: Ledger, tmp_path: Path) -> None:
    with make(lambda key: jpeg(int(key))) as compute:
        results = [f.result(LONG) for f in [compute.submit(str(i), "crawled", "pins") for i in range(9)]]
    ledger.close()
    (file,) = (tmp_path / "ledger").iterdir()
    rows = pa.ipc.open_stream(pa.OSFile(str(file))).read_all().to_pylist()
    assert {(row["stage"], row["pool"], row["device"]) for row in rows} == {
        ("device_busy", "stream", "cpu:0")
    }
    assert sum(row["batch_size"] for row in rows) == 9
    booked = {(row["start_ns"], row["end_ns"], row["batch_size"]) for row in rows}
    assert {(r.times.batch_start_ns, r.times.inference_end_ns, r.batch_size) for r in results} == booked


def test_close_can_drop_what_waits_and_takes_no_more(make: Make) -> None:
    fetching, gate = threading.Semaphore(0), threading.Event()

    def fetch(_: str) -> bytes:
        fetching.release()
        gate.wait(LONG)
        return jpeg(1)

    compute = make(fetch)
    futures = [compute.submit(str(i), "crawled", "pins") for i in range(10)]
    fetching.acquire()
    closing = threading.Thread(target=lambda: compute.close(cancel_pending=True))
    closing.start()
    with pytest.raises(BatcherClosed):
        while True:
            compute.submit("more", "crawled", "pins")
    gate.set()
    closing.join()
    assert all(future.done() for future in futures)
    with pytest.raises(BatcherClosed):
        futures[9].result(0)


def test_a_cancelled_image_is_not_fetched(make: Make) -> None:
    gate = threading.Event()
    fetched: list[str] = []

    def fetch(key: str) -> bytes:
        fetched.append(key)
        gate.wait(LONG)
        return jpeg(1)

    with make(fetch) as compute:
        futures = [compute.submit(str(i), "crawled", "pins") for i in range(5)]
        assert futures[4].cancel()
        gate.set()
        assert isinstance(futures[3].result(LONG), ComputeResult)
    assert "4" not in fetched


def test_an_unknown_pipeline_is_a_configuration_error(make: Make) -> None:
    with make(lambda _: b"") as compute, pytest.raises(ConfigurationError, match="no pipeline 'x'"):
        compute.submit("images/1", "x", "pins")


def test_records_carry_the_values_and_their_origin() -> None:
    embedding, top = np.arange(3, dtype=np.float32), np.ones((5, 2), np.float32)
    records = records_of(
        {visual_embedding: embedding, top5_classes: top},
        image_signature="ab" * 16,
        galaxy="pins",
        pipeline="crawled",
        day=2,
        model_sha256="cd" * 32,
    )
    assert [(record.signal, record.version, record.shape) for record in records] == [
        ("top5_classes", 1, (5, 2)),
        ("visual_embedding", 1, (3,)),
    ]
    assert np.array_equal(records[1].array(), embedding)
    assert {(r.image_signature, r.galaxy, r.pipeline, r.day, r.model_sha256) for r in records} == {
        ("ab" * 16, "pins", "crawled", 2, "cd" * 32)
    }
