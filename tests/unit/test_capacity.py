from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.capacity import measure_capacity
from bench.config import HarnessConfig, InferenceConfig
from bench.images import load_dataset
from signals.errors import ConfigurationError
from signals.near_free import build_near_free_model


def test_capacity_is_measured_on_the_images_that_can_be_decoded(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a_truncated.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a photo")
    for seed in range(3):
        out = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, "JPEG")
        (folder / f"{seed}.jpg").write_bytes(out.getvalue())
    config = HarnessConfig(inference=InferenceConfig(workers=1, max_batch=2))
    capacity = measure_capacity(
        config, load_dataset(str(folder)), build_near_free_model(tmp_path), windows=3, window_seconds=0.02
    )
    assert capacity.images_per_second > 0
    assert capacity.core_milliseconds_per_image > 0
    assert (capacity.workers, capacity.max_batch, capacity.device, capacity.windows) == (1, 2, "cpu", 3)


def test_a_data_set_without_an_image_has_no_capacity(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(ConfigurationError, match="none of 1 images tried"):
        measure_capacity(HarnessConfig(), load_dataset(str(tmp_path)), tmp_path)
