from __future__ import annotations

import ctypes
import io
import multiprocessing
import shutil
import signal
from dataclasses import replace
from functools import partial
from multiprocessing import resource_tracker, spawn
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.config import InferenceConfig
from bench.limit.loop import BareLoop, Window
from bench.limit.measure import layouts, median, usual_layout
from bench.limit.windows import Windows
from bench.limit.worker import Layout, Material, Work, serve
from signals.errors import LkbenchError, ServiceError
from signals.near_free import build_near_free_model


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Four small images and the near-free model."""
    paths = []
    for seed in range(4):
        out = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, "JPEG")
        paths.append(tmp_path / f"{seed}.jpg")
        paths[-1].write_bytes(out.getvalue())
    return Material(build_near_free_model(tmp_path), "cpu", tuple(paths), "crawled")


def test_each_work_is_done_by_every_process_and_its_cpu_time_is_booked(material: Material) -> None:
    with BareLoop(material, Layout(1, 1, 1, 2)) as loop:
        for work in (Work.DECODE, Work.INFERENCE, Work.MEMORY):
            window = loop.window(work, 0.02)
            assert window.images >= 2 and window.images % 2 == 0
            assert window.core_ms_per_image > 0


def test_arrivals_are_taken_by_whichever_process_is_free(material: Material) -> None:
    with BareLoop(material, Layout(2, 1, 0, 1)) as loop:
        for _ in range(2):
            found = loop.open_loop(np.array([0.0, 0.0, 0.0, 0.2]))
            assert found.waited_seconds.shape == (4,)
            assert (found.waited_seconds > 0.0).all()
            # The last finds the queue empty, and nothing is done before it is due.
            assert found.seconds >= 0.2
            assert found.waited_seconds[3] < 0.2
            assert found.core_ms_per_image > 0.0 and found.server_core_ms_per_image == 0.0


def test_neighbours_share_the_window_between_them(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BareLoop(material, Layout(1, 1, 1, 2)) as loop:
        windows = Windows(loop, Work.MEMORY, 0.02)
        with windows.around() as first:
            assert len(first) == 1
        with windows.around() as second:
            pass
        assert first[1] is second[0] and second[0] is not second[1]
        monkeypatch.setattr("bench.limit.windows.SHARED_SECONDS", 0.0)  # it is no neighbour any more
        with windows.around() as third:
            pass
        assert third[0] is not second[1]


def test_a_loop_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(LkbenchError, match=r"model|manifest"):
        BareLoop(Material(tmp_path / "none", "cpu", (), "crawled"), Layout(1, 1, 0, 1))


def test_a_process_that_fails_after_its_parent_left_ends_in_silence(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # SIGINT stays that of the tests
    ours, theirs = multiprocessing.Pipe()
    ours.send(replace(material, model_dir=material.model_dir / "absent"))
    ours.close()
    serve(theirs, Layout(2, 1, 0, 1), 0, multiprocessing.Value(ctypes.c_int64))


def test_a_process_that_dies_at_once_keeps_nobody_waiting(
    material: Material, request: pytest.FixtureRequest
) -> None:
    resource_tracker.ensure_running()  # it is started with the same program
    request.addfinalizer(partial(multiprocessing.set_executable, spawn.get_executable()))
    multiprocessing.set_executable(shutil.which("false"))
    much = replace(material, keys=("k" * 100,) * 10_000)  # more than a pipe holds
    with pytest.raises(ServiceError, match="a process of the bare loop died"):
        BareLoop(much, Layout(1, 1, 0, 1))


def test_medians_and_spread() -> None:
    measured = median([Window(10, 1.0, rate, 10.0 * rate, 1.0) for rate in (1.0, 4.0, 2.0)])
    assert (measured.images_per_second, measured.core_ms_per_image) == (2.0, 20.0)
    assert measured.spread == 1.5 and measured.windows == 3


def test_every_layout_uses_every_core() -> None:
    assert all(layout.processes * layout.session_threads == 2 for layout in layouts("cpu", 2))
    assert {layout.processes for layout in layouts("cpu", 1)} == {1}


def test_the_usual_layout_batches_on_a_gpu_only() -> None:
    on_cpu = InferenceConfig(device="cpu", workers=2, max_batch=8)
    assert usual_layout(on_cpu) in layouts("cpu", 2)
    assert usual_layout(on_cpu, ahead=False) in layouts("cpu", 2)
    assert usual_layout(on_cpu).batch == usual_layout(on_cpu, ahead=False).batch == 1
    assert usual_layout(InferenceConfig(device="cuda", workers=1, max_batch=32)).batch == 32
