"""Runs one arm through its days: fresh stores, the open-loop generator, midnight, the two consumers."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from bench.consumers.progress import (
    BatchProgress,
    OnlineProgress,
    batch_progress_file,
    online_progress_file,
)
from bench.display import ArmStatus, Display
from bench.generator import Generator, sleep_until
from bench.load import Load
from bench.run_context import with_gss
from bench.watch import watched
from signals.architecture import HasNightlySteps, Pipeline, RunContext
from signals.errors import PipelineError
from signals.hive import SPARK_SECRETS, MetastoreReader
from signals.ledger import Ledger, Stage
from signals.process import ProcessGroup

WARM_UP_SECONDS = 3.0
WARM_UP_SHARE = 0.1  # of the first day, at most
DAY_LEAD_SECONDS = 0.5  # between the end of one day's work and the first instant of the next day
CONSUMER_READY_SECONDS = 30.0
POLL_SECONDS = 0.1
NIGHTLY = "nightly"  # the phase that has steps
SECRET_FILES = ("*context.json", "gss.token", SPARK_SECRETS)


class Replicate:
    """One arm, one replicate."""

    def __init__(
        self, arm: Pipeline, context: RunContext, load: Load, display: Display, *, nights: bool = True
    ) -> None:
        self._arm, self._context, self._load, self._display = arm, context, load, display
        self._generator: Generator | None = None
        self._nights = nights
        self.status = ArmStatus(
            arm=context.arm,
            replicate=context.replicate,
            days=load.schedule.days,
            scheduled=len(load.schedule),
        )
        display.add(self.status)

    def run(self) -> None:
        """Run all days. Raises an error of the tree; leaves no process of the arm behind in any case."""
        self.status.started = time.monotonic()
        try:
            with self._support() as (context, group), Ledger.from_context(context, "driver") as ledger:
                try:
                    self._phase("starting")
                    self._arm.start(context)
                    self._start_consumers(context, group)
                    self._generator = Generator(self._load, self._arm.submit, ledger)
                    for day in range(self._load.schedule.days):
                        self._run_day(day, self._generator, ledger)
                    self._phase("draining")
                    self._arm.drain(self._context.drain_timeout_seconds)
                    self._wait_for_online_client()
                    if self._nights:
                        self._record_partitions()
                finally:
                    self._phase("stopping")
                    self._arm.stop()
            self.status.phase = "done"
        finally:
            self.refresh()
            self.status.ended = time.monotonic()
            self._forget_secrets()

    def refresh(self) -> None:
        """Bring the status up to date, from what the consumers and the arm say."""
        online = OnlineProgress.read(online_progress_file(self._context.arm_dir))
        batch = BatchProgress.read(batch_progress_file(self._context.arm_dir))
        self.status.arrivals = self._submitted
        self.status.available_online = online.available
        self.status.dead_letters = online.dead_letters
        self.status.available_batch_keys = batch.keys
        self.status.backlog = max(0, self._submitted - online.ended)
        self.status.step = ""
        if self.status.phase == NIGHTLY and isinstance(self._arm, HasNightlySteps):
            self.status.step = self._arm.nightly_step(self.status.day)

    @property
    def _submitted(self) -> int:
        return self._generator.submitted if self._generator is not None else 0

    @contextlib.contextmanager
    def _support(self) -> Iterator[tuple[RunContext, ProcessGroup]]:
        # The Rockstore is fresh for every replicate; the consumers stop before it does.
        with ProcessGroup(self._context.log_dir) as group:
            context = with_gss(self._context, group)
            context.save(context.arm_dir / "context.json")
            with watched(group):
                yield context, group

    def _start_consumers(self, context: RunContext, group: ProcessGroup) -> None:
        path = context.arm_dir / "context.json"
        for name in ("online", "batch"):
            argv = [sys.executable, "-m", f"bench.consumers.{name}", "--context", str(path)]
            child = group.start(f"{name}_client", argv)
            group.wait_for_file(child, context.arm_dir / f"{name}_client.ready", CONSUMER_READY_SECONDS)

    def _run_day(self, day: int, generator: Generator, ledger: Ledger) -> None:
        self.status.day = day
        self._phase("day")
        # Sleeping follows the monotonic clock, stamps are wall-clock: one offset per day ties them together.
        start_ns = time.time_ns() + round(DAY_LEAD_SECONDS * 1e9)
        monotonic_offset_ns = time.time_ns() - time.monotonic_ns()
        generator.run_day(day, start_ns, monotonic_offset_ns)
        day_seconds = self._load.schedule.day_seconds
        if day == 0:
            warm_ns = start_ns + round(warm_up_seconds(day_seconds) * 1e9)
            ledger.record(Stage.WARM_UP, start_ns=start_ns, end_ns=warm_ns, path="harness", day=day)
        midnight_ns = start_ns + round(day_seconds * 1e9)
        sleep_until(midnight_ns - monotonic_offset_ns)
        ledger.record(Stage.DAY, start_ns=start_ns, end_ns=midnight_ns, path="harness", day=day)
        if self._nights:
            self._phase(NIGHTLY)
            self._arm.end_day(day)
            self._wait_until_batch_client_has(day)

    def _wait_until_batch_client_has(self, day: int) -> None:
        with contextlib.closing(self._metastore()) as metastore:
            expected = {at for (_, of_day), at in metastore.partitions().items() if of_day == day}
        progress_file = batch_progress_file(self._context.arm_dir)
        self._wait(
            lambda: expected <= set(BatchProgress.read(progress_file).partitions),
            f"the batch client did not read the partitions of day {day}",
        )

    def _wait_for_online_client(self) -> None:
        progress_file = online_progress_file(self._context.arm_dir)
        try:
            self._wait(
                lambda: OnlineProgress.read(progress_file).ended >= self._submitted,
                "the online client did not see every arrival end",
            )
        except PipelineError as error:
            # The arm says that it is done: what is missing now is lost, which a rule counts. To give up here
            # would hide how many there are.
            self._display.note(str(error))

    def _wait(self, is_done: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + self._context.drain_timeout_seconds
        while not is_done():
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"{self._context.arm}: {problem} within {self._context.drain_timeout_seconds:.0f} s; "
                    f"logs are in {self._context.log_dir}"
                )
            time.sleep(POLL_SECONDS)

    def _record_partitions(self) -> None:
        with contextlib.closing(self._metastore()) as metastore:
            partitions = [
                {"galaxy": galaxy, "day": day, "location": _relative(location, self._context.run_dir)}
                for (galaxy, day), location in sorted(metastore.partitions().items())
            ]
        path = self._context.arm_dir / "partitions.json"
        path.write_bytes(orjson.dumps(partitions, option=orjson.OPT_INDENT_2))

    def _forget_secrets(self) -> None:
        # A run folder is meant to be kept and shown; nothing needs these once the arm has stopped.
        for pattern in SECRET_FILES:
            for path in self._context.arm_dir.glob(pattern):
                path.unlink(missing_ok=True)

    def _metastore(self) -> MetastoreReader:
        return MetastoreReader(self._context.metastore_dsn, self._context.namespace)

    def _phase(self, phase: str) -> None:
        self._display.phase(self.status, phase)


def warm_up_seconds(day_seconds: float) -> float:
    """How long a replicate's arrivals are no part of online latency, from the first instant of its first day.

    By then every connection is open and every code path has run; a longer day needs no longer warm-up.
    """
    return min(WARM_UP_SECONDS, WARM_UP_SHARE * day_seconds)


def _relative(location: str, run_dir: Path) -> str:
    # A run folder can be moved; what lies inside it is named relative to it.
    path = Path(location.removeprefix("file:"))
    return str(path.relative_to(run_dir)) if path.is_relative_to(run_dir) else location
