"""What every process of this arm needs around its work: context, clean stop, its device in the ledger."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from signals.architecture import RunContext
from signals.errors import LkbenchError
from signals.ledger import Ledger, Stage


class StopSignal(threading.Event):
    """Set when the process is asked to stop (SIGTERM, SIGINT)."""

    def __init__(self) -> None:
        super().__init__()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())


def context_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that every process of the arm takes."""
    parser.add_argument("--context", type=Path, required=True, help="JSON file of the run context")


def run_process(description: str | None, body: Callable[[RunContext, int, StopSignal], None]) -> NoReturn:
    """Run ``body(context, index, stop)`` as this process, and exit: 0, or the error's exit code with one
    line on stderr (a traceback where the error was not foreseen)."""
    parser = argparse.ArgumentParser(description=description)
    context_argument(parser)
    parser.add_argument("--index", type=int, default=0, help="number of this process among its equals")
    arguments = parser.parse_args()
    stop = StopSignal()
    exit_with(lambda: body(RunContext.load(arguments.context), arguments.index, stop))


def exit_with(body: Callable[[], None]) -> NoReturn:
    """Run ``body`` and exit with the code that its outcome deserves."""
    try:
        body()
    except LkbenchError as error:
        log(str(error))
        sys.exit(error.exit_code)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def log(message: str) -> None:
    """One line on stderr, which is the process's log file."""
    stamp = time.strftime("%H:%M:%S", time.gmtime())
    print(f"{stamp} {message}", file=sys.stderr, flush=True)  # noqa: T201


def launched_ns() -> int:
    """When this process was started, Unix ns, to a hundredth of a second."""
    if sys.platform != "linux":
        return round(psutil.Process().create_time() * 1e9)
    # psutil adds the time since boot to a boot time in whole seconds; a pool's start is measured finer.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_seconds = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - started_seconds
    return time.time_ns() - round(age_seconds * 1e9)


class DeviceSession:
    """Books devices on a pool: provisioned from the launch of this process until now, released at exit.

    Enter it when the model is loaded and warm.
    """

    def __init__(self, ledger: Ledger, pool: str, devices: Sequence[str]) -> None:
        self._ledger, self._pool, self._devices = ledger, pool, devices
        self._ready_ns = 0

    def __enter__(self) -> DeviceSession:
        self._ready_ns = time.time_ns()
        self._record(Stage.DEVICE_PROVISIONED, launched_ns(), self._ready_ns)
        return self

    def __exit__(self, *_: object) -> None:
        self._record(Stage.DEVICE_RELEASED, self._ready_ns, time.time_ns())

    def _record(self, stage: Stage, start_ns: int, end_ns: int) -> None:
        for device in self._devices:
            self._ledger.record(stage, start_ns=start_ns, end_ns=end_ns, pool=self._pool, device=device)
