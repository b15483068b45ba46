"""One run: services up, images staged, arms interleaved over replicates, folder sealed and summarised."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arms import load_arm
from bench.capacity import Capacity, measure_capacity
from bench.config import HarnessConfig
from bench.display import Display
from bench.image_names import write_image_names
from bench.images import Dataset, DatasetImage, load_dataset
from bench.load import Load, object_key, write_schedule
from bench.load_plan import LoadPlan, offered
from bench.machine_watch import machine_watched
from bench.manifest import Manifest
from bench.replicate import Replicate, warm_up_seconds
from bench.resources.nvml import opened, watched_gpus
from bench.resources.probe import measured
from bench.results import write_result
from bench.run_context import run_context
from bench.run_folder import RUNS, folder_name, new_token
from bench.seal import seal
from bench.services.needs import OBJECT_STORE, servers_needed
from bench.services.stack import Endpoints, ServiceStack
from bench.setup import check_model, prepare
from bench.watch import watched
from bench.workload import Workload, read_trace
from signals.architecture import Pipeline, RunContext
from signals.catalog import Catalog
from signals.errors import ConfigurationError, LkbenchError, MissingRequirement
from signals.ledger import Ledger
from signals.model import Model
from signals.object_store import ObjectStore
from signals.process import ProcessGroup

NEARLY_FULL_BYTES = 32 * 1024**2
RESERVE_BYTES = 2**20
STAGING_THREADS = 8
MIN_FREE_DISK_BYTES = 2 * 1024**3
UNUSABLE_IN_PATHS = frozenset("[]{}*?:'\"\\")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the user asks for. ``None`` means: choose."""

    images: str = "crops"
    workload: str = "mixed"
    profile: str = "quick"
    claimed_percentiles: tuple[str, ...] = ("p50",)  # a run that can't carry them is INVALID
    seed: int = 1
    days: int = 1
    day_seconds: float | None = None
    rate_per_second: float | None = None
    load_share: float | None = None  # of the inference capacity, in place of a rate
    replicates: int = 1
    arms: tuple[str, ...] = ("lambda", "kappa")
    output: Path = RUNS
    drain_timeout_seconds: float = 300.0
    freshness_seconds: float | None = None  # the reader's objective for the online consumer: only drawn
    nights: bool = True  # False: no nightly work, for the online path alone


class Run:
    """Executes one run in a fresh folder below ``settings.output``.

    ``load`` makes a new instance of the arm of a name: by default one that is installed.
    """

    def __init__(
        self,
        settings: RunSettings,
        config: HarnessConfig,
        display: Display,
        load: Callable[[str], Pipeline] = load_arm,
    ) -> None:
        self._settings, self._display, self._load_arm = settings, display, load
        self._workload = Workload.load(settings.workload)
        self._config = dataclasses.replace(config, catalog=config.catalog or self._workload.catalog)
        token = new_token()
        self.run_dir = (settings.output / folder_name(token)).resolve()
        self._namespace = f"lk_{token}"
        self._current: Replicate | None = None
        self._disk_was_full = False
        display.refresh = self._refresh

    def execute(self, on_checked: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Run everything, on display, and return the content of ``result.json``.

        ``on_checked`` is called when the settings have turned out to make sense, before anything is written.
        Raises an error of the tree, or KeyboardInterrupt; the manifest then says failed or aborted.
        """
        with self._display:
            return self._execute(on_checked)

    def _execute(self, on_checked: Callable[[], None]) -> dict[str, Any]:
        settings = self._settings
        # An unknown arm fails before anything starts.
        arms = {name: self._load_arm(name) for name in settings.arms}
        needed = servers_needed(arms.values())
        check_model(self._config)
        plan = self._plan()
        # What can't work fails before a folder is made, where that can be known without the capacity.
        load = plan.load(settings.rate_per_second) if settings.load_share is None else None
        on_checked()
        self._make_folder()
        manifest = Manifest(self.run_dir, self._inputs() | (offered(load, None) if load else {}))
        try:
            prepared = prepare(self._config, self._display.note)
            model = Model.load(prepared.model_dir)
            manifest.update(model={"name": model.manifest.name, "sha256": model.manifest.sha256})
            capacity = self._capacity(plan, prepared.model_dir, needed)
            load = load or plan.load(self._rate_per_second(capacity))
            warm_up = warm_up_seconds(load.schedule.day_seconds)
            manifest.update(**offered(load, capacity), warm_up_seconds=warm_up)
            write_image_names(self.run_dir, load.dataset.images)
            write_schedule(self.run_dir, load)
            self._replicates(arms, needed, load, prepared.model_dir)
            self._reserve.unlink(missing_ok=True)
            seal(self.run_dir)
            manifest.end("complete")
            return write_result(self.run_dir)
        except KeyboardInterrupt:
            self._close_unfinished(manifest, "aborted", "interrupted")
            raise
        except Exception as error:
            self._close_unfinished(manifest, "failed", str(error))
            if self._disk_was_full or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
                raise MissingRequirement(
                    f"the disk that holds {self.run_dir} is full, which ended the run: free some space or "
                    f"use --output ({error})"
                ) from error
            raise

    def _replicates(
        self, arms: dict[str, Pipeline], needed: frozenset[str], load: Load, model_dir: Path
    ) -> None:
        settings = self._settings
        with (
            machine_watched(self.run_dir),
            self._services(needed) as (endpoints, services),
            opened() as nvml,
            watched_gpus(self.run_dir, nvml),
        ):
            if OBJECT_STORE in needed:
                self._stage_images(load.dataset, endpoints)
            for replicate in range(1, settings.replicates + 1):
                # A B, B A, …: drift of the machine falls on both arms alike.
                names = settings.arms if replicate % 2 else tuple(reversed(settings.arms))
                for name in names:
                    context = self._context(name, replicate, endpoints, model_dir, load)
                    arm = arms.pop(name, None) or self._load_arm(name)
                    self._current = Replicate(arm, context, load, self._display, nights=settings.nights)
                    with measured(context, services, self.run_dir / "services"):
                        self._current.run()

    def _refresh(self) -> None:
        if self._current is not None:
            self._current.refresh()

    @property
    def _reserve(self) -> Path:
        # What it takes to write how the run ended, also on a disk that has filled up meanwhile.
        return self.run_dir / ".reserve"

    def _close_unfinished(self, manifest: Manifest, status: Any, error: str) -> None:
        # What was measured until then is kept and readable; a full disk must not hide the first error, nor a
        # second Ctrl-C cut the writing short. The next run of this process can be interrupted again.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._reserve.unlink(missing_ok=True)
            with contextlib.suppress(OSError, LkbenchError):
                seal(self.run_dir)
            with contextlib.suppress(OSError):
                manifest.end(status, error)
        finally:
            signal.signal(signal.SIGINT, handler)

    def _plan(self) -> LoadPlan:
        settings = self._settings
        rates = [rate for rate in (settings.rate_per_second, settings.load_share) if rate is not None]
        if len(rates) > 1:
            raise ConfigurationError("--rate and --load both set the rate: give one of them")
        if not all(0 < rate < math.inf for rate in rates) or settings.days < 1 or settings.replicates < 1:
            raise ConfigurationError("--rate, --load, --days and --replicates must be above 0")
        if not settings.arms or len(set(settings.arms)) != len(settings.arms):
            raise ConfigurationError("--arms names each arm once, and at least one")
        trace = read_trace(self._workload.trace) if self._workload.trace else None
        catalog = Catalog.load(self._config.catalog)
        self._workload.check_against(catalog, trace.pipelines if trace else ())
        return LoadPlan(
            workload=self._workload,
            dataset=load_dataset(settings.images, self._display.note),
            catalog=catalog,
            trace=trace,
            seed=settings.seed,
            days=settings.days,
            day_seconds=settings.day_seconds,
            namespace=self._namespace,
        )

    def _rate_per_second(self, capacity: Capacity | None) -> float | None:
        share = self._settings.load_share
        if share is None or capacity is None:
            return self._settings.rate_per_second
        return share * capacity.images_per_second

    def _capacity(self, plan: LoadPlan, model_dir: Path, needed: frozenset[str]) -> Capacity | None:
        if self._settings.load_share is None and OBJECT_STORE not in needed:
            return None  # none of the arms reads an image
        self._display.note("measuring the inference capacity of this machine")
        capacity = measure_capacity(self._config, plan.dataset, model_dir)
        self._display.note(f"inference capacity: {capacity.images_per_second:.1f} images/s")
        return capacity

    def _make_folder(self) -> None:
        if unusable := sorted(set(str(self.run_dir)) & UNUSABLE_IN_PATHS):
            raise ConfigurationError(
                f"the path {self.run_dir} holds {' '.join(unusable)}, which Spark reads as a pattern or a "
                "separator; use --output"
            )
        try:
            self.run_dir.mkdir(parents=True)
        except OSError as error:
            raise ConfigurationError(f"can't write to {self._settings.output}: {error.strerror}") from error
        self._reserve.write_bytes(bytes(RESERVE_BYTES))
        free = shutil.disk_usage(self.run_dir).free
        if free < MIN_FREE_DISK_BYTES:
            shutil.rmtree(self.run_dir)
            raise MissingRequirement(
                f"{self._settings.output} has {free / 1024**3:.1f} GiB free, a run needs "
                f"{MIN_FREE_DISK_BYTES / 1024**3:.0f}; free some space or use --output"
            )

    def _inputs(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "profile": settings.profile,
            "claimed_percentiles": list(settings.claimed_percentiles),
            "seed": settings.seed,
            "freshness_seconds": settings.freshness_seconds,
            "arms": list(settings.arms),
            "replicates": settings.replicates,
            "workload": settings.workload,
            "dataset": settings.images,
            "config": self._config.public(),
            "device": self._config.inference.device,
            "workers": self._config.inference.workers,
        }

    @contextlib.contextmanager
    def _services(self, needed: frozenset[str]) -> Iterator[tuple[Endpoints, ProcessGroup]]:
        with (
            ProcessGroup(self.run_dir / "logs" / "services") as group,
            ServiceStack(self.run_dir, self._config, group, self._namespace, needed) as stack,
        ):
            try:
                endpoints = stack.start(self._display.note)
                with watched(group):
                    yield endpoints, group
            except BaseException:
                # Asked now, before the servers' data is removed.
                self._disk_was_full = shutil.disk_usage(self.run_dir).free < NEARLY_FULL_BYTES
                raise

    def _stage_images(self, dataset: Dataset, endpoints: Endpoints) -> None:
        self._display.note(f"staging {len(dataset.images)} images in {endpoints.s3.bucket}")

        def stage(image: DatasetImage) -> None:
            store.put(object_key(self._namespace, image.image_signature), image.path.read_bytes())

        # A ledger of its own: what is counted until here was taken by no arm.
        with (
            Ledger(self.run_dir / "ledger" / "raw", process="staging"),
            ObjectStore(endpoints.s3) as store,
            ThreadPoolExecutor(STAGING_THREADS) as pool,
        ):
            collections.deque(pool.map(stage, dataset.images), maxlen=0)  # raises the first error

    def _context(
        self, arm: str, replicate: int, endpoints: Endpoints, model_dir: Path, load: Load
    ) -> RunContext:
        context = run_context(
            endpoints,
            self._config,
            arm=arm,
            replicate=replicate,
            suffix=f"a{self._settings.arms.index(arm)}r{replicate}",
            run_dir=self.run_dir,
            arm_dir=self.run_dir / "arms" / f"{arm}-{replicate}",
            model_dir=model_dir,
            day_seconds=load.schedule.day_seconds,
        )
        return dataclasses.replace(context, drain_timeout_seconds=self._settings.drain_timeout_seconds)
