"""The same backlogs through one of everything and through the layout of a cluster, in turn."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.config import HarnessConfig
from bench.images import Dataset
from bench.scale.layout import (
    SCALED_OUT,
    SINGLE,
    Backlog,
    Idle,
    Night,
    RunningLayout,
    StartArm,
    Used,
    layouts,
)
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM
from bench.throughput.stand import Progress
from bench.throughput.targets import Target

ARMS = {"lambda": (ONLINE, NIGHTLY), "kappa": (STREAM,)}
IDLE_SECONDS = 5.0
PER_CORE_LIMIT = 0.9
WARM_UP_DAY = 0


@dataclass(frozen=True, slots=True)
class LayoutDrain:
    """One backlog of ``images`` through one path of one layout."""

    path: str
    layout: str
    images: int
    used: Used

    @property
    def images_per_second(self) -> float:
        """By the clock."""
        return self.images / self.used.seconds

    @property
    def images_per_core_second(self) -> float:
        """Throughput per core: what it would be on cores that are always busy."""
        return self.images / self.used.cpu_seconds


@dataclass(slots=True)
class ScaleOut:
    """What was measured. ``idle_core_ms``: CPU time of a layout's idle servers and arm per second, by arm."""

    drains: list[LayoutDrain] = field(default_factory=list)
    idle_core_ms: dict[str, dict[str, float]] = field(default_factory=dict)

    def ratio(self, path: str) -> float | None:
        """Throughput per core of the scaled-out layout, as a share of the single one's: the median over the
        rounds, in each of which both drained. None before the first is complete."""
        pairs = zip(self._per_core(path, SCALED_OUT), self._per_core(path, SINGLE), strict=False)
        ratios = [ours / single for ours, single in pairs]
        return statistics.median(ratios) if ratios else None

    def targets(self) -> list[Target]:
        """One for each path."""
        return [
            Target(
                f"{path}: throughput per core", "of the single layout", ">=", PER_CORE_LIMIT, self.ratio(path)
            )
            for path in (ONLINE, NIGHTLY, STREAM)
        ]

    def _per_core(self, path: str, layout: str) -> list[float]:
        return [
            drain.images_per_core_second
            for drain in self.drains
            if (drain.path, drain.layout) == (path, layout)
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """``images`` a backlog; ``warm_up`` go through each arm before."""

    images: int
    warm_up: int
    rounds: int
    arms: Sequence[str]


def measure_scale_out(
    config: HarnessConfig,
    dataset: Dataset,
    model_dir: Path,
    plan: Plan,
    found: ScaleOut,
    measured: Callable[[LayoutDrain], None],
    progress: Progress,
) -> None:
    """Start both layouts, then drain by turns, each round in the other order; adds to ``found`` as it goes.
    The layout that is not measured is idle. Raises an error of the tree."""
    with contextlib.ExitStack() as stack:
        up = {
            name: stack.enter_context(RunningLayout(name, layout, dataset, model_dir))
            for name, layout in layouts(config, model_dir).items()
        }
        for layout in up.values():
            layout.wait_until_up()
        for arm in plan.arms:
            progress(f"{arm}: starting and warming up")
            for name, layout in up.items():
                layout.run(StartArm(arm))
                layout.run(Backlog(0, plan.warm_up, WARM_UP_DAY))
                idle = layout.run(Idle(IDLE_SECONDS))
                found.idle_core_ms.setdefault(arm, {})[name] = 1e3 * idle.cpu_seconds / idle.seconds
            for number in range(plan.rounds):
                order = list(up) if number % 2 == 0 else list(reversed(up))
                day = WARM_UP_DAY + 1 + number
                for path in ARMS[arm]:
                    backlog = Backlog(plan.warm_up + number * plan.images, plan.images, day)
                    for name in order:
                        used = up[name].run(Night(day) if path == NIGHTLY else backlog)
                        found.drains.append(LayoutDrain(path, name, plan.images, used))
                        measured(found.drains[-1])
            for layout in up.values():
                layout.run(StartArm(""))
