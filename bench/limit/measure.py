"""Finds the best layout of the bare loop on this machine, and measures it in interleaved windows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.config import InferenceConfig
from bench.limit.loop import BareLoop, Window
from bench.limit.worker import Layout, Material, Work

WINDOWS = 5
WINDOW_SECONDS = 2.0
SEARCH_SECONDS = 2.0
SEARCH_ROUNDS = 2
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
CUDA_BATCH_SIZES = (1, 8, 32, 64, 128)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the windows; ``spread``: (largest - smallest) / median of the images per second."""

    images_per_second: float
    core_ms_per_image: float
    server_core_ms_per_image: float
    spread: float
    windows: int


@dataclass(frozen=True, slots=True)
class Limit:
    """What ``lkbench limit`` found. ``measured``: by kind of work, inference as ``inference_batch_N``."""

    layout: Layout
    searched: Mapping[str, float]  # images per second by layout
    measured: Mapping[str, Measured]

    @property
    def images_per_second(self) -> float:
        """L: the bare loop with a GET from the object store, or from memory where there is none."""
        return self.measured[Work.S3 if Work.S3 in self.measured else Work.MEMORY].images_per_second


def median(windows: Sequence[Window]) -> Measured:
    """Sum up windows of the same work."""
    rates = [window.images_per_second for window in windows]
    middle = statistics.median(rates)
    return Measured(
        images_per_second=middle,
        core_ms_per_image=statistics.median(window.core_ms_per_image for window in windows),
        server_core_ms_per_image=statistics.median(window.server_core_ms_per_image for window in windows),
        spread=(max(rates) - min(rates)) / middle,
        windows=len(windows),
    )


def usual_layout(inference: InferenceConfig, *, ahead: bool = True) -> Layout:
    """That of the bare loop where none was searched: the fastest of ``layouts`` on the machines it was tried
    on. A slower one would flatter what is compared with it.

    ``ahead``: there is something to prepare images ahead for, a model that takes its time and a store to wait
    for. A GPU has it always; on a CPU, hand-overs between threads cost more than they gain without it.
    """
    if inference.device == "cuda":
        return Layout(inference.workers, 1, 2, inference.max_batch)
    # A CPU gains nothing from a batch: it computes as many operations, and the activations of eight images
    # no longer fit the caches that those of one fit.
    return Layout(inference.workers, 1, 2 if ahead else 0, 1)


def layouts(device: str, cores: int) -> list[Layout]:
    """The layouts that are worth trying."""
    if device == "cuda":
        return [Layout(p, 1, f, b) for p in (1, min(4, cores)) for f in (4, 8) for b in (8, 32, 64)]
    tried = [Layout(cores, 1, fetch, batch) for fetch, batch in ((0, 1), (0, 8), (1, 8), (2, 1), (2, 8))]
    return tried + ([Layout(1, cores, 2, 8), Layout(1, cores, 2, 1)] if cores > 1 else [])


def find_layout(material: Material, work: Work, progress: Progress) -> tuple[Layout, dict[str, float]]:
    """The fastest layout for ``work``, and images per second by layout (the best of its windows)."""
    found: dict[Layout, float] = {}
    candidates = layouts(material.device, len(os.sched_getaffinity(0)))
    for layout in candidates:
        with BareLoop(material, layout) as loop:
            rates = [loop.window(work, SEARCH_SECONDS).images_per_second for _ in range(SEARCH_ROUNDS)]
        found[layout] = max(rates)
        progress(f"{layout}: {found[layout]:.1f} images/s")
    best = max(found, key=lambda layout: found[layout])
    return best, {str(layout): rate for layout, rate in found.items()}


def measure_limit(
    material: Material,
    *,
    watched: Sequence[int] = (),
    windows: int = WINDOWS,
    window_seconds: float = WINDOW_SECONDS,
    progress: Progress = lambda _: None,
) -> Limit:
    """Search the layout, then take ``windows`` windows of every kind of work, one kind after the other in
    each round, so that a drift of the machine falls on all alike. Raises ServiceError."""
    last = Work.S3 if material.s3 else Work.MEMORY
    layout, searched = find_layout(material, last, progress)
    sizes = BATCH_SIZES if material.device == "cpu" else CUDA_BATCH_SIZES
    plan = {"decode": (Work.DECODE, 0)}
    plan |= {f"inference_batch_{size}": (Work.INFERENCE, size) for size in sizes}
    plan[Work.MEMORY] = (Work.MEMORY, 0)
    plan[last] = (last, 0)
    taken: dict[str, list[Window]] = {name: [] for name in plan}
    with BareLoop(material, layout, watched) as loop:
        for number in range(windows):
            progress(f"window {number + 1} of {windows}")
            for name, (work, batch) in plan.items():
                taken[name].append(loop.window(work, window_seconds, batch))
    return Limit(layout, searched, {str(name): median(found) for name, found in taken.items()})
