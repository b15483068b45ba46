"""The servers, the images in the object store, and arms that are started on them one after the other."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.arms import load_arm
from bench.awake_cores import awake_cores
from bench.config import HarnessConfig
from bench.images import Dataset
from bench.limit.loop import BareLoop
from bench.limit.staged import material, stage
from bench.limit.worker import Layout, Material
from bench.run_context import run_context, with_gss
from bench.services.stack import Endpoints, ServiceStack
from bench.throughput.processes import process_name
from signals.architecture import MediaEvent, Pipeline, RunContext
from signals.catalog import Catalog
from signals.image import image_signature
from signals.process import ProcessGroup

Progress = Callable[[str], None]
DAY_SECONDS = 3600.0


def arrival_signature(number: int) -> str:
    """Of arrival ``number``: each is a key of its own, though objects repeat."""
    return image_signature(b"%d" % number)


@dataclass(frozen=True, slots=True)
class StartedArm:
    """An arm that takes arrivals, and its context."""

    arm: Pipeline
    context: RunContext


@dataclass(frozen=True, slots=True)
class Stand:
    """Servers that are up, with the images of ``dataset`` in the object store at ``keys``.

    ``cores_awake``: no core sleeps while it has nothing to do.
    """

    config: HarnessConfig
    dataset: Dataset
    folder: Path
    endpoints: Endpoints
    keys: tuple[str, ...]
    pipeline: str
    galaxy: str
    cores_awake: bool
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def s3_processes(self) -> list[int]:
        """Process ids of the object store, none where it is an external one."""
        children = psutil.Process().children(recursive=True)
        return [child.pid for child in children if process_name(child.cmdline()) == "s3proxy"]

    def material(self, model_dir: Path) -> Material:
        """What a bare loop over the same objects works on."""
        return material(self.config, self.dataset, model_dir, self.endpoints.s3, self.keys)

    def bare_loop(self, model_dir: Path, layout: Layout) -> BareLoop:
        """One over the same objects, which books the object store, too. Raises ServiceError."""
        return BareLoop(self.material(model_dir), layout, self.s3_processes)

    def event(self, number: int, scheduled_ns: int, day: int = 0) -> MediaEvent:
        """Arrival ``number``: a key of its own, with one of the staged objects in turn."""
        return MediaEvent(
            event_id=number,
            image_signature=arrival_signature(number),
            pipeline=self.pipeline,
            galaxy=self.galaxy,
            day=day,
            scheduled_ns=scheduled_ns,
            object_key=self.keys[number % len(self.keys)],
        )

    @contextlib.contextmanager
    def started(self, arm_name: str, model_dir: Path) -> Iterator[StartedArm]:
        """An arm with stores of its own, warm. Raises an error of the tree."""
        number = next(self._numbers)
        run_dir = self.folder / f"{arm_name}-{number}"
        context = self._context(arm_name, number, run_dir, model_dir)
        arm = load_arm(arm_name)
        with ProcessGroup(run_dir / "logs") as group:
            context = with_gss(context, group)
            try:
                arm.start(context)
                yield StartedArm(arm, context)
            finally:
                arm.stop()

    def _context(self, arm: str, number: int, run_dir: Path, model_dir: Path) -> RunContext:
        return run_context(
            self.endpoints,
            self.config,
            arm=arm,
            replicate=1,
            suffix=str(number),
            run_dir=run_dir,
            arm_dir=run_dir / "arm",
            model_dir=model_dir,
            day_seconds=DAY_SECONDS,
        )


@contextlib.contextmanager
def stand(config: HarnessConfig, dataset: Dataset, progress: Progress) -> Iterator[Stand]:
    """Start the servers, stage the images, keep the cores awake where that is allowed. Everything is removed
    at the end, but for the folder of a failure, which is named. Raises ServiceError or MissingRequirement."""
    folder = Path(tempfile.mkdtemp(prefix="lkbench-throughput-"))
    namespace = f"lk_{secrets.token_hex(3)}"
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)  # also when interrupted
        try:
            with (
                ProcessGroup(folder / "logs") as group,
                ServiceStack(folder, config, group, namespace=namespace) as stack,
                awake_cores() as refused,
            ):
                if refused:
                    progress(f"cores sleep when they have nothing to do, so latencies are higher ({refused})")
                endpoints = stack.start(progress)
                progress(f"staging {len(dataset.images)} images")
                keys = tuple(stage(endpoints.s3, namespace, dataset.images))
                pipeline = material(config, dataset, Path()).pipeline
                galaxy = Catalog.load(config.catalog).pipeline(pipeline).galaxy
                yield Stand(config, dataset, folder, endpoints, keys, pipeline, galaxy, not refused)
        except Exception:
            cleanup.pop_all()
            progress(f"logs are in {folder}")
            raise
