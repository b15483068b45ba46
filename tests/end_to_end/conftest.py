"""Runs of the main job, through the command line, as a user would start it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import pytest

from bench.consumers.progress import OnlineProgress, online_progress_file

LKBENCH = [sys.executable, "-c", "from bench.cli import main; main()"]


@dataclass
class CommandLineRun:
    """A started ``lkbench run`` and, once it exists, its folder."""

    popen: subprocess.Popen[str]
    output: Path

    @property
    def run_dir(self) -> Path:
        """The run's folder; waits until the manifest is there."""
        wait_until(lambda: any(self.output.glob("*/manifest.json")), 60, self.popen)
        return next(self.output.glob("*/manifest.json")).parent

    def manifest(self) -> dict[str, object]:
        """The manifest as it is now."""
        content: dict[str, object] = orjson.loads((self.run_dir / "manifest.json").read_bytes())
        return content

    def processes(self, *words: str) -> list[psutil.Process]:
        """Living processes of this run whose command line holds every one of ``words``."""
        return processes_mentioning(str(self.run_dir), *words)

    def online_available(self, arm: str) -> int:
        """Arrivals that the online consumer of ``arm`` has found available so far."""
        return OnlineProgress.read(online_progress_file(self.run_dir / "arms" / f"{arm}-1")).available

    def wait(self, timeout_seconds: float) -> tuple[str, str]:
        """Wait for the end; returns stdout and stderr."""
        return self.popen.communicate(timeout=timeout_seconds)


StartRun = Callable[..., CommandLineRun]


def processes_mentioning(*texts: str) -> list[psutil.Process]:
    """Living processes whose command line mentions every one of ``texts``.

    One that is just being executed has none for a moment: wait for a count, do not look once.
    """
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if all(text in command for text in texts) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until(
    condition: Callable[[], object], timeout_seconds: float, popen: subprocess.Popen[str] | None = None
) -> None:
    """Poll ``condition``; fail after the timeout or when ``popen`` ends before it holds."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if popen is not None and popen.poll() is not None:
            out, err = popen.communicate()
            pytest.fail(f"the run ended with {popen.returncode}\n{out}\n{err}")
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[StartRun]:
    """Starts ``lkbench run`` with the given options; whatever still runs at the end is killed."""
    started: list[CommandLineRun] = []

    def start(*options: str) -> CommandLineRun:
        output = tmp_path / f"runs-{len(started)}"
        popen = subprocess.Popen(
            [*LKBENCH, "run", "--output", str(output), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        run = CommandLineRun(popen, output)
        started.append(run)
        return run

    yield start
    for run in started:
        if run.popen.poll() is None:
            run.popen.kill()
            run.popen.communicate()


def lkbench(*arguments: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run one ``lkbench`` command to its end."""
    return subprocess.run([*LKBENCH, *arguments], capture_output=True, text=True, timeout=timeout_seconds)
