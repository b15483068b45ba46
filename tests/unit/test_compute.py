from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from signals.catalog import Catalog
from signals.compute import ComputeResult, ImageRef, LocalCompute, host_threads, load_image, records_of
from signals.errors import ConfigurationError, ImageError, ServiceError
from signals.image import image_signature
from signals.inference import InferenceEngine
from signals.ledger import Ledger, Stage
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.visual import top5_classes, visual_embedding
from tests.unit.small_jpeg import jpeg

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


def black() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


Make = Callable[..., LocalCompute]


@pytest.fixture
def make(model: Model, ledger: Ledger) -> Make:
    def build(
        fetch: Callable[[str], bytes],
        engine: InferenceEngine | None = None,
        threads: int = 1,
        in_turn: bool = False,
    ) -> LocalCompute:
        engine = engine or InferenceEngine(model)
        of_pool = {"ledger": ledger, "pool": "stream", "threads": threads, "in_turn": in_turn}
        return LocalCompute(fetch, engine, Catalog.load(), **of_pool)

    return build


def crawled(keys: Iterable[str]) -> list[ImageRef]:
    return [ImageRef(key, "crawled", "pins") for key in keys]


def verdicts(results: Sequence[ComputeResult | Exception]) -> list[ComputeResult]:
    """Results none of which is an exception."""
    assert not [result for result in results if isinstance(result, Exception)]
    return [result for result in results if isinstance(result, ComputeResult)]


@pytest.mark.parametrize(("threads", "in_turn"), [(1, False), (3, False), (1, True)])
def test_images_become_the_values_that_the_core_gives(
    make: Make, model: Model, threads: int, in_turn: bool
) -> None:
    objects = {f"images/{seed}": jpeg(seed) for seed in range(7)}
    with make(objects.__getitem__, threads=threads, in_turn=in_turn) as compute:
        results = verdicts(compute.compute(crawled(objects)))
    engine, media = InferenceEngine(model), Catalog.load().media("pins")
    for data, result in zip(objects.values(), results, strict=True):
        assert result.failure is None and result.values is not None
        assert (result.batch_size, result.input_hash) == (7, NO_HASH)
        times = result.times
        order = [
            times.fetch_start_ns,
            times.fetch_end_ns,
            times.decode_start_ns,
            times.decode_end_ns,
            times.batch_start_ns,
            times.inference_end_ns,
        ]
        assert order == sorted(order) and order[0] > 0
        waits = [Stage.BATCH_WAIT] if in_turn else []  # the others of the batch are fetched first
        stages = [Stage.FETCH, *waits, Stage.DECODE, Stage.BATCH_WAIT, Stage.INFERENCE]
        assert [stage for stage, _ in times.ends()] == stages
        assert [end_ns for _, end_ns in times.ends()] == order[1:] if in_turn else [order[1], *order[3:]]
        expected = engine.run(load_image(data, media, model.manifest)[None])["embedding"][0]
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
        found = compute.compute([ImageRef(key, "shopping", "products") for key in sources])
    results = dict(zip(sources, verdicts(found), strict=True))
    failures = {key: (r.failure.stage, r.failure.reason) for key, r in results.items() if r.failure}
    assert failures == {
        "missing": ("fetch", "missing_object"),
        "empty": ("decode", "empty"),
        "html": ("decode", "unsupported_format"),
        "truncated": ("decode", "truncated"),
        "poison": ("inference", "non_finite_output"),
    }
    for key, result in results.items():
        assert (result.values is None) == (key in failures)
    assert results["missing"].input_hash == NO_HASH and results["missing"].times.decode_end_ns == 0
    assert results["empty"].input_hash == image_signature(b"") and results["empty"].times.batch_start_ns == 0
    assert results["poison"].input_hash == image_signature(black())
    assert results["poison"].batch_size == 7  # of those that could be decoded


def test_galaxies_share_a_batch(make: Make) -> None:
    places = [("crawled", "pins"), ("shopping", "products"), ("profile_images", "profiles")] * 2
    with make(lambda key: jpeg(int(key))) as compute:
        results = verdicts(compute.compute([ImageRef(str(i), *place) for i, place in enumerate(places)]))
    assert all(result.values and result.batch_size == 6 for result in results)


def test_a_store_that_is_down_is_an_exception_and_no_other_image_s_verdict(make: Make) -> None:
    def partly_down(key: str) -> bytes:
        if key == "0":
            raise ServiceError("S3 does not answer")
        return jpeg(int(key))

    with make(partly_down) as compute:
        down, up = compute.compute(crawled(["0", "1"]))
    assert isinstance(down, ServiceError)
    assert isinstance(up, ComputeResult) and up.values


def test_an_engine_that_breaks_is_an_exception_not_a_verdict(make: Make, model: Model) -> None:
    class Lost(InferenceEngine):
        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            raise RuntimeError("device lost")

    compute = make(lambda _: jpeg(1), engine=Lost(model))
    with compute, pytest.raises(RuntimeError, match="device lost"):
        compute.compute(crawled(["images/1"]))


def test_every_batch_is_booked_on_the_device(make: Make, ledger: Ledger, tmp_path: Path) -> None:
    with make(lambda key: jpeg(int(key))) as compute:
        results = verdicts([r for size in (2, 3) for r in compute.compute(crawled(map(str, range(size))))])
        assert compute.compute([]) == []
    ledger.close()
    (file,) = (tmp_path / "ledger").iterdir()
    rows = pa.ipc.open_stream(pa.OSFile(str(file))).read_all().to_pylist()
    assert {(row["stage"], row["pool"], row["device"]) for row in rows} == {
        ("device_busy", "stream", "cpu:0")
    }
    booked = {(row["start_ns"], row["end_ns"], row["batch_size"]) for row in rows}
    assert {(r.times.batch_start_ns, r.times.inference_end_ns, r.batch_size) for r in results} == booked
    assert len(rows) == 2


def test_a_warm_up_fetches_and_books_nothing(make: Make, ledger: Ledger, tmp_path: Path) -> None:
    def never(_: str) -> bytes:
        raise AssertionError("fetched")

    with make(never) as compute:
        compute.warm_up(4)
    ledger.close()
    (file,) = (tmp_path / "ledger").iterdir()
    assert len(pa.ipc.open_stream(pa.OSFile(str(file))).read_all()) == 0


def test_one_caller_has_the_device_and_the_others_fetch_meanwhile(make: Make, model: Model) -> None:
    inside, fetched, most_inside = threading.Lock(), threading.Event(), []

    class Watched(InferenceEngine):
        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            most_inside.append(inside.acquire(blocking=False))
            assert fetched.wait(LONG)  # the other caller's image
            inside.release()
            return super().run(images)

    def fetch(key: str) -> bytes:
        if key == "second":
            fetched.set()
        return jpeg(1)

    with make(fetch, engine=Watched(model)) as compute, ThreadPoolExecutor(2) as callers:
        found = callers.map(lambda key: compute.compute(crawled([key])), ["first", "second"])
        assert all(verdicts(results) for results in found)
    assert most_inside == [True, True]


def test_an_unknown_pipeline_is_a_configuration_error(make: Make) -> None:
    with make(lambda _: b"") as compute, pytest.raises(ConfigurationError, match="no pipeline 'x'"):
        compute.compute([ImageRef("images/1", "x", "pins")])


def test_a_worker_has_its_share_of_the_cores_and_at_least_one_thread() -> None:
    assert host_threads(1) >= host_threads(2) >= host_threads(10_000) == 1


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
