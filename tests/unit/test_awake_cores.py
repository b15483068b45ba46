"""How the kernel is asked to keep cores awake, and what is told where it refuses."""

from __future__ import annotations

import os
from pathlib import Path

from bench.awake_cores import awake_cores


def open_files() -> set[str]:
    return {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}


def test_the_request_is_held_as_long_as_something_is_timed(tmp_path: Path) -> None:
    request = tmp_path / "cpu_dma_latency"
    request.write_bytes(b"\xff" * 4)
    with awake_cores(request) as refused:
        assert refused == ""
        assert request.read_bytes() == bytes(4)  # a delay of 0 us, as the kernel reads it: four bytes
        assert str(request) in open_files()
    assert str(request) not in open_files()


def test_a_system_that_has_no_such_request_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    request = tmp_path / "cpu_dma_latency"
    with awake_cores(request) as refused:
        assert refused == f"{request}: No such file or directory"
    assert not request.exists()
