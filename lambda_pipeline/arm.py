"""The Lambda architecture as the harness sees it: an online path always on, and a workflow every night."""

from __future__ import annotations

import contextlib
import sys
import time

from lambda_pipeline.media_log import MediaLog, media_log_dir
from lambda_pipeline.offline.record import last_step
from lambda_pipeline.online.external_service import hold_external_service
from lambda_pipeline.online.ready_files import inference_address_file, worker_ready_file
from lambda_pipeline.pinlater import PgmqPinLater
from lambda_pipeline.submitter import Submitter
from signals.architecture import MediaEvent, RunContext
from signals.catalog import Catalog
from signals.errors import PipelineError
from signals.ledger import Ledger
from signals.process import Child, ProcessGroup
from signals.topics import create_topics

READY_SECONDS = 300.0
POLL_SECONDS = 0.2  # each costs the machine something that the arm needs
CHECK_SECONDS = 1.0


class LambdaArm:
    """See :class:`signals.architecture.Pipeline`."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._group: ProcessGroup | None = None
        self._last_check = 0.0

    def start(self, context: RunContext) -> None:
        """Create topics and queues, start the online processes; return when all are warm."""
        self._context = context
        self._context_path = context.save(context.arm_dir / "lambda_context.json")
        self._ledger = self._stack.enter_context(Ledger.from_context(context, "lambda_arm"))
        create_topics(context)
        self._pinlater = PgmqPinLater(context.postgres_dsn, context.namespace, "online")
        self._stack.callback(self._pinlater.close)
        self._pinlater.create()
        self._start_processes()
        self._submitter = Submitter(
            self._pinlater, MediaLog(media_log_dir(context.arm_dir)), Catalog.load(context.catalog_path)
        )
        self._stack.callback(self._submitter.close)

    def submit(self, event: MediaEvent) -> None:
        """Take one arrival: an append to a queue in memory, nothing more."""
        self._submitter.submit(event)

    def end_day(self, day: int) -> None:
        """Seal the day's media log and run the nightly workflow, in a process of its own."""
        self._submitter.seal(day, self._check, timeout_seconds=self._context.drain_timeout_seconds)
        argv = ["--context", str(self._context_path), "--day", str(day)]
        group = self._running_group()
        # A workflow that fails is reported with its step, not as a process that died.
        child = group.start(
            f"nightly-{day}", [sys.executable, "-m", "lambda_pipeline.offline.workflow", *argv]
        )
        child.expected = True
        while (code := child.popen.poll()) is None:
            self._check()
            time.sleep(POLL_SECONDS)
        if code != 0:
            step, said = last_step(self._context.arm_dir, day)
            where, why = step or "its start", said or f"it ended with code {code}"
            raise PipelineError(
                f"the nightly workflow of day {day} failed in {where}: {why}; its log is {child.log}"
            )

    def nightly_step(self, day: int) -> str:
        """See :class:`signals.architecture.HasNightlySteps`."""
        step, _ = last_step(self._context.arm_dir, day)
        return step

    def drain(self, timeout_seconds: float) -> None:
        """Wait until the online queue is empty. Raises PipelineError on timeout."""
        deadline = time.monotonic() + timeout_seconds
        while (left := self.backlog()) > 0:
            self._check()
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"{left} arrivals were not finished after {timeout_seconds:.0f} s; "
                    f"the workers' logs are in {self._context.log_dir}"
                )
            time.sleep(POLL_SECONDS)

    def backlog(self) -> int:
        """Arrivals that are neither signals nor dead letters yet."""
        return self._submitter.unsent + self._pinlater.counts().unfinished

    def stop(self) -> None:
        """Stop every process of the arm. Never raises."""
        with contextlib.suppress(Exception):
            self._stack.close()

    def _start_processes(self) -> None:
        context = self._context
        group = self._group = ProcessGroup(context.log_dir, self._restarted)
        self._stack.callback(group.stop)
        starting = []
        if context.inference.is_up:
            for index in range(1 + len(context.more_inference)):
                self._stack.enter_context(hold_external_service(context.for_worker(index), self._ledger))
        else:
            service = self._start_process("inference_service", "inference_service", 0)
            starting.append((service, inference_address_file(context.arm_dir)))
        for index in range(context.workers):
            worker = self._start_process(f"online_worker-{index}", "worker", index)
            starting.append((worker, worker_ready_file(context.arm_dir, index)))
        for child, path in starting:
            group.wait_for_file(child, path, READY_SECONDS)

    def _start_process(self, name: str, module: str, index: int) -> Child:
        argv = [sys.executable, "-m", f"lambda_pipeline.online.{module}"]
        options = ["--context", str(self._context_path), "--index", str(index)]
        return self._running_group().start(name, [*argv, *options], restart=True)

    def _running_group(self) -> ProcessGroup:
        if self._group is None:
            raise PipelineError("the Lambda arm was not started")
        return self._group

    def _check(self) -> None:
        if time.monotonic() - self._last_check >= CHECK_SECONDS:
            self._last_check = time.monotonic()
            self._running_group().check()

    def _restarted(self, child: Child) -> None:
        self._ledger.process_restarted(child.name, child.restarts, path="online", pool="online")
