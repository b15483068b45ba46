from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skimage.data
from PIL import Image

from signals.catalog import Catalog
from signals.compute import load_image
from signals.efficientnet import build_model
from signals.errors import ConfigurationError, ImageError, MissingRequirement
from signals.inference import InferenceEngine, signal_values
from signals.model import Model
from signals.near_free import build_near_free_model
from signals.visual import top5_classes, visual_embedding

CATS = range(281, 286)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> InferenceEngine:
    return InferenceEngine(Model.load(build_near_free_model(tmp_path_factory.mktemp("cache"))))


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def test_a_cat_is_a_cat(tmp_path: Path) -> None:
    model = Model.load(build_model(tmp_path))
    stream = io.BytesIO()
    Image.fromarray(skimage.data.chelsea()).save(stream, "JPEG", quality=90)
    image = load_image(stream.getvalue(), Catalog.load().media("pins"), model.manifest)
    outputs = InferenceEngine(model).run(image[None])
    assert outputs["embedding"].shape == (1, 1280)
    assert outputs["logits"].shape == (1, 1000)
    (values,) = signal_values(outputs, "pins")
    assert isinstance(values, dict)
    top = values[top5_classes]
    assert int(top[0, 0]) in CATS
    assert sum(probability for index, probability in top if int(index) in CATS) > 0.9


def test_rows_do_not_depend_on_the_batch(engine: InferenceEngine) -> None:
    batch = images(5)
    together = engine.run(batch)
    for index in range(5):
        alone = engine.run(batch[index : index + 1])
        for name, rows in together.items():
            assert rows.dtype == np.float32
            assert np.allclose(rows[index], alone[name][0], atol=1e-5)


def test_one_by_one_is_the_same_as_whole_batches(engine: InferenceEngine) -> None:
    images = np.random.default_rng(4).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    whole = InferenceEngine(engine.model, whole_batches=True).run(images)
    one_by_one = engine.run(images)
    assert one_by_one.keys() == whole.keys()
    for name, output in whole.items():
        assert one_by_one[name].shape == output.shape and one_by_one[name].dtype == output.dtype
        assert np.allclose(one_by_one[name], output, atol=1e-4)


def test_an_empty_batch_gives_empty_outputs(engine: InferenceEngine) -> None:
    assert engine.run(images(0))["embedding"].shape == (0, 1280)


def test_other_shapes_and_types_are_refused(engine: InferenceEngine) -> None:
    for wrong in (images(1).astype(np.float32), images(1)[:, :100], images(1)[0]):
        with pytest.raises(ConfigurationError, match="the model takes uint8"):
            engine.run(wrong)


def test_threads_may_share_an_engine(engine: InferenceEngine) -> None:
    engine.warm_up(4)
    expected = engine.run(images(4))["embedding"]
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: found.append(engine.run(images(4))["embedding"])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(np.array_equal(expected, item) for item in found)


def test_a_cpu_is_called_a_cpu(engine: InferenceEngine) -> None:
    assert engine.device == "cpu:0"
    assert engine.provider == "CPUExecutionProvider"
    assert InferenceEngine(engine.model, index=3).device == "cpu:3"


def has_cuda(model: Model) -> bool:
    try:
        InferenceEngine(model, device="cuda")
    except MissingRequirement:
        return False
    return True


def test_a_gpu_that_is_not_there_is_a_missing_requirement(
    engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingRequirement, match="run with device cpu"):
        InferenceEngine(engine.model, device="cuda")


def test_a_machine_without_a_driver_says_so_and_nothing_else(
    engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr("signals.cuda_devices.DRIVER", "libcuda-that-is-not-there.so")
    with pytest.raises(MissingRequirement, match=r"no driver for CUDA; .* run with device cpu"):
        InferenceEngine(engine.model, device="cuda")
    assert capfd.readouterr() == ("", "")


def test_one_bad_image_does_not_affect_its_neighbours(engine: InferenceEngine) -> None:
    outputs = engine.run(images(4))
    expected = signal_values(outputs, "pins")
    outputs = {name: rows.copy() for name, rows in outputs.items()}
    outputs["logits"][1, 7] = np.nan
    outputs["embedding"][2, 0] = np.inf
    values = signal_values(outputs, "pins")
    for bad in (1, 2):
        failure = values[bad]
        assert isinstance(failure, ImageError) and failure.reason == "non_finite_output"
    for good in (0, 3):
        mine, theirs = values[good], expected[good]
        assert isinstance(mine, dict) and isinstance(theirs, dict)
        assert mine[visual_embedding].shape == (1280,) and mine[top5_classes].shape == (5, 2)
        assert all(np.array_equal(mine[item], theirs[item]) for item in mine)


def test_all_images_bad(engine: InferenceEngine) -> None:
    outputs = {name: np.full_like(rows, np.nan) for name, rows in engine.run(images(2)).items()}
    assert all(isinstance(item, ImageError) for item in signal_values(outputs, "pins"))


def test_a_missing_output_is_named(engine: InferenceEngine) -> None:
    outputs = engine.run(images(1))
    del outputs["logits"]
    with pytest.raises(ConfigurationError, match="needs the model outputs logits"):
        signal_values(outputs, "pins")


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(tmp_path: Path) -> None:
    model = Model.load(build_model(tmp_path))
    if not has_cuda(model):
        pytest.skip("no CUDA device")
    gpu = InferenceEngine(model, device="cuda")
    gpu.warm_up(4)
    assert gpu.device.startswith("cuda:0 ") and gpu.provider == "CUDAExecutionProvider"
    mine, theirs = gpu.run(images(4))["embedding"], InferenceEngine(model).run(images(4))["embedding"]
    cosine = (mine * theirs).sum(axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() >= 0.9999
