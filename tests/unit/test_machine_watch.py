from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import psutil
import pytest

from bench.machine_watch import machine_file, machine_watched, sample

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="samples are taken on Linux only")
BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_the_cpu_time_of_a_child_that_has_ended_stays_counted() -> None:
    before = sample()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    after = sample()
    assert after.own_seconds - before.own_seconds >= 0.2
    assert after.own_memory_bytes > 0
    assert after.unix_ns > before.unix_ns
    assert after.monotonic_ns > before.monotonic_ns


def test_a_run_has_samples_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    with machine_watched(tmp_path):
        pass
    lines = [orjson.loads(line) for line in machine_file(tmp_path).read_bytes().splitlines()]
    assert len(lines) >= 1
    assert lines[-1]["busy_seconds"] >= lines[0]["busy_seconds"] > 0


def test_a_full_disk_ends_the_samples_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine_file(tmp_path).parent.mkdir(parents=True)
    machine_file(tmp_path).symlink_to("/dev/full")
    with machine_watched(tmp_path):
        pass
    assert "No space left" in caplog.text
