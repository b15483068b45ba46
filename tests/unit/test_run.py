"""A run as its caller sees it: what it leaves behind when it fails."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from rich.console import Console

from bench.config import HarnessConfig
from bench.display import Display
from bench.manifest import read_manifest
from bench.run import Run, RunSettings
from signals.errors import ServiceError
from tests.unit.small_jpeg import jpeg


def fail(*_: object) -> None:
    raise ServiceError("no server")


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(20):
        (images / f"{seed}.jpg").write_bytes(jpeg(seed))
    monkeypatch.setattr("bench.run.prepare", fail)
    settings = RunSettings(
        images=str(images),
        workload="constant",
        day_seconds=2.0,
        rate_per_second=5.0,
        arms=("reference",),
        output=tmp_path / "runs",
    )
    return Run(settings, HarnessConfig(), Display(Console(quiet=True)))


def test_a_run_that_failed_can_be_followed_by_one_that_can_be_interrupted(failing: Run) -> None:
    with pytest.raises(ServiceError, match="no server"):
        failing.execute()
    assert read_manifest(failing.run_dir)["status"] == "failed"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
