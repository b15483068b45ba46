from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.limit.loop import BareLoop, Window
from bench.limit.measure import layouts, median
from bench.limit.worker import Layout, Material, Work
from signals.errors import LkbenchError
from signals.near_free import build_near_free_model


def test_each_work_is_done_by_every_process_and_its_cpu_time_is_booked(tmp_path: Path) -> None:
    paths = []
    for seed in range(4):
        out = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, "JPEG")
        paths.append(tmp_path / f"{seed}.jpg")
        paths[-1].write_bytes(out.getvalue())
    material = Material(build_near_free_model(tmp_path), "cpu", tuple(paths), "crawled")
    with BareLoop(material, Layout(1, 1, 1, 2)) as loop:
        for work in (Work.DECODE, Work.INFERENCE, Work.MEMORY):
            window = loop.window(work, 0.02)
            assert window.images >= 2 and window.images % 2 == 0
            assert window.core_ms_per_image > 0
        assert loop.images(Work.MEMORY, 5).images == 6  # whole batches


def test_a_loop_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(LkbenchError, match=r"model|manifest"):
        BareLoop(Material(tmp_path / "none", "cpu", (), "crawled"), Layout(1, 1, 0, 1))


def test_medians_and_spread() -> None:
    measured = median([Window(10, 1.0, rate, 10.0 * rate, 1.0) for rate in (1.0, 4.0, 2.0)])
    assert (measured.images_per_second, measured.core_ms_per_image) == (2.0, 20.0)
    assert measured.spread == 1.5 and measured.windows == 3


def test_every_layout_uses_every_core() -> None:
    assert all(layout.processes * layout.session_threads == 2 for layout in layouts("cpu", 2))
    assert {layout.processes for layout in layouts("cpu", 1)} == {1}
