"""CPU time and memory of all processes of this program over time, by what they are."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from types import TracebackType

import psutil

from signals.launched import launched_ns

SAMPLE_SECONDS = 0.1
LOOK_SECONDS = 0.5  # between looks for new processes, which read the state of all there are
# Servers that all paths use alike, whose memory is a matter of their own settings; and the driver.
SHARED_PROCESSES = frozenset({"driver", "kafka", "s3proxy", "postgres"})
_JAVA = {
    "kafka.Kafka": "kafka",
    "org.gaul.s3proxy.Main": "s3proxy",
    "org.apache.spark.deploy.SparkSubmit": "spark",
    "org.apache.spark.deploy.master.Master": "spark_master",
    "org.apache.spark.deploy.worker.Worker": "spark_worker",
    "org.apache.spark.executor.CoarseGrainedExecutorBackend": "spark_executor",
}
_BARE_LOOP = ("multiprocessing.spawn", "multiprocessing.resource_tracker")


class ProcessMeter:
    """Samples this process and its descendants while inside. A context manager.

    A process that ends counts up to its last sample, at most ``sample_seconds`` before; one that starts is
    seen within LOOK_SECONDS, or that time where it is more, and counts from its start. The processes of the
    bare loop, which are idle meanwhile, are left out, and so are those named in ``left_out`` and what the
    samples themselves cost. Memory is the sum of resident sets, in which shared pages count more than once.
    """

    def __init__(self, left_out: Collection[str] = (), *, sample_seconds: float = SAMPLE_SECONDS) -> None:
        self._sample_seconds = sample_seconds
        self._left_out = frozenset((*left_out, ""))
        self._own = psutil.Process()
        self._started_ns = time.time_ns()
        self._watched: list[psutil.Process] = []
        self._next_look = 0.0  # monotonic seconds
        self._spent_seconds = 0.0  # CPU of the samples
        self._history: dict[tuple[int, float], list[tuple[int, float]]] = {}  # (Unix ns, CPU seconds)
        self._names: dict[tuple[int, float], str] = {}
        self._resident: list[tuple[int, int]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_closed, name="process-meter", daemon=True)

    def cpu_seconds(self, start_ns: int, end_ns: int) -> dict[str, float]:
        """CPU seconds used between two times (Unix ns), by name of the process."""
        used: dict[str, float] = defaultdict(float)
        for key, samples in self._history.items():
            if not samples or self._names[key] in self._left_out:
                continue
            used[self._names[key]] += _at(samples, end_ns) - _at(samples, start_ns)
        return dict(used)

    def peak_bytes(self, start_ns: int, end_ns: int) -> int:
        """The largest sum of resident sets between two times (Unix ns)."""
        return max((size for at, size in self._resident if start_ns <= at <= end_ns), default=0)

    def __enter__(self) -> ProcessMeter:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        self._sample()

    def _sample_until_closed(self) -> None:
        while not self._closed.wait(self._sample_seconds):
            self._sample()

    def _sample(self) -> None:
        cpu = time.thread_time()
        if look := time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._watched = [self._own, *self._own.children(recursive=True)]
        resident = 0
        for process in self._watched:
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                if look:
                    self._recognise(process)
                resident += self._sample_of(process)
        self._resident.append((time.time_ns(), resident))
        self._spent_seconds += time.thread_time() - cpu

    def _recognise(self, process: psutil.Process) -> None:
        """Name it anew: between its fork and its program's start, a process looks like the one before."""
        key = _key(process)
        if key not in self._history:
            started_ns = launched_ns(process.pid)
            self._history[key] = [(started_ns, 0.0)] if started_ns > self._started_ns else []
            self._names[key] = "other"
        self._names[key] = "driver" if process == self._own else process_name(process.cmdline())

    def _sample_of(self, process: psutil.Process) -> int:
        """Book its CPU time, return its memory in bytes."""
        key = _key(process)
        if key not in self._history or self._names[key] in self._left_out:
            return 0
        with process.oneshot():
            seconds, resident = sum(process.cpu_times()[:2]), process.memory_info().rss
        if process == self._own:
            seconds -= self._spent_seconds
        self._history[key].append((time.time_ns(), seconds))
        return int(resident)


def _key(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()


def _at(samples: Sequence[tuple[int, float]], at_ns: int) -> float:
    """CPU seconds at a time, between those of the samples before and after; a process that was there from the
    beginning counts from its first sample."""
    position = bisect_right(samples, at_ns, key=lambda sample: sample[0])
    before_ns, before_seconds = samples[max(0, position - 1)]
    if position in (0, len(samples)):
        return before_seconds
    after_ns, after_seconds = samples[position]
    return before_seconds + (after_seconds - before_seconds) * (at_ns - before_ns) / (after_ns - before_ns)


def process_name(cmdline: Sequence[str]) -> str:
    """What a process is, from its command line; "" for one of the bare loop."""
    text = " ".join(cmdline)
    if any(marker in text for marker in _BARE_LOOP):
        return ""
    for marker, name in _JAVA.items():
        if marker in cmdline:
            return name
    if "-m" in cmdline[:-1]:
        return cmdline[list(cmdline).index("-m") + 1]
    if "postgres" in text:
        return "postgres"
    return cmdline[0].rsplit("/", 1)[-1] if cmdline else "other"
