"""One layout of servers and workers, driven by a process of its own.

What belongs to a layout is what descends from that process. So several layouts can be up at a time, all but
one of them idle, and what each costs is still told apart.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import duckdb

from bench.config import HarnessConfig, ModelConfig, ServicesConfig
from bench.images import Dataset
from bench.scale.drain import check_stored, drain
from bench.seal import events_path, seal
from bench.throughput.processes import ProcessMeter
from bench.throughput.stand import Stand, StartedArm, stand
from signals.errors import PipelineError, ServiceError

SINGLE, SCALED_OUT = "single", "scaled out"
STOP_SECONDS = 60.0
_STEPS = """
SELECT min(start_ns) FILTER (detail = 'step4_infer'), max(end_ns) FILTER (detail = 'step5_protobuf')
FROM read_parquet($events) WHERE path = 'nightly' AND stage = 'step' AND outcome = 'ok' AND day = $day
"""


def layouts(config: HarnessConfig, model_dir: Path) -> dict[str, HarnessConfig]:
    """One of everything, and the cluster's layout: three brokers, Spark standalone with two workers, two
    inference services, two workers of each pool."""
    config = replace(config, model=ModelConfig(str(model_dir)))
    several = ServicesConfig(kafka_brokers=3, spark_workers=2, stream_workers=2, inference_services=2)
    return {
        SINGLE: replace(config, inference=replace(config.inference, workers=1), services=ServicesConfig()),
        SCALED_OUT: replace(config, inference=replace(config.inference, workers=2), services=several),
    }


@dataclass(frozen=True, slots=True)
class StartArm:
    """Stop the arm that runs, if any, and start another; no ``name``, none."""

    name: str


@dataclass(frozen=True, slots=True)
class Idle:
    """Do nothing for a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Arrivals ``first`` to before ``first + images``, of ``day``."""

    first: int
    images: int
    day: int


@dataclass(frozen=True, slots=True)
class Night:
    """The end of ``day``."""

    day: int


@dataclass(frozen=True, slots=True)
class Used:
    """What a task took, in CPU seconds of the layout's processes by name, the layout's driver among them.

    Of a night these are steps 4 and 5; ``spark_seconds`` (wall) and ``spark_cpu_seconds`` are the others.
    """

    seconds: float
    cpu_seconds_by_process: Mapping[str, float]
    spark_seconds: float = 0.0
    spark_cpu_seconds: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Of all processes."""
        return sum(self.cpu_seconds_by_process.values())


Task = StartArm | Idle | Backlog | Night
NOTHING = Used(0.0, {})


class RunningLayout:
    """The servers of one layout, up, and at most one arm on them. A context manager; leaving it stops all.

    Raises an error of the tree.
    """

    def __init__(self, name: str, config: HarnessConfig, dataset: Dataset, model_dir: Path) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would share this process's threads
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, name, config, dataset, model_dir))
        self._process.start()
        theirs.close()

    def wait_until_up(self) -> None:
        """Return when all servers have answered."""
        self._receive()

    def run(self, task: Task) -> Used:
        """Have the layout do ``task``."""
        self._connection.send(task)
        return self._receive()

    def __enter__(self) -> RunningLayout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()  # and the kernel all its children
            self._process.join()

    def _receive(self) -> Used:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ServiceError("the process that drives a layout died") from error
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def _serve(
    connection: Connection, name: str, config: HarnessConfig, dataset: Dataset, model_dir: Path
) -> None:
    # Ctrl-C reaches this process, too, but its parent ends it. Not ignored: its children would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)

    def note(text: str) -> None:
        sys.stderr.write(f"{name}: {text}\n")

    with connection, contextlib.suppress(BrokenPipeError):  # the parent has left
        try:
            with stand(config, dataset, note) as servers:
                connection.send(NOTHING)
                _serve_tasks(connection, servers, model_dir)
        except Exception as error:
            connection.send(error)


def _serve_tasks(connection: Connection, servers: Stand, model_dir: Path) -> None:
    """Until the parent leaves."""
    with contextlib.ExitStack() as running:
        driver = _Driver(servers, model_dir, running)
        while True:
            try:
                task: Task = connection.recv()
            except EOFError:
                return
            connection.send(driver.do(task))


class _Driver:
    """Does tasks on servers that are up. ``running`` holds the arm that runs."""

    def __init__(self, servers: Stand, model_dir: Path, running: contextlib.ExitStack) -> None:
        self._servers, self._model_dir, self._running = servers, model_dir, running
        self._arm: StartedArm | None = None

    def do(self, task: Task) -> Used:
        match task:
            case StartArm(name):
                self._running.close()
                self._arm = None
                if name:
                    self._arm = self._running.enter_context(self._servers.started(name, self._model_dir))
                return NOTHING
            case Idle(seconds):
                return self._measured(lambda: time.sleep(seconds))[0]
            case Backlog(first, images, day):
                numbers, arm = range(first, first + images), self._started()
                used, _ = self._measured(lambda: drain(self._servers, arm, numbers, day))
                check_stored(self._servers, arm, numbers)
                return used
            case Night(day):
                return self._night(self._started(), day)

    def _started(self) -> StartedArm:
        if self._arm is None:
            raise PipelineError("no arm was started")
        return self._arm

    def _measured(self, work: Callable[[], None]) -> tuple[Used, ProcessMeter]:
        with ProcessMeter() as meter:
            start_ns = time.time_ns()
            work()
            end_ns = time.time_ns()
        return _used(meter, start_ns, end_ns), meter

    def _night(self, started: StartedArm, day: int) -> Used:
        night, meter = self._measured(lambda: started.arm.end_day(day))
        steps = _used(meter, *_steps_4_and_5(started.context.run_dir, day))
        return replace(
            steps,
            spark_seconds=night.seconds - steps.seconds,
            spark_cpu_seconds=night.cpu_seconds - steps.cpu_seconds,
        )


def _used(meter: ProcessMeter, start_ns: int, end_ns: int) -> Used:
    return Used((end_ns - start_ns) / 1e9, meter.cpu_seconds(start_ns, end_ns))


def _steps_4_and_5(run_dir: Path, day: int) -> tuple[int, int]:
    """From the ledger: their beginning and end, Unix ns."""
    seal(run_dir)
    with duckdb.connect() as connection:
        found = connection.execute(_STEPS, {"events": str(events_path(run_dir)), "day": day}).fetchone()
    if found is None or None in found:
        raise PipelineError(f"the ledger lacks steps of the night of day {day}; see {run_dir / 'logs'}")
    return found
