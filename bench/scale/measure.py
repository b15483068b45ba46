"""Sends a long stream of small images through an arm, in chunks, and looks at cost and memory of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.scale.fill import fill
from bench.scale.small_images import arrival
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import Progress, Stand, StartedArm

CHUNKS = 40
DAYS = (0, 1)
FIRST_DAY_SHARE = 0.25  # so that the second night has three times the rows of the first
DRAIN_SECONDS = 7200.0
# Servers whose memory is a matter of their own settings, and the driver.
LEFT_OUT = frozenset({"driver", "kafka", "s3proxy", "postgres"})


@dataclass(frozen=True, slots=True)
class Chunk:
    """One of CHUNKS equal parts. CPU time of all processes but LEFT_OUT; memory as ProcessMeter has it."""

    images: int
    seconds: float
    core_ms_per_image: float
    peak_bytes: int


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
        """Core-ms per image in the last fifth of the chunks, as a share of the first fifth, less 1."""
        return self._change(lambda chunk: chunk.core_ms_per_image)

    @property
    def memory_change(self) -> float | None:
        """The same of the peak memory."""
        return self._change(lambda chunk: chunk.peak_bytes)

    @property
    def night_memory_change(self) -> float | None:
        """Peak memory of the second night, with three times the keys, as a share of the first, less 1."""
        if len(self.nights) < len(DAYS):
            return None
        return self.nights[1].peak_bytes / self.nights[0].peak_bytes - 1

    def _change(self, figure: Callable[[Chunk], float]) -> float | None:
        fifth = CHUNKS // 5
        if len(self.chunks) < CHUNKS:
            return None
        # The very first is warm-up.
        first = statistics.median(figure(chunk) for chunk in self.chunks[1 : 1 + fifth])
        return statistics.median(figure(chunk) for chunk in self.chunks[-fifth:]) / first - 1


def send(stand: Stand, found: AtScale, arm: str, model_dir: Path, images: int, progress: Progress) -> None:
    """Send ``images`` images through ``arm``, in two days; adds to ``found`` as it goes. Raises an error of
    the tree."""
    size = images // CHUNKS
    first_day = round(CHUNKS * FIRST_DAY_SHARE)
    with stand.started(arm, model_dir) as started:
        for number in range(CHUNKS):
            day = DAYS[number >= first_day]
            found.chunks.append(_chunk(stand, started, range(number * size, (number + 1) * size), day))
            last = found.chunks[-1]
            progress(
                f"{found.name}: {(number + 1) * size} of {CHUNKS * size} images, "
                f"{last.core_ms_per_image:.2f} core-ms per image, {last.peak_bytes / 2**20:.0f} MiB"
            )
            if number + 1 in (first_day, CHUNKS):
                keys = size * (first_day if day == 0 else CHUNKS - first_day)
                found.nights.append(_night(found.name, started, day, keys, progress))


def dump(stand: Stand, found: AtScale, model_dir: Path, signals: int, progress: Progress) -> None:
    """Put ``signals`` signals of two days into Kappa's store and dump them, day by day. Raises an error of
    the tree."""
    with stand.started("kappa", model_dir) as started:
        keys = fill(stand, started, model_dir, signals, FIRST_DAY_SHARE, progress)
        for day in DAYS:
            found.nights.append(_night(found.name, started, day, keys[day], progress))


def _chunk(stand: Stand, started: StartedArm, numbers: range, day: int) -> Chunk:
    start_ns = time.time_ns()
    with ProcessMeter(LEFT_OUT) as meter:
        for number in numbers:
            started.arm.submit(arrival(stand, number, day, time.time_ns()))
        started.arm.drain(DRAIN_SECONDS)
        end_ns = time.time_ns()
    cpu_seconds = sum(meter.cpu_seconds(start_ns, end_ns).values())
    return Chunk(
        images=len(numbers),
        seconds=(end_ns - start_ns) / 1e9,
        core_ms_per_image=1e3 * cpu_seconds / len(numbers),
        peak_bytes=meter.peak_bytes(start_ns, end_ns),
    )


def _night(name: str, started: StartedArm, day: int, keys: int, progress: Progress) -> Night:
    start_ns = time.time_ns()
    with ProcessMeter(LEFT_OUT) as meter:
        started.arm.end_day(day)
        end_ns = time.time_ns()
    night = Night(day, keys, (end_ns - start_ns) / 1e9, meter.peak_bytes(start_ns, end_ns))
    progress(
        f"{name}: night of day {day}, {keys} keys, {night.seconds:.1f} s, {night.peak_bytes / 2**20:.0f} MiB"
    )
    return night
