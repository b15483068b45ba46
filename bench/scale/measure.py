"""Sends a long stream of small images through an arm, in chunks, and looks at cost and memory of each."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.limit.measure import usual_layout
from bench.limit.windows import Windows
from bench.scale.drain import check_stored, drain
from bench.scale.fill import fill
from bench.throughput.processes import SHARED_PROCESSES, ProcessMeter, process_name
from bench.throughput.stand import Progress, Stand, StartedArm

CHUNKS = 40
WINDOW_SECONDS = 1.0  # of the bare loop, between two chunks
DAYS = (0, 1)
SETTLED_IMAGES = 15_000  # whose signals fill the write buffer of a store, 64 MiB
FIRST_DAY_SHARE = 0.25  # so that the second night has three times the rows of the first


@dataclass(frozen=True, slots=True)
class Chunk:
    """One of CHUNKS equal parts, by name of the process. Memory is the resident sets when it was done, in
    which shared pages count more than once."""

    images: int
    seconds: float
    core_ms_by_process: Mapping[str, float]  # per image
    resident_bytes_by_process: Mapping[str, int]  # without SHARED_PROCESSES
    bare_core_ms: float  # per image, of the bare loop and its object store right before and after

    @property
    def core_ms_per_image(self) -> float:
        """Of all processes."""
        return sum(self.core_ms_by_process.values())

    @property
    def cost(self) -> float:
        """In images of the bare loop, so that a machine that slows down is no growing cost."""
        return self.core_ms_per_image / self.bare_core_ms

    @property
    def resident_bytes(self) -> int:
        """Of all processes but SHARED_PROCESSES."""
        return sum(self.resident_bytes_by_process.values())


@dataclass(frozen=True, slots=True)
class Night:
    """The end of one day, which had ``keys`` new keys."""

    day: int
    keys: int
    seconds: float
    peak_bytes: int


@dataclass(slots=True)
class AtScale:
    """What became of one path."""

    name: str
    chunks: list[Chunk] = field(default_factory=list)
    nights: list[Night] = field(default_factory=list)

    @property
    def cost_change(self) -> float | None:
        """Cost per image in the last fifth of the chunks, as a share of the first fifth, less 1."""
        return self._change(lambda chunk: chunk.cost, self.chunks[1:])  # the very first warms up

    @property
    def memory_change(self) -> float | None:
        """The same of the memory, once the store has filled its first write buffer."""
        done = itertools.accumulate(chunk.images for chunk in self.chunks)
        settled = sum(images <= SETTLED_IMAGES for images in done)
        return self._change(lambda chunk: chunk.resident_bytes, self.chunks[settled:])

    @property
    def night_memory_change(self) -> float | None:
        """Peak memory of the second night, with three times the keys, as a share of the first, less 1."""
        if len(self.nights) < len(DAYS):
            return None
        return self.nights[1].peak_bytes / self.nights[0].peak_bytes - 1

    def _change(self, figure: Callable[[Chunk], float], chunks: Sequence[Chunk]) -> float | None:
        """None for an interrupted run, and for one that is too short."""
        fifth = CHUNKS // 5
        if len(self.chunks) < CHUNKS or len(chunks) < 2 * fifth:
            return None
        first = statistics.median(map(figure, chunks[:fifth]))
        return statistics.median(map(figure, chunks[-fifth:])) / first - 1


def send(
    stand: Stand,
    found: AtScale,
    arm: str,
    model_dir: Path,
    images: int,
    *,
    nights: bool,
    progress: Progress,
) -> None:
    """Send ``images`` images through ``arm``, in two days, with or without their ``nights``; adds to
    ``found`` as it goes. Raises an error of the tree."""
    size = images // CHUNKS
    first_day = round(CHUNKS * FIRST_DAY_SHARE)
    layout = usual_layout(stand.config.inference, ahead=False)
    with stand.started(arm, model_dir) as started, stand.bare_loop(model_dir, layout) as loop:
        windows = Windows(loop, seconds=WINDOW_SECONDS)
        for number in range(CHUNKS):
            numbers, day = range(number * size, (number + 1) * size), DAYS[number >= first_day]
            found.chunks.append(_chunk(stand, started, windows, numbers, day))
            last = found.chunks[-1]
            progress(
                f"{found.name}: {(number + 1) * size} of {CHUNKS * size} images, "
                f"{last.core_ms_per_image:.2f} core-ms per image, {last.cost:.2f} times the bare loop's, "
                f"{last.resident_bytes / 2**20:.0f} MiB"
            )
            if nights and number + 1 in (first_day, CHUNKS):
                keys = size * (first_day if day == 0 else CHUNKS - first_day)
                found.nights.append(_night(found.name, started, day, keys, progress))
    shutil.rmtree(started.context.run_dir)  # tens of gigabytes, after a million


def dump(stand: Stand, found: AtScale, model_dir: Path, signals: int, progress: Progress) -> None:
    """Put ``signals`` signals of two days into Kappa's store and dump them, day by day. Raises an error of
    the tree."""
    with stand.started("kappa", model_dir) as started:
        keys = fill(stand, started, model_dir, signals, FIRST_DAY_SHARE, progress)
        for day in DAYS:
            found.nights.append(_night(found.name, started, day, keys[day], progress))
    shutil.rmtree(started.context.run_dir)


def _chunk(stand: Stand, started: StartedArm, windows: Windows, numbers: range, day: int) -> Chunk:
    with windows.around() as bare, ProcessMeter() as meter:
        start_ns = time.time_ns()
        drain(stand, started, numbers, day)
        end_ns = time.time_ns()
    check_stored(stand, started, numbers)
    used = meter.cpu_seconds(start_ns, end_ns)
    return Chunk(
        images=len(numbers),
        seconds=(end_ns - start_ns) / 1e9,
        core_ms_by_process={name: 1e3 * seconds / len(numbers) for name, seconds in used.items()},
        resident_bytes_by_process=_resident_bytes(),
        bare_core_ms=statistics.fmean(w.total_core_ms_per_image for w in bare),
    )


def _resident_bytes() -> dict[str, int]:
    """Of this program's processes but SHARED_PROCESSES and the bare loop's."""
    found: dict[str, int] = defaultdict(int)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            name = process_name(process.cmdline())
            if name and name not in SHARED_PROCESSES:
                found[name] += process.memory_info().rss
    return dict(found)


def _night(name: str, started: StartedArm, day: int, keys: int, progress: Progress) -> Night:
    start_ns = time.time_ns()
    with ProcessMeter(SHARED_PROCESSES) as meter:
        started.arm.end_day(day)
        end_ns = time.time_ns()
    night = Night(day, keys, (end_ns - start_ns) / 1e9, meter.peak_bytes(start_ns, end_ns))
    progress(
        f"{name}: night of day {day}, {keys} keys, {night.seconds:.1f} s, {night.peak_bytes / 2**20:.0f} MiB"
    )
    return night
