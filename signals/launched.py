"""When a process was launched."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil


def launched_ns(pid: int | None = None) -> int:
    """When a process, by default this one, was started: Unix ns, to a hundredth of a second.

    Raises psutil.NoSuchProcess.
    """
    pid = os.getpid() if pid is None else pid
    if sys.platform != "linux":
        return round(psutil.Process(pid).create_time() * 1e9)
    # psutil adds the time since boot to a boot time in whole seconds; that is too coarse here.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    started_seconds = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - started_seconds
    return time.time_ns() - round(age_seconds * 1e9)
