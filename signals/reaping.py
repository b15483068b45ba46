"""Parents that know what their children took: CPU time and peak memory, however they ended.

``wait4`` tells it about a child and all descendants that were waited for in turn. A descendant that nobody
waited for (Spark's JVM, when the Python that started it ends first) would fall to init, and its CPU time to
nobody: on Linux a process that has called :func:`adopt_orphans` inherits it instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from signals.counters import COUNTERS, CPU_SECONDS, PEAK_MEMORY

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 1.0  # for orphans that end by themselves once their parent is gone
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
_PR_SET_CHILD_SUBREAPER = 36
_started: dict[int, str] = {}  # names of the children that were started here, by process id


class AccountedPopen(subprocess.Popen[bytes]):
    """A child that counts what it took (:data:`signals.counters.COUNTERS`, as ``name``) when it is reaped."""

    def __init__(self, name: str, *args: Any, **options: Any) -> None:
        self._name = name
        self._reaping = threading.Lock()
        self._seen_peak_bytes = 0
        self._inherited_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
        super().__init__(*args, **options)
        _started[self.pid] = name

    def poll(self) -> int | None:
        """See subprocess."""
        with self._reaping:
            if self.returncode is None:
                try:
                    pid, status, usage = os.wait4(self.pid, os.WNOHANG)
                except ChildProcessError:
                    self.returncode = 0  # somebody else reaped it; subprocess says the same
                else:
                    if pid:
                        self.returncode = os.waitstatus_to_exitcode(status)
                        _count_cpu(self._name, pid, usage)
                        self._count_peak(usage)
            return self.returncode

    def look(self) -> None:
        """Note the peak memory so far. Call it now and then: an ended process no longer has it."""
        self._seen_peak_bytes = max(self._seen_peak_bytes, peak_bytes(self.pid))

    def _count_peak(self, usage: resource.struct_rusage) -> None:
        # What wait4 says includes the memory of this process at the fork: it is the child's only beyond that.
        told = usage.ru_maxrss * _MAXRSS_BYTES
        peak = told if told > self._inherited_bytes else self._seen_peak_bytes
        if peak:
            COUNTERS.add_of(self._name, self.pid, PEAK_MEMORY, peak)

    def wait(self, timeout: float | None = None) -> int:
        """See subprocess."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(POLL_SECONDS)
        return code


def peak_bytes(pid: int) -> int:
    """Largest resident memory of a running process since it was executed; 0 for one that has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        if sys.platform != "linux":
            return int(psutil.Process(pid).memory_info().rss)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process. Only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(sessions: Iterable[int]) -> None:
    """Reap, and count, adopted descendants that ended, and those of these ``sessions`` once they have ended.

    A session is named by its leader's process id. What does not end by itself within ``PATIENCE_SECONDS`` is
    killed.
    """
    ending = set(sessions)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        late = time.monotonic() > deadline
        if not sum(_reap(child, ending, kill=late) for child in psutil.Process().children()):
            return
        time.sleep(POLL_SECONDS)


def _reap(child: psutil.Process, ending: set[int], *, kill: bool) -> bool:
    # Whether this child has to be looked at again.
    session = _session(child.pid)
    if child.pid in _started or session in (0, os.getsid(0)):
        return False  # whoever started it reaps it
    with contextlib.suppress(psutil.Error, ProcessLookupError, ChildProcessError):
        name = f"{_started.get(session, 'orphan')}.{child.name()}"
        if kill and session in ending:
            os.kill(child.pid, signal.SIGKILL)
        pid, _, usage = os.wait4(child.pid, 0 if kill and session in ending else os.WNOHANG)
        if pid:
            _count_cpu(name, pid, usage)
            COUNTERS.add_of(name, pid, PEAK_MEMORY, usage.ru_maxrss * _MAXRSS_BYTES)
        return session in ending
    return False


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return 0


def _count_cpu(name: str, pid: int, usage: resource.struct_rusage) -> None:
    COUNTERS.add_of(name, pid, CPU_SECONDS, usage.ru_utime + usage.ru_stime)
